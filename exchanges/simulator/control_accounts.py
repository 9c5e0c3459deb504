"""The control server's accounts: what each has, opening, changing and closing by force.

Imports ``strategy.domain`` and simulator modules only.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from aiohttp import web

from exchanges.simulator.control_words import (
    HIGHEST,
    ControlError,
    Json,
    body_of,
    number,
    only,
    plain_or_none,
    reply,
    venue_of,
)
from exchanges.simulator.engine import MatchingEngine
from exchanges.simulator.model import Origin, Refusal, SimAccount
from exchanges.simulator.roster import Roster
from exchanges.simulator.universe import Universe
from strategy.domain import Bps, Ns, Qty, Quote, Venue, bps, nano, plain

_FEE_LIMIT = 100
"""Bound of a fee, in bps either way."""
_KINDS = {"liquidation": Origin.LIQUIDATION, "adl": Origin.ADL}


class AccountRoutes:
    """Serves ``POST|PATCH /accounts`` and ``POST /liquidate``, and tells what accounts have."""

    def __init__(self, universe: Universe, roster: Roster) -> None:
        self._universe = universe
        self._roster = roster

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.post("/accounts", self._open),
            web.patch("/accounts", self._change),
            web.post("/liquidate", self._liquidate),
        ]

    def rows(self, venue: Venue) -> Json:
        """Return every account of a venue by id."""
        engine, symbol = self._universe.engines[venue], self._universe.symbols[venue]
        return {name: account_row(engine, each, symbol) for name, each in engine.accounts.items()}

    async def _open(self, request: web.Request) -> web.Response:
        """Open one more account; answers its id and credentials."""
        spec = await body_of(request)
        only(spec, "venue", "tier", "balance")
        venue, balance = venue_of(spec), number(spec, "balance", 0)
        try:
            opened = self._roster.open(
                venue,
                tier=_tier(spec),
                balance=None if balance is None else Quote(_exact("balance", balance)),
            )
        except ValueError as bad:
            raise ControlError(str(bad)) from bad
        return reply(opened.as_dict())

    async def _change(self, request: web.Request) -> web.Response:
        """Change an account's fees, leverage or money."""
        spec = await body_of(request)
        only(spec, "venue", "account", "tier", "maker_bps", "taker_bps", "leverage", "deposit")
        venue, account = self._account(spec)
        engine = self._engine(venue)
        maker, taker = (number(spec, f"{s}_bps", -_FEE_LIMIT, _FEE_LIMIT) for s in _SIDES)
        if (maker is None) != (taker is None):
            raise ControlError("maker_bps and taker_bps go together: send both")
        leverage = number(spec, "leverage", 1, engine.rules.max_leverage, whole=True)
        deposit = number(spec, "deposit", -HIGHEST)
        name = account.account_id
        try:
            if "tier" in spec or maker is not None:
                engine.set_fees(name, tier=_tier(spec), custom=_custom(maker, taker))
            if leverage is not None:
                engine.set_leverage(name, int(leverage))
            if deposit is not None:
                engine.deposit(name, Quote(_exact("deposit", deposit)))
        except (ValueError, Refusal) as bad:
            raise ControlError(str(bad)) from bad
        return reply({"account": name} | account_row(engine, account, self._symbol(venue)))

    async def _liquidate(self, request: web.Request) -> web.Response:
        """Close an account's position, or part of it, as the venue itself would."""
        spec = await body_of(request)
        only(spec, "venue", "account", "kind", "size")
        venue, account = self._account(spec)
        kind = spec.get("kind", "liquidation")
        origin = _KINDS.get(str(kind))
        if origin is None:
            raise ControlError(f"kind {kind!r} is unknown: use one of {', '.join(_KINDS)}")
        engine, symbol, name = self._engine(venue), self._symbol(venue), account.account_id
        qty = _size(spec, engine.markets[symbol].instrument.step)
        order = engine.force_close(self._now(), name, symbol, origin=origin, qty=qty)
        if order is None:
            raise ControlError(f"account {name} has no position to close")
        row = account_row(engine, account, symbol)
        return reply({"account": name, "order_id": order.order_id} | row)

    def _account(self, spec: Mapping[str, Any]) -> tuple[Venue, SimAccount]:
        """Return the account that a request names; the venue's first when it names none."""
        venue = venue_of(spec)
        name = spec.get("account")
        if name is None:
            return venue, self._universe.account(venue)
        found = self._engine(venue).accounts.get(str(name))
        if found is None:
            raise ControlError(f"account {name!r} is unknown on {venue.value}: see GET /state")
        return venue, found

    def _engine(self, venue: Venue) -> MatchingEngine:
        engine = self._universe.engines[venue]
        engine.advance(self._now())
        return engine

    def _symbol(self, venue: Venue) -> str:
        return self._universe.symbols[venue]

    def _now(self) -> Ns:
        return self._universe.driver.now()


_SIDES = ("maker", "taker")


def account_row(engine: MatchingEngine, account: SimAccount, symbol: str) -> Json:
    """Return what an account has; money in the settle currency, all as text."""
    name = account.account_id
    held = account.positions.get(symbol)
    maker, taker = engine.fees(name)
    return {
        "position": plain(0 if held is None else held.qty),
        "open_orders": sum(order.live for order in engine.open_orders(name)),
        "orders_received": account.orders_received,
        "orders_rejected": account.orders_rejected,
        "signature_failures": account.signature_failures,
        "balance": plain(account.balance),
        "equity": plain(engine.equity(name)),
        "available": plain(engine.available(name)),
        "initial_margin": plain(engine.margin_used(name)),
        "maintenance_margin": plain(engine.maintenance_margin(name)),
        "liquidation_price": plain_or_none(engine.liquidation_price(name, symbol)),
        "liquidating": account.liquidating,
        "leverage": engine.leverage(name, symbol),
        "tier": engine.fee_tier(name),
        "maker_bps": _bps(maker),
        "taker_bps": _bps(taker),
        "fees_paid": plain(account.fees_paid),
        "builder_fees_paid": plain(account.builder_fees_paid),
        "funding": plain(0 if held is None else held.funding),
        "volume": plain(account.volume),
        "main_account": account.main_account,
    }


def money_row(engine: MatchingEngine) -> Json:
    """Return the venue's own ledger: where the money is that accounts do not have."""
    told = engine.money()
    scale = Decimal(10) ** -18
    rows = {
        "accounts": told.accounts,
        "external": told.external,
        "fees": told.fees,
        "builders": told.builders,
        "insurance": told.insurance,
        "deposited": told.deposited,
        "total": told.total,
    }
    return {key: format((value * scale).normalize(), "f") for key, value in rows.items()}


def _tier(spec: Mapping[str, Any]) -> int | None:
    """Return the tier asked for: 0 without one, None (by volume) for ``"auto"``."""
    if spec.get("tier") == "auto":
        return None
    found = number(spec, "tier", 0, whole=True)
    return 0 if found is None else int(found)


def _custom(maker: Decimal | None, taker: Decimal | None) -> tuple[Bps, Bps] | None:
    if maker is None or taker is None:
        return None
    try:
        return bps(maker), bps(taker)
    except ValueError as bad:
        raise ControlError(f"fees: {bad}") from bad


def _size(spec: Mapping[str, Any], step: Qty) -> Qty | None:
    size = number(spec, "size", 0)
    if size is None:
        return None
    qty = Qty(_exact("size", size))
    if not qty or qty % step:
        raise ControlError(f"size {spec['size']!r} is not in whole steps of {plain(step)}")
    return qty


def _exact(name: str, value: Decimal) -> int:
    try:
        return nano(value)
    except ValueError as bad:
        raise ControlError(f"{name}: {bad}") from bad


def _bps(value: Bps) -> str:
    return plain(value * 1000)
