"""A leg's own changes by what is read of its venue, for the fold. Pure; imports the core only."""

from dataclasses import replace

from strategy.domain import Fees, Instrument, Quote
from strategy.events import FundingSeen, VenueRead
from strategy.facts import learned
from strategy.world import Leg


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
