"""Backpack's endpoints around the perpetual account: lending, deposits, withdrawals, conversion.

A simulated account holds one asset and trades perpetuals only. What needs more is answered as the
venue answers an account without it: empty histories, zero limits, documented refusals.
"""

import base64
from hashlib import sha256

from aiohttp import web

from exchanges.simulator.backpack_desk import Desk
from exchanges.simulator.backpack_gate import Call, Gate, page, reply
from exchanges.simulator.backpack_reader import Reader, wrong
from exchanges.simulator.backpack_words import ApiError, bad_parameter
from strategy.domain import plain

_EMPTY = {
    "/wapi/v1/capital/deposits": "depositQueryAll",
    "/wapi/v1/capital/withdrawals": "withdrawalQueryAll",
    "/wapi/v1/history/borrowLend": "borrowHistoryQueryAll",
    "/wapi/v1/history/interest": "interestHistoryQueryAll",
    "/wapi/v1/history/borrowLend/positions": "borrowPositionHistoryQueryAll",
    "/wapi/v1/history/dust": "dustHistoryQueryAll",
    "/wapi/v1/history/pnl": "pnlHistoryQueryAll",
    "/wapi/v1/history/rfq": "rfqHistoryQueryAll",
    "/wapi/v1/history/quote": "quoteHistoryQueryAll",
    "/wapi/v1/history/strategies": "strategyHistoryQueryAll",
    "/api/v1/borrowLend/positions": "borrowLendPositionQuery",
}


class WalletApi:
    """What surrounds trading."""

    def __init__(self, desk: Desk, gate: Gate) -> None:
        self._desk = desk
        self._gate = gate

    def routes(self) -> list[web.RouteDef]:
        """Return the endpoints."""
        signed = self._gate.signed
        return [
            web.get("/api/v1/account/limits/borrow", signed("maxBorrowQuantity", self.borrowable)),
            web.get(
                "/api/v1/account/limits/withdrawal",
                signed("maxWithdrawalQuantity", self.withdrawable),
            ),
            web.post("/api/v1/account/convertDust", signed("convertDust", self.convert)),
            web.post("/api/v1/borrowLend", signed("borrowLendExecute", self.borrow_lend)),
            web.get(
                "/wapi/v1/capital/deposit/address", signed("depositAddressQuery", self.address)
            ),
            web.post("/wapi/v1/capital/withdrawals", signed("withdraw", self.withdraw)),
            *(web.get(path, signed(name, self.empty)) for path, name in _EMPTY.items()),
        ]

    def _asset(self, value: object) -> str:
        settle = self._desk.engine.rules.settle_asset
        if value != settle:
            raise ApiError(400, "INVALID_ASSET", "Invalid asset")
        return settle

    async def borrowable(self, call: Call) -> web.Response:
        """Return the largest borrow: none."""
        symbol = self._asset(call.params.get("symbol"))
        return reply({"maxBorrowQuantity": "0", "symbol": symbol})

    async def withdrawable(self, call: Call) -> web.Response:
        """Return how much money backs neither position nor order."""
        symbol = self._asset(call.params.get("symbol"))
        self._desk.now()
        free = min(self._desk.engine.available(call.member.id), max(call.member.account.balance, 0))
        return reply(
            {
                "autoBorrow": None,
                "autoLendRedeem": None,
                "maxWithdrawalQuantity": plain(free),
                "symbol": symbol,
            }
        )

    async def convert(self, call: Call) -> web.Response:
        """Convert dust into the settle asset: there never is any."""
        symbol = call.params.get("symbol")
        if symbol is not None:
            self._asset(symbol)
        return web.Response()

    async def borrow_lend(self, call: Call) -> web.Response:
        """Refuse to borrow or lend: the account's limit for both is zero."""
        row = Reader(call.params, "BorrowLendExecutePayload")
        side = row.word("side", {"Borrow": 1, "Lend": 1})
        quantity = row.decimal("quantity")
        if side is None or quantity is None:
            missing = "side" if side is None else "quantity"
            raise wrong("BorrowLendExecutePayload", missing, f"field `{missing}` is required")
        self._asset(row.text("symbol"))
        if not quantity:
            raise ApiError(400, "INVALID_QUANTITY", "Quantity must be positive")
        if side == "Borrow":
            raise ApiError(400, "BORROW_LIMIT", "Borrow limit exceeded")
        raise ApiError(400, "LEND_LIMIT", "Lend limit exceeded")

    async def address(self, call: Call) -> web.Response:
        """Return a made-up address: nothing sent to it arrives anywhere."""
        chain = call.params.get("blockchain")
        if not isinstance(chain, str) or not chain.isalnum():
            raise bad_parameter("blockchain", "Expect a valid enumeration value.")
        digest = sha256(f"{chain} {call.member.id}".encode()).digest()
        return reply({"address": "SIM" + base64.b32encode(digest).decode().rstrip("=")})

    async def withdraw(self, _call: Call) -> web.Response:
        """Refuse: the simulated key may trade but not withdraw."""
        raise ApiError(403, "FORBIDDEN", "Withdrawals are not permitted for this API key")

    async def empty(self, call: Call) -> web.Response:
        """Answer a history that a simulated account never has."""
        return reply(page([], call.params))
