"""The accounts that one simulated Backpack serves, and what the face remembers of each.

A key of the venue opens one account; every further account is a sub-account of the same user, with
its own key, money, limits and settings (venues.md B3.3).
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from exchanges.simulator.backpack_auth import KeyRing
from exchanges.simulator.backpack_words import MINUTE_NS, throttled
from exchanges.simulator.model import FundingSettled, SimAccount
from strategy.domain import Ns

MAX_FUNDINGS = 10_000
SETTINGS = ("autoBorrowSettlements", "autoLend", "autoRealizePnl", "autoRepayBorrows")


def _no_settings() -> dict[str, bool]:
    return dict.fromkeys(SETTINGS, False)


def _fundings() -> deque[FundingSettled]:
    return deque(maxlen=MAX_FUNDINGS)


@dataclass(slots=True)
class Member:
    """One served account."""

    account: SimAccount
    subaccount: int
    """0 is the user's main account."""
    settings: dict[str, bool] = field(default_factory=_no_settings)
    fundings: deque[FundingSettled] = field(default_factory=_fundings)
    requests: deque[Ns] = field(default_factory=deque)
    """Times of the requests of the last minute."""

    @property
    def id(self) -> str:
        """The engine's id of the account."""
        return self.account.account_id

    @property
    def subaccount_id(self) -> int | None:
        """What position rows print; the main account has none."""
        return self.subaccount or None

    def count_request(self, now: Ns, most: int) -> None:
        """Spend one request of the account's minute.

        Raises:
            ApiError: 429, there is none left.
        """
        recent = self.requests
        while recent and recent[0] <= now - MINUTE_NS:
            recent.popleft()
        if len(recent) >= most:
            raise throttled()
        recent.append(now)

    def count_refusal(self) -> None:
        """Count an order that was refused before the engine saw it."""
        self.account.orders_received += 1
        self.account.orders_rejected += 1


class Members:
    """Every served account, by its id and by its keys; the first is the main account."""

    def __init__(self) -> None:
        self.keys = KeyRing()
        self._by_id: dict[str, Member] = {}

    def __iter__(self) -> Iterator[Member]:
        return iter(self._by_id.values())

    def add(self, public_key: str, account: SimAccount) -> Member:
        """Serve an account to the holder of a key; further keys share its member.

        Raises:
            ValueError: not an ED25519 verifying key, or one that opens another account.
        """
        self.keys.add(public_key, account.account_id)
        found = self._by_id.get(account.account_id)
        if found is None:
            found = Member(account, len(self._by_id))
            self._by_id[account.account_id] = found
        return found

    @property
    def main(self) -> Member:
        """The first account."""
        return next(iter(self._by_id.values()))

    def get(self, account_id: str) -> Member | None:
        """Return the member with that account; None for an account that is not served."""
        return self._by_id.get(account_id)

    def __getitem__(self, account_id: str) -> Member:
        return self._by_id[account_id]

    def named(self, public_key: str | None) -> Member:
        """Return the account that a request claims to be of: the main one for an unknown key."""
        holder = None if public_key is None else self.keys.holder(public_key)
        return self.main if holder is None else self._by_id[holder]
