"""A hedge by hand: a World, a journal and a desk, driven event by event."""

from pathlib import Path
from typing import Any

from daemon.journal import Journal
from daemon.tca import HedgeTca
from daemon.tca_desk import TcaDesk
from exchanges.port import Payload
from strategy.domain import (
    ClientId,
    Draft,
    Fill,
    Ns,
    OrderRequest,
    OrderView,
    Quote,
    Side,
    SignedQty,
    Status,
    Tif,
    nano,
)
from strategy.events import (
    Event,
    HedgeEnded,
    HedgeMoved,
    HedgeStarted,
    OrderAnswered,
    OrderPlanned,
    RoutePhase,
    Seen,
    Verdict,
)
from strategy.fold import fold
from strategy.intents import Say
from strategy.world import World
from tests.builders import SECOND, at, draft, px, qty, world

MID, ASK, BID = px("3000.025"), px("3000.05"), px("3000.00")


class Rig:
    """A World, a journal that is written as the core does, and a desk; events in, records out."""

    def __init__(self, path: str = ":memory:") -> None:
        self.journal = Journal(Path(path), Ns(0))
        self.desk = TcaDesk(self.journal, Ns(3 * SECOND))
        self.world = world()
        self.records: list[HedgeTca] = []

    def on(self, event: Event) -> None:
        before = self.world
        self.world = fold(before, event)
        self.write(before, event)
        record = self.desk.on(before, self.world, event)
        if record is not None:
            self.records.append(record)

    def write(self, before: World, event: Event) -> None:
        if not isinstance(event, Seen):
            self.journal.event(type(event).__name__, event, event.at.wall)
        elif isinstance(event.event, Fill) and event.event.client_id is not None:
            self.journal.fill(event.event, event.event.client_id)
        for client_id, order in self.world.orders.items():
            if client_id in before.orders and before.orders[client_id] is not order:
                self.journal.order_changed(order, event.at.wall)

    def start(self, target: str, when: float = 0.001) -> None:
        touch = ASK if nano(target) > 0 else BID
        began = HedgeStarted(
            self.world.hedges + 1, SignedQty(nano(target)), touch, MID, at(0).mono, at(when)
        )
        self.on(began)

    def plan(self, made: Draft, number: int, when: float) -> None:
        request = OrderRequest(
            client_id=ClientId(number), venue=made.venue,
            symbol=self.world.legs[made.venue].instrument.symbol, side=made.side, qty=made.qty,
            px=made.px, tif=made.tif, post_only=made.post_only, reduce_only=made.reduce_only,
            expires_at=Ns(0), purpose=made.purpose,
        )  # fmt: skip
        self.journal.order(Payload(request, b"", (), number, ""), made, at(when).wall)
        self.on(OrderPlanned(request, made, at(when)))

    def accept(self, number: int, when: float) -> None:
        self.on(OrderAnswered(ClientId(number), Verdict.ACCEPTED, at(when)))

    def fill(self, number: int, size: str, price: str, fee: str, when: float) -> None:
        request = self.world.orders[ClientId(number)].request
        trade = Fill(
            venue=request.venue, trade_id=f"t{when}", client_id=request.client_id,
            venue_order_id="", symbol=request.symbol, side=request.side, qty=qty(size),
            px=px(price), fee=Quote(nano(fee)), fee_asset="USDT", is_maker=request.post_only,
            at=Ns(at(when).wall),
        )  # fmt: skip
        self.on(Seen(trade, at(when), "stream"))

    def end_order(self, number: int, cum: str, when: float) -> None:
        request = self.world.orders[ClientId(number)].request
        status = Status.FILLED if qty(cum) == request.qty else Status.CANCELLED
        view = OrderView(
            venue=request.venue, client_id=request.client_id, venue_order_id="",
            symbol=request.symbol, side=request.side, qty=request.qty, px=request.px,
            cum=qty(cum), status=status,
        )  # fmt: skip
        self.on(Seen(view, at(when), "stream"))

    def tick(self, when: float) -> None:
        self.desk.tick(self.world, at(when))

    def rows(self, kind: str) -> list[dict[str, Any]]:
        return [body for _, _, name, body in self.journal.events(kind) if name == kind]


def passive(price: str, touch: str, size: str = "0.5") -> Draft:
    return draft(
        side=Side.BUY, size=size, price=price, tif=Tif.GTC, post_only=True, touch=px(touch),
        hedge_id=1,
    )  # fmt: skip


def ioc(price: str, touch: str, size: str) -> Draft:
    return draft(side=Side.BUY, size=size, price=price, touch=px(touch), hedge_id=1)


def passive_then_cross(rig: Rig) -> HedgeTca:
    """Buy 0.5: 0.2 rests and fills in two pieces, then the touch runs away and 0.3 is taken."""
    rig.start("0.5")
    rig.desk.say(Say("SMART_ROUTING", "passive", "info", "k", (("why", "resting is cheaper"),)))
    rig.plan(passive("3000.04", "3000.05"), 1, 0.002)
    rig.accept(1, 0.012)
    rig.fill(1, "0.15", "3000.04", "-0.0045", 0.5)
    rig.fill(1, "0.05", "3000.04", "-0.0015", 0.7)
    rig.on(HedgeMoved(1, RoutePhase.CROSS, "cross 5.00 rest 6.00 bps", at(1)))
    rig.end_order(1, "0.2", 1.1)
    rig.plan(ioc("3000.20", "3000.20", "0.3"), 2, 1.2)
    rig.accept(2, 1.21)
    rig.fill(2, "0.3", "3000.20", "0.4", 1.25)
    rig.end_order(2, "0.3", 1.25)
    rig.on(HedgeEnded(1, failed=False, at=at(1.3)))
    return rig.records[0]
