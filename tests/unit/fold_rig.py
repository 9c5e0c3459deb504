"""Worlds with one maker or one hedge, and what venues say of them, for the fold's tests."""

from dataclasses import replace

from strategy.domain import (
    Book,
    ClientId,
    Fill,
    OrderView,
    Position,
    Quote,
    Side,
    SignedQty,
    Status,
    Trade,
    Venue,
    nano,
)
from strategy.events import (
    HedgeStarted,
    Seen,
)
from strategy.fold import fold
from strategy.world import (
    Hedge,
    Order,
    World,
)
from tests.builders import (
    at,
    draft,
    maker_draft,
    planned,
    px,
    qty,
    view,
    with_position,
    world,
)

ONE = ClientId(1)
TWO = ClientId(2)


def maker_world(size: str = "0.5", when: float = 0) -> World:
    return planned(world(), maker_draft(size=size), when=when)


def hedge_world(w: World | None = None, **changes: object) -> World:
    """Hedge 1 runs, and order 1 is its bounded IOC of 0.5 at 3000."""
    begun = HedgeStarted(1, SignedQty(nano("-0.5")), px(3000), px("3000.02"), at().mono, at())
    w = fold(w or with_position(world(), "0.5"), begun)
    made = replace(draft(), hedge_id=1, touch=px("3000.05"))
    return planned(w, replace(made, **changes))  # type: ignore[arg-type]  # field names are checked


def running(w: World) -> Hedge:
    assert w.hedge is not None
    return w.hedge


def order(w: World, number: int = 1) -> Order:
    return w.orders[ClientId(number)]


def says(w: World, number: int, **changes: object) -> OrderView:
    """What the venue says of an order: open, nothing traded, unless changed."""
    event = view(w, number, "0", Status.OPEN).event
    assert isinstance(event, OrderView)
    return replace(event, **changes)  # type: ignore[arg-type]  # field names are checked by replace


def seen(w: World, event: OrderView | Fill | Book | Trade | Position, when: float = 0) -> World:
    return fold(w, Seen(event, at(when), "stream"))


def stranger(venue: Venue = Venue.GRVT, trade: str = "x", **changes: object) -> Fill:
    made = Fill(
        venue, trade, None, "zz", "ETH", Side.BUY, qty("0.5"), px(3000), Quote(nano("0.7")),
        "USDT", False, at().wall,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]  # field names are checked by replace
