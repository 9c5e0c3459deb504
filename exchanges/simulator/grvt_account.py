"""GRVT account queries: positions, money, histories (venues.md A4.2)."""

from exchanges.simulator.grvt_account_codec import (
    PositionFigures,
    balance_json,
    position_json,
    summary_json,
)
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_history import History, page_json
from exchanges.simulator.grvt_lifecycles import PARTIALLY_CLOSED, STATUSES, lifecycle_json
from exchanges.simulator.grvt_members import Member
from exchanges.simulator.grvt_payload import Fields, Page, decimal_text, page_of
from exchanges.simulator.grvt_words import ApiError, Json, dec, malformed
from exchanges.simulator.model import SimPosition
from strategy.domain import Bps, Ns, SignedQty, nano_round

_NO_MONEY = "0.0"
_MARGIN_TYPES = frozenset({"CROSS", "ISOLATED"})


class AccountApi:
    """Answers everything that only reads an account."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # --- positions ---------------------------------------------------------------------------

    def position_row(self, who: Member, position: SimPosition, now: Ns) -> Json:
        """Render one position as it now is; F73 tells it larger."""
        desk, symbol = self._desk, position.symbol
        initial, maintenance = desk.engine.position_margin(who.id, symbol)
        figures = PositionFigures(
            mark=desk.engine.mark(symbol),
            liquidation=desk.engine.liquidation_price(who.id, symbol),
            exit_price=who.lifecycles.exit_price(symbol),
            leverage=desk.engine.leverage(who.id, symbol),
            margin_type=who.margin_type(symbol),
            initial_margin=initial,
            maintenance_margin=maintenance,
            quote_index=desk.quote_index(),
        )
        row = position_json(position, figures, who.sub_account, now)
        wrong = desk.peek("F73")
        if wrong is not None:
            step = desk.engine.markets[symbol].instrument.step
            more = nano_round(decimal_text(wrong["size"])) if "size" in wrong else step
            row["size"] = dec(position.qty + (more if position.qty >= 0 else -more))
        return row

    def position_rows(self, who: Member, now: Ns) -> list[Json]:
        """Render all open positions; under F73 those that are flat are wrong too."""
        held = dict(who.account.positions)
        if self._desk.holds("F73"):
            for symbol in self._desk.engine.markets:
                held.setdefault(symbol, SimPosition(symbol, SignedQty(0)))
        wanted = [each for each in held.values() if each.qty or self._desk.holds("F73")]
        return [self.position_row(who, position, now) for position in wanted]

    def positions(self, request: Fields, who: Member) -> Json:
        """Answer ``/positions``: flat ones are not listed. Empty, or 500, under F74."""
        desk = self._desk
        desk.check_account(request, who)
        takes = desk.symbol_filter(request)
        fault = desk.fault("F74")
        if fault is not None:
            if fault.get("mode") == "error":
                raise ApiError(1002)
            return {}
        now = desk.now()
        rows = self.position_rows(who, now)
        return {"result": [row for row in rows if takes(row["instrument"])]}

    def position_history(self, request: Fields, who: Member) -> Json:
        """Answer ``/position_history``: open ones that were reduced first, then closed ones."""
        desk = self._desk
        desk.check_account(request, who)
        takes, page = desk.symbol_filter(request), page_of(request)
        statuses = _known_words(request, "status", STATUSES)
        margins = _known_words(request, "margin_type", _MARGIN_TYPES)
        long, short = request.flag("is_long"), request.flag("is_short")
        desk.now()

        def fits(row: Json) -> bool:
            return (
                row["status"] in statuses
                and row["margin_type"] in margins
                and (long == short or row["is_long"] is long)
            )

        open_rows = [] if _bounded(page, request) else self._reduced(who)
        closed = (row for row in who.lifecycles.closed.newest() if fits(row.body))
        found = page_json(closed, page, takes)
        first = [row for row in open_rows if fits(row) and takes(row["instrument"])]
        return {"result": first + found["result"], "next": found["next"]}

    def _reduced(self, who: Member) -> list[Json]:
        """Return open positions that were partly closed, the newest first."""
        engine, rows = self._desk.engine, []
        for held in who.lifecycles.open.values():
            if held.closed:
                leverage = engine.leverage(who.id, held.symbol)
                margin_type = who.margin_type(held.symbol)
                row = lifecycle_json(held, PARTIALLY_CLOSED, leverage, who.sub_account, margin_type)
                row["unrealized_pnl"] = dec(engine.unrealized(who.id, held.symbol))
                rows.append((held.opened_at, row))
        rows.sort(key=lambda each: each[0], reverse=True)
        return [row for _, row in rows]

    # --- money -------------------------------------------------------------------------------

    def fill_history(self, request: Fields, who: Member) -> Json:
        """Answer ``/fill_history``, newest first."""
        return self._history(request, who, who.fills)

    def funding_payment_history(self, request: Fields, who: Member) -> Json:
        """Answer ``/funding_payment_history``, newest first; positive is paid."""
        return self._history(request, who, who.fundings)

    def account_summary(self, request: Fields, who: Member) -> Json:
        """Answer ``/account_summary``."""
        self._desk.check_account(request, who)
        return {"result": self._summary(who, self._desk.now())}

    def account_history(self, request: Fields, who: Member) -> Json:
        """Answer ``/account_history``: the present, the only snapshot there is."""
        self._desk.check_account(request, who)
        page_of(request)
        return {"result": [self._summary(who, self._desk.now())], "next": ""}

    def aggregated_account_summary(self, request: Fields, who: Member) -> Json:
        """Answer ``/aggregated_account_summary``: all sub-accounts of the main account."""
        del request
        desk = self._desk
        desk.now()
        all_figures = [desk.figures(member) for member in desk.members.of_main(who.main)]
        equity = sum(each.equity for each in all_figures)
        balance = sum(each.balance for each in all_figures)
        available = sum(each.available for each in all_figures)
        asset = desk.engine.rules.settle_asset
        return {
            "result": {
                "main_account_id": who.main,
                "total_equity": dec(equity),
                "spot_balances": [balance_json(balance, available, desk.quote_index(), asset)],
                "vault_investments": [],
                "total_sub_account_balance": dec(balance),
                "total_sub_account_equity": dec(equity),
                "total_vault_investments_balance": _NO_MONEY,
                "total_sub_account_available_balance": dec(available),
                "total_usd_notional_invested": _NO_MONEY,
            }
        }

    def funding_account_summary(self, request: Fields, who: Member) -> Json:
        """Answer ``/funding_account_summary``: no money there; fees in 1e-6 of notional."""
        del request
        engine = self._desk.engine
        maker, taker = (_tier_fee(rate) for rate in engine.fees(who.id))
        return {
            "result": {
                "main_account_id": who.main,
                "total_equity": _NO_MONEY,
                "spot_balances": [],
                "vault_investments": [],
                "total_cash_balance": _NO_MONEY,
                "total_spot_asset_balance": _NO_MONEY,
            },
            "tier": {
                "tier": engine.fee_tier(who.id) + 1,
                "futures_taker_fee": taker,
                "futures_maker_fee": maker,
                "options_taker_fee": taker,
                "options_maker_fee": maker,
                "spot_taker_fee": taker,
                "spot_maker_fee": maker,
            },
        }

    def sub_accounts(self, request: Fields, who: Member) -> Json:
        """Answer ``/get_sub_accounts``: all of the main account."""
        del request
        found = self._desk.members.of_main(who.main)
        return {"sub_account_ids": [member.sub_account for member in found]}

    def no_transfers(self, request: Fields, who: Member) -> Json:
        """Answer the histories of deposits, transfers and withdrawals: none can be made here."""
        del who
        page_of(request)
        return {"result": [], "next": ""}

    def _history(self, request: Fields, who: Member, history: History) -> Json:
        desk = self._desk
        desk.check_account(request, who)
        takes, page = desk.symbol_filter(request), page_of(request)
        desk.now()
        return page_json(history.newest(), page, takes)

    def _summary(self, who: Member, now: Ns) -> Json:
        desk = self._desk
        asset = desk.engine.rules.settle_asset
        rows = self.position_rows(who, now)
        return summary_json(desk.figures(who), rows, asset, who.sub_account, now)


def _tier_fee(rate: Bps) -> int:
    """Return a fee in 1e-6 of notional: ``Bps`` are 1e-6 bps, and one bps is 100 of those."""
    return rate // 10_000


def _known_words(request: Fields, key: str, known: frozenset[str]) -> frozenset[str]:
    """Return a filter of an enumeration; all of it when there is none."""
    words = request.words(key)
    if not words <= known:
        raise malformed()
    return words or known


def _bounded(page: Page, request: Fields) -> bool:
    """True when a page can only hold closed positions."""
    return page.before is not None or request.has("start_time") or request.has("end_time")
