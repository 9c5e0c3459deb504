"""GRVT account queries: positions, money, histories, leverage (venues.md A4.2)."""

from collections.abc import Callable

from exchanges.simulator.grvt_codec import (
    balance_json,
    max_leverage,
    position_json,
    summary_json,
)
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_history import History, page_json
from exchanges.simulator.grvt_payload import Fields, decimal_text, page_of
from exchanges.simulator.grvt_words import ApiError, Json, dec
from exchanges.simulator.model import SimPosition
from strategy.domain import NANO, Ns

_NO_MONEY = "0.0"


class AccountApi:
    """Answers everything that only reads the account, and the leverage setting."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.publish: Callable[[str, str, Json], None] = lambda _stream, _symbol, _row: None
        """Told of positions when the leverage changes (venues.md A6.3)."""

    def position_row(self, position: SimPosition, now: Ns) -> Json:
        """Render one position as it now is."""
        desk = self._desk
        mark = desk.engine.mark(position.symbol)
        return position_json(position, mark, desk.figures(), desk.sub_account, now)

    def positions(self, request: Fields) -> Json:
        """Answer ``/positions``: flat ones are not listed. Empty, or 500, under F74."""
        desk = self._desk
        desk.check_account(request)
        takes = desk.symbol_filter(request)
        fault = desk.fault("F74")
        if fault is not None:
            if fault.get("mode") == "error":
                raise ApiError(1002)
            return {}
        now = desk.now()
        return {"result": [row for row in self._rows(now) if takes(row["instrument"])]}

    def position_history(self, request: Fields) -> Json:
        """Answer ``/position_history``; closed positions are not kept."""
        self._desk.check_account(request)
        page_of(request)
        return {"result": [], "next": ""}

    def fill_history(self, request: Fields) -> Json:
        """Answer ``/fill_history``, newest first."""
        return self._history(request, self._desk.fills)

    def funding_payment_history(self, request: Fields) -> Json:
        """Answer ``/funding_payment_history``, newest first; positive is paid."""
        return self._history(request, self._desk.fundings)

    def account_summary(self, request: Fields) -> Json:
        """Answer ``/account_summary``."""
        self._desk.check_account(request)
        return {"result": self._summary(self._desk.now())}

    def account_history(self, request: Fields) -> Json:
        """Answer ``/account_history``: the present, the only snapshot there is."""
        self._desk.check_account(request)
        page_of(request)
        return {"result": [self._summary(self._desk.now())], "next": ""}

    def aggregated_account_summary(self, request: Fields) -> Json:
        """Answer ``/aggregated_account_summary``: the one sub account is all there is."""
        del request
        desk = self._desk
        desk.now()
        figures = desk.figures()
        return {
            "result": {
                "main_account_id": desk.sessions.main_account,
                "total_equity": dec(figures.equity),
                "spot_balances": [balance_json(figures, desk.engine.rules.settle_asset)],
                "vault_investments": [],
                "total_sub_account_balance": dec(figures.balance),
                "total_sub_account_equity": dec(figures.equity),
                "total_vault_investments_balance": _NO_MONEY,
                "total_sub_account_available_balance": dec(figures.available),
                "total_usd_notional_invested": _NO_MONEY,
            }
        }

    def funding_account_summary(self, request: Fields) -> Json:
        """Answer ``/funding_account_summary``: no money there; fees in 1e-6 of notional."""
        del request
        desk = self._desk
        rules = desk.engine.rules
        # Bps are held in 1e-6 bps, and one bps is 100 of the 1e-6 that the tier counts in.
        taker, maker = rules.taker_fee // 10_000, rules.maker_fee // 10_000
        return {
            "result": {
                "main_account_id": desk.sessions.main_account,
                "total_equity": _NO_MONEY,
                "spot_balances": [],
                "vault_investments": [],
                "total_cash_balance": _NO_MONEY,
                "total_spot_asset_balance": _NO_MONEY,
            },
            "tier": {
                "tier": 1,
                "futures_taker_fee": taker,
                "futures_maker_fee": maker,
                "options_taker_fee": taker,
                "options_maker_fee": maker,
                "spot_taker_fee": taker,
                "spot_maker_fee": maker,
            },
        }

    def sub_accounts(self, request: Fields) -> Json:
        """Answer ``/get_sub_accounts``."""
        del request
        return {"sub_account_ids": [self._desk.sub_account]}

    def leverages(self, request: Fields) -> Json:
        """Answer ``/get_all_initial_leverage``: one leverage holds for every instrument."""
        desk = self._desk
        desk.check_account(request)
        row = {
            "leverage": dec(desk.account.leverage * NANO),
            "min_leverage": "1.0",
            "max_leverage": dec(max_leverage(desk.engine.rules) * NANO),
            "margin_type": "CROSS",
        }
        return {"results": [{"instrument": symbol, **row} for symbol in desk.engine.markets]}

    def set_leverage(self, request: Fields) -> Json:
        """Answer ``/set_initial_leverage``.

        Raises:
            ApiError: 3000, 2100 for a fraction, 2107 or 2108 outside the range.
        """
        desk = self._desk
        desk.check_account(request)
        desk.market(request.required("instrument"))
        wanted = decimal_text(request.required("leverage"))
        if wanted < 1:
            raise ApiError(2107)
        if wanted > max_leverage(desk.engine.rules):
            raise ApiError(2108)
        if wanted != int(wanted):
            raise ApiError(2100)
        desk.account.leverage = int(wanted)
        now = desk.now()
        for row in self._rows(now):
            self.publish("v1.position", row["instrument"], row)
        return {"success": True}

    def builders(self, request: Fields) -> Json:
        """Answer ``/get_authorized_builders``."""
        del request
        return {"results": list(self._desk.builders.values())}

    def authorize_builder(self, request: Fields) -> Json:
        """Answer ``/authorize_builder``: a signed approval of builder fees."""
        desk = self._desk
        main = desk.sessions.main_account
        builder, futures, spot = desk.signers.check_builder(request, main, desk.clock())
        desk.builders[builder] = {
            "builder_account_id": builder,
            "max_futures_fee_rate": futures,
            "max_spot_fee_rate": spot,
        }
        return {"result": {"ack": True, "tx_id": str(len(desk.builders))}}

    def _history(self, request: Fields, history: History) -> Json:
        desk = self._desk
        desk.check_account(request)
        takes, page = desk.symbol_filter(request), page_of(request)
        desk.now()
        return page_json(history.newest(), page, takes)

    def _rows(self, now: Ns) -> list[Json]:
        held = self._desk.account.positions.values()
        return [self.position_row(position, now) for position in held if position.qty]

    def _summary(self, now: Ns) -> Json:
        desk = self._desk
        asset = desk.engine.rules.settle_asset
        return summary_json(desk.figures(), self._rows(now), asset, desk.sub_account, now)
