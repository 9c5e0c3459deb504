"""From an order as the client wrote it to an order for the engine, with the face's own checks.

What the venue checks at its gateway and the engine knows nothing of: bands around the mark, the
position limit, market states that depend on the order type (venues.md B3.2, B4, B6).
"""

from exchanges.simulator.backpack_desk import Desk
from exchanges.simulator.backpack_members import Member
from exchanges.simulator.backpack_payload import OrderPlan, slippage_bound
from exchanges.simulator.backpack_positions import exposure
from exchanges.simulator.backpack_words import ApiError, Json, refusal
from exchanges.simulator.model import Deny, Market, NewOrder, SelfTrade
from strategy.domain import NANO, Px, Qty, Side, Tif, notional, plain

_SHARES = 10_000
_SELF_TRADE = {
    "Allow": SelfTrade.ALLOW,
    "RejectMaker": SelfTrade.REJECT_MAKER,
    "RejectBoth": SelfTrade.REJECT_BOTH,
}
_CANCEL_ONLY = frozenset({"Closed", "CancelOnly"})


def new_order(desk: Desk, member: Member, plan: OrderPlan, extra: Json | None = None) -> NewOrder:
    """Return the engine's order; a market order gets its bound and, if sized in quote, its size.

    Args:
        desk: the venue.
        member: whose order it is.
        plan: what the client asked for; ``qty`` is set, or it is a market order sized in quote.
        extra: further fields to echo back.

    Raises:
        ApiError: a rule of the gateway.
    """
    market = desk.market(plan.symbol)
    check_state(market, plan)
    check_ticks(market, plan)
    _check_new_tick(desk, market, plan)
    echoed: dict[str, object] = {
        "orderType": "Market" if plan.market else "Limit",
        "selfTradePrevention": plan.stp,
        "self_trade": _SELF_TRADE.get(plan.stp, SelfTrade.REJECT_TAKER),
        "legs": plan.legs,
        "echo": {key: value for leg in plan.legs for key, value in leg.echo().items()},
    }
    echoed |= extra or {}
    qty, px, tif = plan.qty, plan.px, plan.tif
    if plan.market:
        px = _market_bound(desk, plan, market)
        echoed["tolerance"] = plan.slippage is not None
        tif = Tif.FOK if plan.tif is Tif.FOK else Tif.IOC
        if qty is None:
            qty = _base_size(desk, plan, market)
            echoed["quoteQuantity"] = plain(plan.quote_qty or 0)
    elif px is not None:
        check_band(desk, plan.side, px, market)
    _check_limit(desk, member, plan, qty or Qty(0))
    client_id = "" if plan.client_id is None else str(plan.client_id)
    if client_id and desk.options.accept_duplicate_client_id:
        known = desk.engine.find(member.id, client_id)
        if known is not None and known.live:
            client_id, echoed["clientId"] = "", plan.client_id
    return NewOrder(
        account=member.id,
        symbol=plan.symbol,
        side=plan.side,
        qty=qty or Qty(0),
        px=px,
        tif=tif,
        post_only=plan.post_only,
        reduce_only=bool(plan.reduce_only),
        client_id=client_id,
        extra=echoed,
    )


def check_state(market: Market, plan: OrderPlan) -> None:
    """Refuse what the market's state does not take (venues.md B3.1 ``orderBookState``).

    Raises:
        ApiError: TRADING_PAUSED, with the state in the message.
    """
    state = market.state
    if state in _CANCEL_ONLY:
        raise refusal(Deny.MARKET_CLOSED)
    if state == "LimitOnly" and plan.market:
        raise ApiError(400, "TRADING_PAUSED", "Market is in limit only mode")
    if state == "PostOnly" and not plan.post_only:
        raise ApiError(400, "TRADING_PAUSED", "Market is in post only mode")


def check_ticks(market: Market, plan: OrderPlan, *more: Px) -> None:
    """Refuse prices off the tick among those the engine does not see.

    Raises:
        ApiError: "Price decimal too long".
    """
    prices = [*more, *(leg.price for leg in plan.legs)]
    prices += [leg.limit for leg in plan.legs if leg.limit is not None]
    if more and plan.px is not None:
        prices.append(plan.px)
    if any(px % market.instrument.tick for px in prices):
        raise refusal(Deny.BAD_TICK)


def _check_new_tick(desk: Desk, market: Market, plan: OrderPlan) -> None:
    """Refuse a price on the tick that was, once the venue has a coarser one (F14)."""
    if plan.px is None or desk.peek("F14") is None:
        return
    listed = desk.engine.markets[plan.symbol].instrument
    if plan.px % market.instrument.tick and not plan.px % listed.tick:
        desk.fault("F14")
        raise refusal(Deny.BAD_TICK)


def check_band(desk: Desk, side: Side, px: Px, market: Market) -> None:
    """Refuse a limit price beyond the highest one, or on the taking side of the mark's band.

    Raises:
        ApiError: INVALID_PRICE.
    """
    if px % market.instrument.tick:
        return  # the engine's word on decimals comes first
    if px > desk.options.max_price * NANO:
        raise ApiError(400, "INVALID_PRICE", "Price is above the maximum allowed value")
    mark = desk.engine.mark(market.instrument.symbol)
    low, high = desk.options.mark_band_bps
    beyond = px * _SHARES > mark * high if side is Side.BUY else px * _SHARES < mark * low
    if mark and beyond:
        raise refusal(Deny.PRICE_BAND)


def _check_limit(desk: Desk, member: Member, plan: OrderPlan, qty: Qty) -> None:
    if plan.reduce_only:
        return
    engine, most = desk.engine, desk.options.position_limit * NANO
    before = exposure(engine, member.id, plan.symbol)
    after = exposure(engine, member.id, plan.symbol, plan.side, qty)
    # Ahead of margin, which grows so fast with size that it would hide this limit.
    if after > before and notional(engine.mark(plan.symbol), after) > most:
        raise ApiError(400, "POSITION_LIMIT", "Position limit exceeded")


def _market_bound(desk: Desk, plan: OrderPlan, market: Market) -> Px | None:
    bid, ask = desk.engine.touch(plan.symbol)
    touch = ask if plan.side is Side.BUY else bid
    if touch is None:
        return None
    return slippage_bound(plan, touch, market.instrument.tick)


def _base_size(desk: Desk, plan: OrderPlan, market: Market) -> Qty:
    """Convert a quote size into base by walking the displayed book."""
    bids, asks = desk.engine.book(plan.symbol, 1000)
    left, size = plan.quote_qty or 0, 0
    for px, qty in asks if plan.side is Side.BUY else bids:
        take = min(qty, left * NANO // px)
        size += take
        left -= take * px // NANO
        if take < qty:
            break
    return market.instrument.floor_qty(size)
