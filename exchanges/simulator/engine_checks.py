"""What a venue refuses before it acknowledges an order. Imports simulator modules only.

Each check raises ``Refusal`` with the reason; the faces map it to their venue's code
(venues.md A4.3, A5.4, B3.4).
"""

from exchanges.simulator.engine_margin import Margin
from exchanges.simulator.engine_state import HALTED, EngineState
from exchanges.simulator.margin import Ledger
from exchanges.simulator.model import Deny, NewOrder, Refusal
from strategy.domain import BPS_ONE, Ns, Venue, notional


def check(state: EngineState, ledger: Ledger, margin: Margin, now: Ns, new: NewOrder) -> None:
    """Validate a new order at the gateway.

    Raises:
        Refusal: with the first rule that it breaks.
    """
    if new.symbol not in state.markets:
        raise Refusal(Deny.UNKNOWN_SYMBOL, new.symbol)
    _check_kind(state, new)
    _check_market(state, new)
    if new.expires_at is not None and new.expires_at <= now:
        raise Refusal(Deny.EXPIRED_SIGNATURE, f"expired at {new.expires_at}, now {now}")
    _check_size(state, new)
    _check_price(state, new)
    _check_account(state, new)
    if new.reduce_only:
        check_reduces(ledger, new)
    elif not affordable(state, ledger, margin, new):
        raise Refusal(Deny.INSUFFICIENT_MARGIN, "initial margin above equity")


def state_refuses(market_state: str, new: NewOrder) -> bool:
    """True when a market state does not take such an order (Backpack's words, venues.md B6)."""
    if market_state in HALTED:
        return True
    if market_state == "PostOnly":
        return not new.post_only
    return market_state == "LimitOnly" and new.px is None


def check_reduces(ledger: Ledger, new: NewOrder) -> None:
    """Check that a reduce-only order has something to reduce (venues.md A4.3: 2400, 2401).

    Raises:
        Refusal: there is no position, or the order is on its side.
    """
    held = ledger.position(new.account, new.symbol)
    if not held:
        raise Refusal(Deny.REDUCE_ONLY_NO_POSITION, new.symbol)
    if held * new.side.value > 0:
        raise Refusal(Deny.REDUCE_ONLY_INCREASES, f"position {held}")


def affordable(
    state: EngineState, ledger: Ledger, margin: Margin, new: NewOrder | None, account: str = ""
) -> bool:
    """True when equity covers initial margin, or a new order adds none.

    Without ``new`` the question is whether what ``account`` already has is covered.
    """
    account = new.account if new is not None else account
    live = state.live[account].values()
    after = margin.initial(account, live, new)
    if after <= ledger.equity(account):
        return True
    return new is not None and after <= margin.initial(account, live)


def _check_kind(state: EngineState, new: NewOrder) -> None:
    if new.post_only and (new.px is None or new.tif in state.rules.taker_only_tif):
        raise Refusal(Deny.UNSUPPORTED, "a post-only order rests: limit price and GTC")


def _check_market(state: EngineState, new: NewOrder) -> None:
    market_state = state.markets[new.symbol].state
    if state_refuses(market_state, new):
        raise Refusal(Deny.MARKET_CLOSED, market_state)


def _check_size(state: EngineState, new: NewOrder) -> None:
    instrument = state.markets[new.symbol].instrument
    small = new.qty < max(instrument.min_qty, 1)
    # Below one step both rules fail: GRVT speaks of the minimum (2062), Backpack of decimals.
    if small and (state.rules.venue is Venue.GRVT or new.qty <= 0):
        raise Refusal(Deny.BELOW_MIN_QTY, f"minimum {instrument.min_qty}")
    if new.qty % instrument.step:
        raise Refusal(Deny.BAD_STEP, f"step {instrument.step}")
    if small:
        raise Refusal(Deny.BELOW_MIN_QTY, f"minimum {instrument.min_qty}")


def _check_price(state: EngineState, new: NewOrder) -> None:
    instrument = state.markets[new.symbol].instrument
    mark = state.books[new.symbol].mark
    px = new.px
    if px is None:
        if not mark:
            raise Refusal(Deny.NO_PRICE, "no mark price to bound a market order")
        px = mark
    elif px <= 0 or px % instrument.tick:
        raise Refusal(Deny.BAD_TICK, f"tick {instrument.tick}")
    elif mark and abs(px - mark) * BPS_ONE > mark * state.rules.price_band:
        raise Refusal(Deny.PRICE_BAND, f"mark {mark}")
    if notional(px, new.qty) < instrument.min_notional:
        raise Refusal(Deny.BELOW_MIN_NOTIONAL, f"minimum {instrument.min_notional}")


def _check_account(state: EngineState, new: NewOrder) -> None:
    known = state.newest.get((new.account, new.client_id)) if new.client_id else None
    if known is not None and known.live:
        raise Refusal(Deny.DUPLICATE_CLIENT_ID, new.client_id)
    if len(state.live[new.account]) >= state.rules.max_open_orders:
        raise Refusal(Deny.TOO_MANY_ORDERS, f"limit {state.rules.max_open_orders}")
