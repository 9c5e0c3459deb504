"""Socket messages of Backpack from the engine's events (venues.md B5). Pure but for its memory.

``E`` and ``T`` are integer microseconds; prices and sizes are padded to the market's tick and
step, as the venue's socket does (venues.md F).
"""

from dataclasses import dataclass

from exchanges.simulator.api import Engine
from exchanges.simulator.backpack_codec import (
    client_number,
    echo,
    is_market,
    mark_json,
    quote_size,
    stp_word,
    tif_word,
    visible_id,
)
from exchanges.simulator.backpack_members import Member
from exchanges.simulator.backpack_positions import exposure, position_json, position_number
from exchanges.simulator.backpack_prints import Bar, trade_number
from exchanges.simulator.backpack_triggers import Trigger
from exchanges.simulator.backpack_words import (
    LIQUIDATION_ORIGIN,
    US,
    Json,
    expiry_reason,
    late_refusal,
    origin,
    padded,
    side_word,
    status_word,
    user_cancelled,
)
from exchanges.simulator.model import (
    Ended,
    OrderChanged,
    Phase,
    PublicTrade,
    SimFill,
    SimOrder,
    SimPosition,
)
from strategy.domain import Instrument, Level, Ns, Side, notional, plain

_ZEROS = str.maketrans("123456789", "000000000")
_EXTERNAL_ORDER = 90_000_000_000
"""Order ids of the external market start here; the engine's own are far below."""


def levels(side: tuple[Level, ...] | list[Level], inst: Instrument) -> list[list[str]]:
    """Render levels as padded ``[price, size]`` pairs; a zero size, padded too, removes."""
    gone = padded(inst.step, inst.step).translate(_ZEROS)
    return [[padded(px, inst.tick), padded(qty, inst.step) if qty else gone] for px, qty in side]


def depth(
    inst: Instrument,
    bids: tuple[Level, ...],
    asks: tuple[Level, ...],
    ids: tuple[int, int],
    times: tuple[Ns, Ns],
) -> Json:
    """Render a ``depth`` update.

    Args:
        inst: the market.
        bids: changed levels, absolute sizes.
        asks: the same.
        ids: first and last update id it covers.
        times: emit and engine time, Unix ns.
    """
    return {
        "e": "depth",
        "E": times[0] // US,
        "s": inst.symbol,
        "a": levels(asks, inst),
        "b": levels(bids, inst),
        "U": ids[0],
        "u": ids[1],
        "T": times[1] // US,
    }


def book_ticker(
    inst: Instrument, bid: Level, ask: Level, update_id: int, times: tuple[Ns, Ns]
) -> Json:
    """Render ``bookTicker``: best prices and their sizes."""
    return {
        "e": "bookTicker",
        "E": times[0] // US,
        "s": inst.symbol,
        "a": padded(ask[0], inst.tick),
        "A": padded(ask[1], inst.step),
        "b": padded(bid[0], inst.tick),
        "B": padded(bid[1], inst.step),
        "u": update_id,
        "T": times[1] // US,
    }


def trade(inst: Instrument, event: PublicTrade, number: int, now: Ns) -> Json:
    """Render ``trade``: ``b`` and ``a`` are the buyer's and the seller's order id."""
    taker = event.taker_order_id or str(_EXTERNAL_ORDER + 2 * number + 1)
    maker = event.maker_order_id or str(_EXTERNAL_ORDER + 2 * number)
    buyer_takes = event.taker is Side.BUY
    return {
        "e": "trade",
        "E": now // US,
        "s": inst.symbol,
        "p": padded(event.px, inst.tick),
        "q": padded(event.qty, inst.step),
        "b": taker if buyer_takes else maker,
        "a": maker if buyer_takes else taker,
        "t": number,
        "T": event.at // US,
        "m": not buyer_takes,
    }


def mark_price(engine: Engine, symbol: str, now: Ns) -> Json:
    """Render ``markPrice``; ``n`` is ms, unlike every other time of the socket."""
    row = mark_json(engine, symbol)
    return {
        "e": "markPrice",
        "E": now // US,
        "s": symbol,
        "p": row["markPrice"],
        "f": row["fundingRate"],
        "i": row["indexPrice"],
        "n": row["nextFundingTimestamp"],
        "T": now // US,
    }


def liquidation(inst: Instrument, fill: SimFill, now: Ns) -> Json:
    """Render ``liquidation``: a position that the venue closed; ``S`` is the closing side."""
    return {
        "e": "liquidation",
        "E": now // US,
        "q": padded(fill.qty, inst.step),
        "p": padded(fill.px, inst.tick),
        "S": side_word(fill.side),
        "s": fill.symbol,
        "T": fill.at // US,
    }


def ticker(symbol: str, day: Bar, now: Ns) -> Json:
    """Render ``ticker``: the last 24 hours."""
    return {
        "e": "ticker",
        "E": now // US,
        "s": symbol,
        "o": plain(day.open),
        "c": plain(day.close),
        "h": plain(day.high),
        "l": plain(day.low),
        "v": plain(day.volume),
        "V": plain(day.turnover),
        "n": day.count,
    }


def open_interest(symbol: str, size: str, now: Ns) -> Json:
    """Render ``openInterest``."""
    return {"e": "openInterest", "E": now // US, "s": symbol, "o": size}


def position(
    engine: Engine, member: Member, row: SimPosition, event: str | None, times: tuple[Ns, Ns]
) -> Json:
    """Render ``account.positionUpdate``.

    ``i`` is an integer here, a string over REST.

    Args:
        engine: the venue.
        member: whose position it is.
        row: the position.
        event: None is the push on subscribing, without ``e``.
        times: emit and engine time, Unix ns.
    """
    inst = engine.markets[row.symbol].instrument
    rest = position_json(engine, member, row)
    frame: Json = {} if event is None else {"e": event}
    frame |= {
        "E": times[0] // US,
        "s": row.symbol,
        "q": _signed(row.qty, inst.step),
        "Q": padded(exposure(engine, member.id, row.symbol), inst.step),
        "n": rest["netExposureNotional"],
        "B": rest["entryPrice"],
        "b": rest["breakEvenPrice"],
        "M": rest["markPrice"],
        "f": rest["imf"],
        "m": rest["mmf"],
        "p": rest["pnlRealized"],
        "P": rest["pnlUnrealized"],
        "i": position_number(engine, member, row.symbol),
        "l": "0",
        "T": times[1] // US,
    }
    return frame


def _signed(units: int, step: int) -> str:
    return ("-" if units < 0 else "") + padded(abs(units), step)


def position_event(before: int, after: int) -> str:
    """Return which of ``positionOpened``, ``positionAdjusted``, ``positionClosed`` happened."""
    if not before:
        return "positionOpened"
    return "positionAdjusted" if after else "positionClosed"


# --- orders ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Told:
    """What the stream has said of an order so far."""

    qty: int
    cum: int = 0
    cum_quote: int = 0


class OrderFeed:
    """Turns engine order events into the venue's sequence of order messages.

    The venue announces an order only once its engine has taken it, so acceptance is told before
    the first fill, and a refused order is never told at all. Cumulative figures are counted here,
    message by message, because the engine's record is already final when its listeners run.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._told: dict[str, _Told] = {}

    def frames(self, event: OrderChanged, now: Ns) -> list[Json]:
        """Return the messages that ``event`` causes, oldest first."""
        order = event.order
        if order.phase is Phase.PENDING or late_refusal(order) is not None:
            return []
        out: list[Json] = []
        told = self._told.get(order.order_id)
        if told is None:
            told = self._told[order.order_id] = _first_seen(event)
            out.append(self._frame("orderAccepted", "New", event, told, now))
        if order.qty != told.qty:
            told.qty = order.qty
            out.append(self._frame("orderModified", _live_word(told), event, told, now))
        if event.fill is not None:
            out.append(self._fill(event, event.fill, told, now))
        out.extend(self._ending(event, told, now))
        return out

    def trigger(self, word: str, trigger: Trigger, now: Ns) -> Json:
        """Return the message about a trigger order that has not fired.

        Args:
            word: ``triggerPlaced``, ``triggerFailed``, ``orderModified``, ``orderCancelled`` or
                ``orderExpired``.
            trigger: the order.
            now: Unix ns.
        """
        event = OrderChanged(trigger.shape, now)
        frame = self._frame(word, trigger.status, event, _Told(0), now)
        if word == "orderExpired":
            frame["R"] = trigger.reason
        return frame

    def _fill(self, event: OrderChanged, fill: SimFill, told: _Told, now: Ns) -> Json:
        told.cum += fill.qty
        told.cum_quote += notional(fill.px, fill.qty)
        word = "Filled" if told.cum >= told.qty else "PartiallyFilled"
        inst = self._engine.markets[fill.symbol].instrument
        frame = self._frame("orderFill", word, event, told, now)
        return frame | {
            "t": trade_number(fill.trade_id),
            "l": padded(fill.qty, inst.step),
            "L": padded(fill.px, inst.tick),
            "m": fill.is_maker,
            "n": plain(fill.fee),
            "N": self._engine.rules.settle_asset,
        }

    def _ending(self, event: OrderChanged, told: _Told, now: Ns) -> list[Json]:
        order = event.order
        # The last fill ends a filled order; an engine may set the final phase before the fills.
        if order.live or told.cum < order.cum:
            return []
        del self._told[order.order_id]
        if order.phase is Phase.FILLED:
            return []
        if user_cancelled(order):
            return [self._frame("orderCancelled", "Cancelled", event, told, now)]
        frame = self._frame("orderExpired", status_word(order), event, told, now)
        return [frame | {"R": expiry_reason(order)}]

    def _frame(self, event: str, word: str, change: OrderChanged, told: _Told, now: Ns) -> Json:
        order = change.order
        inst = self._engine.markets[order.request.symbol].instrument
        frame: Json = {
            "e": event,
            "E": now // US,
            "s": order.request.symbol,
            "S": side_word(order.request.side),
            "o": "MARKET" if is_market(order) else "LIMIT",
            "f": tif_word(order),
            "X": word,
            "i": visible_id(order),
            "t": None,
            "z": padded(told.cum, inst.step),
            "Z": plain(told.cum_quote),
            "V": stp_word(order),
            "T": change.at // US,
            "O": _origin_word(order, change.fill),
            "r": order.request.reduce_only,
        }
        if not order.request.extra.get("unsized"):
            frame["q"] = padded(told.qty, inst.step)
        frame |= _conditional(order)
        number = client_number(order)
        if number is not None:
            frame["c"] = number
        if is_market(order):
            size = quote_size(order)
            if size is not None:
                frame["Q"] = size
        else:
            frame["p"] = padded(order.request.px or 0, inst.tick)
            frame["y"] = order.request.post_only
        return frame


def _first_seen(event: OrderChanged) -> _Told:
    """Return what an order had traded before ``event``: nothing, unless it is older than we."""
    order, fill = event.order, event.fill
    if fill is None:
        return _Told(order.request.qty, order.cum, order.cum_quote)
    before = order.cum_quote - notional(fill.px, fill.qty)
    return _Told(order.request.qty, order.cum - fill.qty, before)


def _live_word(told: _Told) -> str:
    return "PartiallyFilled" if told.cum else "New"


_LETTERS = {
    "triggerPrice": "P",
    "triggerBy": "B",
    "triggerQuantity": "Y",
    "takeProfitTriggerPrice": "a",
    "stopLossTriggerPrice": "b",
    "takeProfitTriggerBy": "d",
    "stopLossTriggerBy": "g",
    "takeProfitLimitPrice": "j",
    "stopLossLimitPrice": "k",
    "relatedOrderId": "I",
}
"""Letters of the conditional members (venues.md B5)."""


def _conditional(order: SimOrder) -> Json:
    """Return the members that only trigger orders, and orders with something attached, have."""
    said = echo(order)
    return {letter: said[name] for name, letter in _LETTERS.items() if said.get(name) is not None}


def _origin_word(order: SimOrder, fill: SimFill | None) -> str:
    """Return ``O``, the origin of the update: a liquidation also ends the account's own orders."""
    if fill is None and order.ended is Ended.LIQUIDATION:
        return LIQUIDATION_ORIGIN
    return origin(order, fill)
