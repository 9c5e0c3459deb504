"""What a GRVT account can set: leverage, margin type, approved builders (venues.md A4.2)."""

from collections.abc import Callable

from exchanges.simulator.grvt_account import AccountApi
from exchanges.simulator.grvt_build import BUILDER_CAP
from exchanges.simulator.grvt_codec import max_leverage
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_eip712 import LEVERAGE_SCALE, Asset
from exchanges.simulator.grvt_members import Member
from exchanges.simulator.grvt_payload import Fields, decimal_text
from exchanges.simulator.grvt_words import ApiError, Json, dec
from exchanges.simulator.model import Refusal
from strategy.domain import NANO

_MARGIN_NUMBERS = {"ISOLATED": 1, "CROSS": 2}


class SettingsApi:
    """Answers what reads and changes settings."""

    def __init__(self, desk: Desk, account: AccountApi) -> None:
        self._desk = desk
        self._account = account
        self.publish: Callable[[Member, str, str, Json], None] = lambda *_: None
        """Told of positions when their leverage changes (venues.md A6.3)."""

    # --- leverage ----------------------------------------------------------------------------

    def leverages(self, request: Fields, who: Member) -> Json:
        """Answer ``/get_all_initial_leverage``."""
        desk = self._desk
        desk.check_account(request, who)
        most = dec(max_leverage(desk.engine.rules) * NANO)
        return {
            "results": [
                {
                    "instrument": symbol,
                    "leverage": dec(desk.engine.leverage(who.id, symbol) * NANO),
                    "min_leverage": "1.0",
                    "max_leverage": most,
                    "margin_type": who.margin_type(symbol),
                }
                for symbol in desk.engine.markets
            ]
        }

    def set_leverage(self, request: Fields, who: Member) -> Json:
        """Answer ``/set_initial_leverage``.

        Raises:
            ApiError: 3000, 2100 for a fraction or one that equity does not cover, 2107 or 2108
                outside the range.
        """
        desk = self._desk
        desk.check_account(request, who)
        symbol = desk.market(request.required("instrument")).instrument.symbol
        wanted = self._leverage(request)
        desk.now()
        self.apply_leverage(who, symbol, wanted)
        return {"success": True}

    def apply_leverage(self, who: Member, symbol: str, leverage: int) -> None:
        """Set the leverage of a symbol and tell the position; raises ApiError 2100."""
        try:
            self._desk.engine.set_leverage(who.id, leverage, symbol)
        except Refusal as no:
            raise ApiError(2100) from no
        self._tell(who, symbol)

    def _tell(self, who: Member, symbol: str) -> None:
        held = who.account.positions.get(symbol)
        if held is not None and held.qty:
            row = self._account.position_row(who, held, self._desk.clock())
            self.publish(who, "v1.position", symbol, row)

    def _leverage(self, request: Fields) -> int:
        wanted = decimal_text(request.required("leverage"))
        if wanted < 1:
            raise ApiError(2107)
        if wanted > max_leverage(self._desk.engine.rules):
            raise ApiError(2108)
        if wanted != int(wanted):
            raise ApiError(2100)
        return int(wanted)

    def set_position_config(self, request: Fields, who: Member) -> Json:
        """Answer ``/set_position_config``: leverage and margin type, signed.

        An isolated margin is shown, but the account's positions go on sharing its equity.

        Raises:
            ApiError: as ``set_leverage``; 2102 or 2103 for another margin type while there is a
                position or an order, 2104 for an unknown one; a code of the signature.
        """
        desk = self._desk
        desk.check_account(request, who)
        instrument = desk.market(request.required("instrument")).instrument
        symbol, margin_type = instrument.symbol, request.required("margin_type")
        number = _MARGIN_NUMBERS.get(margin_type)
        if number is None:
            raise ApiError(2104)
        leverage = self._leverage(request)
        now = desk.now()
        asset = Asset(int(instrument.asset_id, 16), instrument.size_decimals)
        config = number, leverage * LEVERAGE_SCALE
        desk.signers.check_config(request, asset, config, who, desk.told(now))
        if margin_type != who.margin_type(symbol):
            held = who.account.positions.get(symbol)
            if held is not None and held.qty:
                raise ApiError(2102)
            if desk.engine.open_orders(who.id, symbol):
                raise ApiError(2103)
        who.margin_types[symbol] = margin_type
        self.apply_leverage(who, symbol, leverage)
        return {"ack": True}

    # --- builders ----------------------------------------------------------------------------

    def builders(self, request: Fields, who: Member) -> Json:
        """Answer ``/get_authorized_builders``."""
        del request
        return {"results": list(self._desk.builders.get(who.main, {}).values())}

    def authorize_builder(self, request: Fields, who: Member) -> Json:
        """Answer ``/authorize_builder``: a signed approval of builder fees.

        Raises:
            ApiError: 7500 above the program's limit, 7501 for a negative one, 7503 for the same
                approval again; a code of the signature.
        """
        desk = self._desk
        rates = [
            decimal_text(request.required(name))
            for name in ("max_futures_fee_rate", "max_spot_fee_rate")
        ]
        if min(rates) < 0:
            raise ApiError(7501)
        now = desk.told(desk.clock())
        builder, futures, spot = desk.signers.check_builder(request, who, now)
        if max(rates) > BUILDER_CAP:
            raise ApiError(7500)
        approved = desk.builders.setdefault(who.main, {})
        row = {
            "builder_account_id": builder,
            "max_futures_fee_rate": futures,
            "max_spot_fee_rate": spot,
        }
        if approved.get(builder) == row:
            raise ApiError(7503)
        approved[builder] = row
        return {"result": {"ack": True, "tx_id": str(len(approved))}}
