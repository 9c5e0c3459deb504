"""The sub-accounts that one simulated GRVT serves, and what the face remembers of each.

Every API key belongs to one sub-account and names one signer (venues.md A2.2). Several keys may
share a sub-account; all sub-accounts of one main (funding) account see the same builders.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from typing import Protocol

from exchanges.simulator.grvt_history import History
from exchanges.simulator.grvt_lifecycles import Lifecycles
from exchanges.simulator.grvt_rates import RateTable
from exchanges.simulator.grvt_words import Json
from exchanges.simulator.model import SimAccount, SimOrder
from strategy.domain import Ns


class Credentials(Protocol):
    """What the venue knows of one API key."""

    @property
    def api_key(self) -> str:
        """The key that logs in."""
        ...

    @property
    def sub_account_id(self) -> str:
        """Decimal text."""
        ...

    @property
    def address(self) -> str:
        """The signer registered with the key."""
        ...

    @property
    def main_account_id(self) -> str:
        """Address of the main account; empty: one made from the signer."""
        ...


@dataclass(slots=True, eq=False)
class Member:
    """One sub-account."""

    sub_account: str
    """Decimal text."""
    main: str
    """Funding account address, and the value of ``X-Grvt-Account-Id``."""
    account: SimAccount
    rates: RateTable
    signers: set[str] = field(default_factory=set)
    """Lower-case addresses that may sign its orders."""
    orders: dict[str, SimOrder] = field(default_factory=dict)
    """By the id that is shown, in creation order."""
    fills: History = field(default_factory=History)
    fundings: History = field(default_factory=History)
    lifecycles: Lifecycles = field(default_factory=Lifecycles)
    countdown: Ns | None = None
    """When the dead-man switch lapses, Unix ns; None while it is disarmed."""
    told: int = 1
    """In how many rows the last execution is told (F27)."""
    margin_types: dict[str, str] = field(default_factory=dict)
    """By symbol, where it was set; CROSS else."""

    @property
    def id(self) -> str:
        """The engine's id of the account."""
        return self.account.account_id

    def margin_type(self, symbol: str) -> str:
        """Return ``CROSS`` or ``ISOLATED``."""
        return self.margin_types.get(symbol, "CROSS")

    def count_refusal(self) -> None:
        """Count an order that the engine never sees."""
        self.account.orders_received += 1
        self.account.orders_rejected += 1

    def newest_fills(self) -> list[Json]:
        """Return the rows of the last execution, as histories and streams show them."""
        return [row.body for row in islice(self.fills.newest(), self.told)][::-1]


class Members:
    """Every served sub-account, by its id, by its keys and by its signers."""

    def __init__(self) -> None:
        self._by_key: dict[str, Member] = {}
        self._by_sub_account: dict[str, Member] = {}
        self._by_account: dict[str, Member] = {}
        self._by_signer: dict[str, Member] = {}

    def __iter__(self) -> Iterator[Member]:
        return iter(self._by_sub_account.values())

    @property
    def first(self) -> Member:
        """The account that was added first."""
        return next(iter(self))

    def add(self, credentials: Credentials, account: SimAccount, rates: RateTable) -> Member:
        """Serve a key; a further key of a known sub-account shares its member.

        Raises:
            ValueError: the key or the signer is in use for another sub-account.
        """
        named, signer = credentials.sub_account_id, credentials.address.lower()
        for held, word in ((self._by_key, credentials.api_key), (self._by_signer, signer)):
            known = held.get(word)
            if known is not None and known.sub_account != named:
                raise ValueError(f"key or signer of sub account {named} is in use for another")
        member = self._by_sub_account.get(named)
        if member is None:
            main = credentials.main_account_id or _main_of(credentials.address)
            member = Member(named, main.lower(), account, rates)
            self._by_sub_account[named] = member
            self._by_account[account.account_id] = member
        member.signers.add(signer)
        self._by_key[credentials.api_key] = member
        self._by_signer[signer] = member
        return member

    def with_key(self, api_key: str) -> Member | None:
        """Return whose API key it is."""
        return self._by_key.get(api_key)

    def with_signer(self, address: str) -> Member | None:
        """Return whose signer a lower-case address is."""
        return self._by_signer.get(address)

    def with_account(self, account_id: str) -> Member | None:
        """Return the member with that engine account; None for one that is not served."""
        return self._by_account.get(account_id)

    def named(self, sub_account: str | None) -> Member | None:
        """Return a member by its id; None stands for the first."""
        return self.first if sub_account is None else self._by_sub_account.get(sub_account)

    def of_main(self, main: str) -> list[Member]:
        """Return the sub-accounts of a main account, oldest first."""
        return [member for member in self if member.main == main]


def _main_of(address: str) -> str:
    return "0x" + sha256(address.encode()).hexdigest()[:40]
