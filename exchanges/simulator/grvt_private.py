"""GRVT's private streams: orders, states, fills, positions of each account (venues.md A6.3).

What an execution causes is told as order, state, fill and position, unless the options or an
active fault want it otherwise.
"""

from collections.abc import Callable
from hashlib import sha256
from itertools import islice, permutations

from exchanges.simulator.grvt_account import AccountApi
from exchanges.simulator.grvt_channels import Channel
from exchanges.simulator.grvt_codec import order_json, state_feed
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_members import Member
from exchanges.simulator.grvt_options import TellOrder
from exchanges.simulator.grvt_topics import Topic
from exchanges.simulator.grvt_words import MS, UNKNOWN_STATUS, Json, dec
from exchanges.simulator.model import EngineEvent, OrderChanged, PositionChanged, SimOrder
from strategy.domain import Ns, nano

_REPLAYED_FILLS = 50
_SWAP_MS = 500
"""How long a fill of F21 waits for one to follow."""
Told = Callable[[], None]


class PrivateFeed:
    """Publishes what happens to the accounts.

    Args:
        desk: shared state.
        account: renders positions.
        channels: by stream and selector; shared with the public streams.
    """

    def __init__(
        self, desk: Desk, account: AccountApi, channels: dict[tuple[str, str], Channel]
    ) -> None:
        self._desk = desk
        self._account = account
        self._channels = channels
        self._pending: dict[str, tuple[str, list[Told]]] = {}
        """What waits for the position of an execution, by sub-account, with its trade id."""
        self._swapped: dict[str, tuple[str, list[Json]]] = {}
        """Fills that F21 holds back, by sub-account, with their symbol."""
        desk.announce = self._tell_order
        desk.engine.subscribe(self._on_event)

    def tell(self, member: Member, stream: str, symbol: str, feed: Json) -> None:
        """Publish on a private stream: to all instruments' channel and to the instrument's."""
        still = self._desk.peek("F56")
        if still is not None and still.get("mode") == "private":
            return
        for selector in (member.sub_account, f"{member.sub_account}-{symbol}"):
            channel = self._channels.get((stream, selector))
            if channel is not None:
                channel.push(feed)

    def replay(self, topic: Topic, now: Ns) -> list[Json]:
        """Return what a new subscriber is told first, where the options want it (D3)."""
        member = self._desk.members.named(topic.account)
        if not self._desk.options.private_replay or member is None:
            return []
        if topic.stream == "v1.position":
            rows = self._account.position_rows(member, now)
        elif topic.stream == "v1.fill":
            newest = islice(member.fills.newest(), _REPLAYED_FILLS)
            rows = [row.body for row in newest][::-1]
        elif topic.stream == "v1.cancel":
            rows = []
        else:
            live = [order for order in member.orders.values() if order.live]
            return [
                order_json(order, member.sub_account)
                if topic.stream == "v1.order"
                else state_feed(order)
                for order in live
                if topic.symbol in ("", order.request.symbol)
            ]
        return [row for row in rows if topic.symbol in ("", row["instrument"])]

    # --- what the engine tells ---------------------------------------------------------------

    def _on_event(self, event: EngineEvent) -> None:
        if isinstance(event, OrderChanged):
            member = self._desk.owner(event.order)
            if member is not None:
                self._on_order(member, event)
        elif isinstance(event, PositionChanged):
            member = self._desk.members.with_account(event.account)
            if member is not None:
                self._on_position(member, event)

    def _on_order(self, member: Member, event: OrderChanged) -> None:
        wanted = self._desk.options.tell_order
        if event.fill is None or wanted is TellOrder.ORDER_FIRST:
            self._tell_order(member, event.order)
            self._tell_fill(member, event)
        elif wanted is TellOrder.FILL_FIRST:
            self._tell_fill(member, event)
            self._tell_order(member, event.order)
        else:
            # Rendered now: what is told is how things stood at this execution.
            order = self._order_messages(member, event.order)
            fills = self._fill_messages(event, member)
            self._pending[member.sub_account] = (event.fill.trade_id, [order, fills])

    def _on_position(self, member: Member, event: PositionChanged) -> None:
        symbol = event.position.symbol
        row = self._account.position_row(member, event.position, event.at)

        def tell() -> None:
            self.tell(member, "v1.position", symbol, row)

        waiting = self._pending.pop(member.sub_account, None)
        if waiting is None:
            tell()
            return
        trade_id, messages = waiting
        orders = list(permutations([*messages, tell]))
        dice = int.from_bytes(sha256(trade_id.encode()).digest()[:4])
        for each in orders[dice % len(orders)]:
            each()

    # --- orders ------------------------------------------------------------------------------

    def _tell_order(self, member: Member, order: SimOrder) -> None:
        self._order_messages(member, order)()

    def _order_messages(self, member: Member, order: SimOrder) -> Told:
        desk, symbol = self._desk, order.request.symbol
        status = UNKNOWN_STATUS if desk.fault("F29") is not None else None
        row, state = order_json(order, member.sub_account, status), state_feed(order, status)
        wrong = desk.peek("F23")
        if wrong is not None and wrong.get("mode") == "shrinks" and order.cum:
            desk.fault("F23")
            less = {"traded_size": [dec(order.cum // 2)]}
            row["state"], state["order_state"] = row["state"] | less, state["order_state"] | less

        def tell() -> None:
            self.tell(member, "v1.order", symbol, row)
            self.tell(member, "v1.state", symbol, state)

        return tell

    # --- fills -------------------------------------------------------------------------------

    def _tell_fill(self, member: Member, event: OrderChanged) -> None:
        self._fill_messages(event, member)()

    def _fill_messages(self, event: OrderChanged, member: Member) -> Told:
        """Return how a fill is told: not at all under F24, twice under F19, late under F21."""
        desk = self._desk
        if event.fill is None or desk.fault("F24") is not None:
            return _silent
        symbol, rows = event.fill.symbol, member.newest_fills()
        wrong = desk.peek("F23")
        if wrong is not None and wrong.get("mode") != "shrinks":
            desk.fault("F23")
            rows = [row | {"size": dec(2 * nano(row["size"]))} for row in rows]
        if desk.fault("F19") is not None:
            rows = rows + rows
        earlier = self._swapped.pop(member.sub_account, None)
        if earlier is not None:
            rows = rows + earlier[1]
        elif desk.fault("F21") is not None:
            self._swapped[member.sub_account] = (symbol, rows)
            desk.at(Ns(desk.clock() + _SWAP_MS * MS), lambda: self._flush(member))
            return _silent
        return lambda: self._send(member, symbol, rows)

    def _flush(self, member: Member) -> None:
        """Tell the fill of F21 that none followed."""
        held = self._swapped.pop(member.sub_account, None)
        if held is not None:
            self._send(member, *held)

    def _send(self, member: Member, symbol: str, rows: list[Json]) -> None:
        for row in rows:
            self.tell(member, "v1.fill", symbol, row)


def _silent() -> None:
    return
