"""Small builders of domain objects for tests: decimals in, domain types out."""

from dataclasses import replace

from safety.limits import Limits
from strategy.domain import (
    Book,
    Bps,
    ClientId,
    Draft,
    Fill,
    Instrument,
    Now,
    Ns,
    Observed,
    OrderView,
    Purpose,
    Px,
    Qty,
    Quote,
    Side,
    SignedQty,
    Status,
    Tif,
    Venue,
    bps,
    nano,
    ordered,
)
from strategy.events import OrderPlanned, Seen
from strategy.facts import Account, Facts, Readiness
from strategy.fold import fold
from strategy.params import Params
from strategy.world import Leg, World, initial

SECOND = 1_000_000_000
WALL = 1_700_000_000 * SECOND

GRVT = Instrument(
    venue=Venue.GRVT,
    symbol="ETH_USDT_Perp",
    base="ETH",
    quote="USDT",
    tick=Px(nano("0.01")),
    step=Qty(nano("0.01")),
    min_qty=Qty(nano("0.01")),
    min_notional=Quote(nano("20")),
    asset_id="0x030401",
)
BACKPACK = Instrument(
    venue=Venue.BACKPACK,
    symbol="ETH_USDC_PERP",
    base="ETH",
    quote="USDC",
    tick=Px(nano("0.01")),
    step=Qty(nano("0.0001")),
    min_qty=Qty(nano("0.0001")),
    min_notional=Quote(0),
)
LIMITS = Limits(
    max_position=Qty(nano(5)),
    max_daily_loss=Quote(nano(50)),
    cap=bps(5),
    emergency_cap=bps(50),
    max_order=Qty(nano(5)),
    stale=Ns(3 * SECOND),
)


def at(seconds: float = 0) -> Now:
    ns = int(seconds * SECOND) + SECOND
    return Now(Ns(ns), Ns(WALL + ns))


def px(value: str | int) -> Px:
    return Px(nano(value))


def qty(value: str | int) -> Qty:
    return Qty(nano(value))


def params(**changes: object) -> Params:
    base = Params(size=qty("0.5"), max_position=qty("0.5"), iterations=1)
    return replace(base, **changes)  # type: ignore[arg-type]  # field names are checked by replace


def book(
    venue: Venue = Venue.GRVT,
    bids: list[tuple[str, str]] | None = None,
    asks: list[tuple[str, str]] | None = None,
) -> Book:
    deep_bids = [("3000.00", "5"), ("2999.95", "5"), ("2999.50", "20")] if bids is None else bids
    deep_asks = [("3000.05", "5"), ("3000.10", "5"), ("3000.50", "20")] if asks is None else asks
    return Book(
        venue,
        ordered([(px(p), qty(q)) for p, q in deep_bids], bids=True),
        ordered([(px(p), qty(q)) for p, q in deep_asks], bids=False),
        Ns(WALL),
    )


def account(venue: Venue = Venue.GRVT, **changes: object) -> Account:
    """A rich, calm account."""
    made = Account(
        venue=venue,
        equity=Quote(nano(1_000_000)),
        available=Quote(nano(1_000_000)),
        maintenance=Quote(0),
        leverage=nano(10),
        margin_mode="CROSS",
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # field names are checked by replace


def facts(venue: Venue, now: Now) -> Facts:
    """What a healthy venue has told of itself just now."""
    return Facts(
        account=Observed(account(venue), now.mono, "rest"),
        baseline=account(venue),
        ready=Readiness(venue, session=True, orders=20),
        mark=Observed(Px(nano("3000.02")), now.mono, "rest"),
    )


def world(when: float = 0, **changes: object) -> World:
    """A flat, healthy world with fresh books on both venues."""
    now = at(when)
    legs = {
        v: Leg(
            instrument=i,
            book=Observed(book(v), now.mono, "stream"),
            public_up=True,
            private_up=True,
            taker_fee=bps(5),
            facts=facts(v, now),
        )
        for v, i in ((Venue.BACKPACK, BACKPACK), (Venue.GRVT, GRVT))
    }
    w = replace(initial(legs), day="2023-11-14")
    return replace(w, **changes)  # type: ignore[arg-type]  # field names are checked by replace


def with_position(w: World, backpack: str = "0", grvt: str = "0") -> World:
    legs = dict(w.legs)
    for venue, value in ((Venue.BACKPACK, backpack), (Venue.GRVT, grvt)):
        legs[venue] = replace(legs[venue], position=SignedQty(nano(value)))
    return replace(w, legs=legs)


def with_book(w: World, value: Book | None, when: float = 0) -> World:
    legs = dict(w.legs)
    venue = value.venue if value else Venue.GRVT
    observed = Observed(value, at(when).mono, "stream") if value else None
    legs[venue] = replace(legs[venue], book=observed)
    return replace(w, legs=legs)


def draft(
    venue: Venue = Venue.GRVT,
    side: Side = Side.SELL,
    size: str = "0.5",
    price: str = "3000.00",
    **changes: object,
) -> Draft:
    made = Draft(
        venue=venue,
        side=side,
        qty=qty(size),
        px=px(price),
        tif=Tif.IOC,
        post_only=False,
        reduce_only=False,
        purpose=Purpose.HEDGE,
        touch=px(price),
        life=Ns(5 * SECOND),
        cap=Bps(5_000_000),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # field names are checked by replace


def maker_draft(side: Side = Side.BUY, size: str = "0.5", price: str = "3000.00") -> Draft:
    return draft(
        Venue.BACKPACK,
        side,
        size,
        price,
        tif=Tif.GTC,
        post_only=True,
        purpose=Purpose.OPEN,
        cap=Bps(0),
    )


def planned(w: World, made: Draft, number: int = 1, when: float = 0) -> World:
    now = at(when)
    symbol = w.legs[made.venue].instrument.symbol
    request = made.request(ClientId(number), symbol, now.wall)
    return fold(w, OrderPlanned(request, made, now))


def view(
    w: World, number: int, cum: str, status: Status, when: float = 0, reason: str = ""
) -> Seen:
    request = w.orders[ClientId(number)].request
    stated = OrderView(
        venue=request.venue,
        client_id=request.client_id,
        venue_order_id=f"v{number}",
        symbol=request.symbol,
        side=request.side,
        qty=request.qty,
        px=request.px,
        cum=qty(cum),
        status=status,
        reason=reason,
    )
    return Seen(stated, at(when), "stream")


def fill(
    w: World, number: int, size: str, trade: str = "t1", when: float = 0, fee: str = "0"
) -> Seen:
    request = w.orders[ClientId(number)].request
    done = Fill(
        venue=request.venue,
        trade_id=trade,
        client_id=request.client_id,
        venue_order_id=f"v{number}",
        symbol=request.symbol,
        side=request.side,
        qty=qty(size),
        px=request.px,
        fee=Quote(nano(fee)),
        fee_asset="USDT",
        is_maker=request.post_only,
        at=Ns(at(when).wall),
    )
    return Seen(done, at(when), "stream")
