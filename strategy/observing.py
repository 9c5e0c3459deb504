"""A leg's own changes by what is read of its venue, for the fold. Pure; imports the core only."""

from dataclasses import replace

from strategy.carry import Basis, update_basis
from strategy.domain import Fees, Instrument, Now, Ns, Quote
from strategy.events import FundingSeen, VenueRead
from strategy.facts import learned
from strategy.world import Leg, World

BOOK_PAIRED = Ns(3_000_000_000)
"""An older book is not of the same time as the other venue's: their difference is no basis."""


def told(leg: Leg, event: VenueRead | FundingSeen) -> Leg:
    """Return the leg with one more fact about its venue or account."""
    if isinstance(event, FundingSeen):
        return replace(leg, funding=Quote(leg.funding + event.payment.amount))
    fact = event.fact
    if isinstance(fact, Fees):
        return replace(leg, taker_fee=fact.taker, maker_fee=fact.maker)
    if isinstance(fact, Instrument):
        return leg if fact == leg.instrument else replace(leg, instrument=fact)
    return replace(leg, facts=learned(leg.facts, fact, leg.position, event.at))


def compared(w: World, at: Now) -> Basis | None:
    """Return the basis after a book: both books must be uncrossed, and of the same time."""
    if all(_current(leg, at) for leg in w.legs.values()):
        return update_basis(w.basis, w.primary.mid(), w.hedge_leg.mid(), at.mono)
    return w.basis


def _current(leg: Leg, at: Now) -> bool:
    return leg.book is not None and leg.book.value.sane and leg.book.age(at.mono) <= BOOK_PAIRED
