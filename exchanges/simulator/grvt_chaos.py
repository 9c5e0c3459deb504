"""What the simulated GRVT does by itself: sockets that end, and faults that nobody asks for.

Called at every tick of the streams. Faults that answer a request are where the request is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exchanges.simulator.grvt_cancels import Cancels
from exchanges.simulator.grvt_codec import forced_wire, max_leverage
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_members import Member
from exchanges.simulator.grvt_payload import decimal_text
from exchanges.simulator.grvt_settings import SettingsApi
from exchanges.simulator.grvt_socket import Socket
from exchanges.simulator.grvt_streams import Streams
from exchanges.simulator.grvt_words import ApiError
from exchanges.simulator.model import FundingSettled, NewOrder, Origin, Refusal
from strategy.domain import NANO, Ns, Qty, Quote, Side, Tif, nano_round, notional

_GOING_AWAY = 1001
_RESTART = 1012
_POLICY = 1008
_MILLION = 1_000_000
_USUAL_FUNDING_PPM = 100
_FOREIGN_ID = 77_000
"""Client ids of trades by hand are of the web client's range (venues.md A5.6)."""
_MARKET_FAULTS = ("F25", "F76")


@dataclass(frozen=True, slots=True)
class _Taken:
    """Free margin that F71 holds back."""

    member: Member
    amount: Quote


class Chaos:
    """Applies switches and faults that act without a request."""

    def __init__(
        self, desk: Desk, streams: Streams, cancels: Cancels, settings: SettingsApi
    ) -> None:
        self._desk = desk
        self._streams = streams
        self._cancels = cancels
        self._settings = settings
        self._closes = 0
        self._close_at: Ns | None = None
        self._foreign = _FOREIGN_ID
        self._taken: _Taken | None = None

    def act(self) -> None:
        """Do what is due."""
        self._close_sockets()
        for name in _MARKET_FAULTS:
            self._trade_by_hand(name)
        self._force_close()
        self._fail_over()
        self._settle_funding()
        self._squeeze()
        self._change_leverage()

    # --- sockets -----------------------------------------------------------------------------

    def _close_sockets(self) -> None:
        """End or silence open sockets as options and active faults say."""
        desk, sockets = self._desk, self._streams.sockets
        if not sockets:
            return
        if desk.down():
            for socket in sockets:
                socket.drop()
            return
        if desk.fault("F49") is not None:
            for socket in sockets:
                socket.muted = True
        now = desk.clock()
        for socket in sockets:
            self._retire(socket, now)
        self._close_at_pace(now)

    def _retire(self, socket: Socket, now: Ns) -> None:
        options = self._desk.options
        session = socket.session
        if options.socket_dies_with_cookie and session is not None and session.expires_at <= now:
            socket.farewell(_POLICY, b"session expired")
        elif options.socket_idle is not None and now - socket.heard_at >= options.socket_idle:
            socket.farewell(_GOING_AWAY, b"idle")
        elif options.socket_age is not None and now - socket.opened_at >= options.socket_age:
            socket.farewell(_GOING_AWAY, b"too old")

    def _close_at_pace(self, now: Ns) -> None:
        pace = self._desk.options.socket_close_every
        if pace is None:
            return
        if self._close_at is None:
            self._close_at = Ns(now + pace)
        if now < self._close_at:
            return
        self._close_at = Ns(now + pace)
        code = (_GOING_AWAY, _RESTART, None)[self._closes % 3]
        self._closes += 1
        for socket in self._streams.sockets:
            if code is None:
                socket.drop()
            else:
                socket.farewell(code, b"")

    # --- faults ------------------------------------------------------------------------------

    def _due(self, name: str, *, use: bool = True) -> tuple[Mapping[str, Any], Member] | None:
        """Return an active fault's settings and its account, and use one count up.

        One that names an account which is not served stays on the board.
        """
        settings = self._desk.peek(name)
        member = None if settings is None else self._desk.members.named(settings.get("account"))
        if settings is None or member is None:
            return None
        if use:
            self._desk.fault(name)
        return settings, member

    def _trade_by_hand(self, name: str) -> None:
        """Trade an account by an order that its client never sent (F25, F76)."""
        found = self._due(name)
        if found is None:
            return
        active, member = found
        desk = self._desk
        symbol, market = next(iter(desk.engine.markets.items()))
        asked = active.get("size")
        qty = 2 * market.instrument.step if asked is None else nano_round(decimal_text(asked))
        self._foreign += 1
        wire = forced_wire(member.sub_account) | {
            "client_order_id": str(self._foreign),
            "reduce_only": False,
        }
        new = NewOrder(
            account=member.id,
            symbol=symbol,
            side=Side.SELL if active.get("side") == "sell" else Side.BUY,
            qty=Qty(qty),
            px=None,
            tif=Tif.IOC,
            client_id=str(self._foreign),
            extra={"wire": wire},
        )
        try:
            desk.engine.place(desk.now(), new)
        except Refusal:
            return  # as a person would be told: the account is as it was
        desk.kick()

    def _force_close(self) -> None:
        """Close an account's positions as the venue does (F26), once it has one."""
        found = self._due("F26", use=False)
        if found is None:
            return
        active, member = found
        held = [each.symbol for each in member.account.positions.values() if each.qty]
        if not held:
            return
        self._desk.fault("F26")
        origin = Origin.ADL if active.get("mode") == "adl" else Origin.LIQUIDATION
        now = self._desk.now()
        for symbol in held:
            self._desk.engine.force_close(now, member.id, symbol, origin=origin)
        self._desk.kick()

    def _fail_over(self) -> None:
        """Lose all orders and sockets, and begin the numbers anew (F69)."""
        if self._desk.fault("F69") is None:
            return
        for member in self._desk.members:
            self._cancels.sweep(member, "SYSTEM_FAILOVER")
            if not self._desk.options.countdown_survives_failover:
                member.countdown = None
        for socket in self._streams.sockets:
            socket.farewell(_RESTART, b"failover")
        self._streams.restart()

    def _settle_funding(self) -> None:
        """Settle funding now (F70); a positive rate is paid by longs."""
        found = self._due("F70")
        if found is None:
            return
        active, member = found
        engine, now = self._desk.engine, self._desk.now()
        ppm = int(active.get("ppm", _USUAL_FUNDING_PPM))
        for held in list(member.account.positions.values()):
            value = notional(engine.mark(held.symbol) or held.entry, held.qty)
            amount = Quote(-(value * ppm // _MILLION))
            if held.qty:
                engine.deposit(member.id, amount)
                held.funding = Quote(held.funding + amount)
                rate = ppm * NANO // _MILLION
                event = FundingSettled(member.id, held.symbol, amount, rate, now)
                self._desk.keep_funding(member, event)

    def _squeeze(self) -> None:
        """Hold back all free margin of an account while F71 is active."""
        found = self._due("F71", use=False)
        if found is None and self._taken is not None:
            self._desk.engine.deposit(self._taken.member.id, self._taken.amount)
            self._taken = None
        if found is None or self._taken is not None:
            return
        member = found[1]
        self._desk.now()
        amount = self._desk.engine.available(member.id)
        if amount > 0:
            self._desk.engine.deposit(member.id, Quote(-amount))
            self._taken = _Taken(member, amount)

    def _change_leverage(self) -> None:
        """Set an account's leverage as if somebody had done it on the venue's page (F78)."""
        found = self._due("F78")
        if found is None:
            return
        active, member = found
        most = max_leverage(self._desk.engine.rules)
        leverage = min(int(active.get("leverage", most)), most)
        for symbol in self._desk.engine.markets:
            try:
                self._settings.apply_leverage(member, symbol, leverage)
            except ApiError:
                continue  # equity does not cover what is open at that leverage
