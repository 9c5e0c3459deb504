"""The accounts of one simulation and the credentials that open them, on both venues.

Imports ``strategy.domain`` and simulator modules only. The first account of each venue is the
universe's own; further ones are opened here, before or during the run.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from exchanges.simulator.credentials import (
    BackpackCredentials,
    GrvtCredentials,
    backpack_account,
    backpack_credentials,
    grvt_credentials,
)
from exchanges.simulator.universe import Universe
from strategy.domain import Quote, Venue

MOST_ACCOUNTS = 1_000
"""Per venue: each needs a key of its own, and a simulation needs no more."""

Credentials = GrvtCredentials | BackpackCredentials


@dataclass(frozen=True, slots=True)
class Opened:
    """One account: where it is, how the engine names it, and what opens it."""

    venue: Venue
    account_id: str
    credentials: Credentials

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON types, secrets included: they open nothing but the simulator."""
        told = {"venue": self.venue.value, "account": self.account_id}
        return told | asdict(self.credentials)


class Roster:
    """Opens accounts on the engines and hands their credentials to the servers.

    Args:
        universe: whose engines hold the accounts.
        seed: of the credentials; the same seed opens the same accounts in the same order.
    """

    def __init__(self, universe: Universe, seed: int) -> None:
        self._universe = universe
        self._seed = seed
        self._opened: dict[Venue, list[Opened]] = {
            Venue.GRVT: [self._known(Venue.GRVT, grvt_credentials(seed))],
            Venue.BACKPACK: [self._known(Venue.BACKPACK, backpack_credentials(seed))],
        }
        self.on_open: Callable[[Opened], None] = lambda _: None
        """Told of every further account: the host lets the venue's server know its key."""

    def all(self) -> list[Opened]:
        """Return every account, GRVT's first, each venue's in the order of opening."""
        return [*self._opened[Venue.GRVT], *self._opened[Venue.BACKPACK]]

    def grvt_keys(self) -> list[GrvtCredentials]:
        """Return what opens GRVT's accounts, in the order of opening."""
        found = [opened.credentials for opened in self._opened[Venue.GRVT]]
        return [keys for keys in found if isinstance(keys, GrvtCredentials)]

    def backpack_keys(self) -> list[BackpackCredentials]:
        """Return what opens Backpack's accounts, in the order of opening."""
        found = [opened.credentials for opened in self._opened[Venue.BACKPACK]]
        return [keys for keys in found if isinstance(keys, BackpackCredentials)]

    def open(self, venue: Venue, *, tier: int | None = 0, balance: Quote | None = None) -> Opened:
        """Open one more account; ``tier`` and ``balance`` as in ``Engine.add_account``.

        Raises:
            ValueError: no such tier, a negative balance, or too many accounts.
        """
        index = len(self._opened[venue])
        if index >= MOST_ACCOUNTS:
            raise ValueError(f"{venue.value} has {index} accounts: no more can be opened")
        engine = self._universe.engines[venue]
        if venue is Venue.GRVT:
            keys = grvt_credentials(self._seed, index)
            opened = Opened(venue, keys.sub_account_id, keys)
            engine.add_account(
                opened.account_id, balance=balance, tier=tier, main_account=keys.main_account_id
            )
        else:
            opened = Opened(venue, backpack_account(index), backpack_credentials(self._seed, index))
            engine.add_account(opened.account_id, balance=balance, tier=tier)
        self._opened[venue].append(opened)
        self.on_open(opened)
        return opened

    def _known(self, venue: Venue, credentials: Credentials) -> Opened:
        account = self._universe.account(venue)
        if isinstance(credentials, GrvtCredentials):
            account.main_account = credentials.main_account_id
        return Opened(venue, account.account_id, credentials)
