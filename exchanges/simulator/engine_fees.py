"""Fee rates of the simulated venues' accounts. Imports ``strategy.domain`` and ``model`` only."""

from exchanges.simulator.model import Rules, SimAccount
from strategy.domain import NANO, Bps, Ns, Quote

DAY = 86_400 * NANO
VOLUME_DAYS = 30


class FeeTable:
    """Which fees an account pays: its own, those of its set tier, or by 30-day volume.

    A tier by volume holds for a UTC day: it counts the thirty days before, as both venues do.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._known: dict[str, tuple[int, int]] = {}
        """Day and tier by volume, by account."""

    def rates(self, account: SimAccount, now: Ns) -> tuple[Bps, Bps]:
        """Return (maker, taker); negative is a rebate."""
        if account.custom_fees is not None:
            return account.custom_fees
        tier = self.tier(account, now)
        if not tier:
            return self._rules.maker_fee, self._rules.taker_fee
        row = self._rules.fee_tiers[tier - 1]
        return row.maker, row.taker

    def tier(self, account: SimAccount, now: Ns) -> int:
        """Return the account's tier; 0 is the venue's base fees."""
        if account.tier is not None:
            return account.tier
        today = now // DAY
        known = self._known.get(account.account_id)
        if known is not None and known[0] == today:
            return known[1]
        volume = sum(
            value
            for day, value in account.daily_volume.items()
            if today - VOLUME_DAYS <= day < today
        )
        tier = sum(volume >= row.volume for row in self._rules.fee_tiers)
        self._known[account.account_id] = (today, tier)
        return tier

    def check(self, tier: int | None) -> None:
        """Check the number of a tier.

        Raises:
            ValueError: there is no such tier.
        """
        most = len(self._rules.fee_tiers)
        if tier is not None and not 0 <= tier <= most:
            raise ValueError(f"fee tier {tier} is unknown: use 0 to {most}")

    def traded(self, account: SimAccount, value: Quote, now: Ns) -> None:
        """Count traded notional towards the account's 30 days."""
        days = account.daily_volume
        today = now // DAY
        if today not in days:
            for day in [day for day in days if day < today - VOLUME_DAYS]:
                del days[day]
        days[today] = Quote(days.get(today, 0) + value)
