"""The GRVT session: single-flight API-key login, UTC expiry, refresh at half of its life.

A 200 without the ``gravity`` cookie is a refused key (venues.md A2.1). Key and cookie are never
logged, and every cookie is handed to ``learned`` so that whoever logs can hide it (S14).
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from exchanges.errors import VenueError, VenueForbidden, VenueThrottled, VenueUnreachable
from exchanges.port import WallClock
from exchanges.transport.rest import NoAnswer, NotSent, Reply, RestClient
from strategy.domain import NANO, Ns

LOGIN_TIMEOUT = 5.0
DEFAULT_LIFE = Ns(24 * 3600 * NANO)
"""Assumed when the cookie states no expiry (venues.md A2.1)."""
MIN_LEFT = Ns(2 * NANO)
"""A cookie with less than this left is not used."""
RETRY_REFRESH = Ns(30 * NANO)
"""Wait after a failed refresh while the old cookie still serves."""
LOGIN_GAP = Ns(NANO)
"""The venue takes about one login a second (venues.md A4.4)."""
SERVER_ERROR = 500
TOO_MANY = 429

log = logging.getLogger("hedged.exchanges")


@dataclass(frozen=True, slots=True)
class Cookie:
    """The session cookie as it must be sent back, and its end, Unix ns."""

    value: str
    expires_at: Ns | None


class GrvtSession:
    """One login, shared by REST and the trading socket.

    Args:
        rest: the transport.
        edge: base address of the login host.
        api_key: never logged.
        clock: wall time for expiries, monotonic time for the gap between logins.
        learned: told every new cookie value.

    Attributes:
        logins: successful logins so far.
    """

    def __init__(
        self,
        rest: RestClient,
        edge: str,
        api_key: str,
        clock: WallClock,
        learned: Callable[[str], None],
    ) -> None:
        self._rest = rest
        self._url = f"{edge}/auth/api_key/login"
        self._api_key = api_key
        self._clock = clock
        self._learned = learned
        self._lock = asyncio.Lock()
        self._cookie = ""
        self._account = ""
        self._refresh_at = Ns(0)
        self._expires_at = Ns(0)
        self._failed: tuple[Ns, VenueError] | None = None
        self.logins = 0

    def __repr__(self) -> str:
        return f"GrvtSession(logins={self.logins})"

    @property
    def usable(self) -> bool:
        """True while the cookie has time left."""
        return bool(self._cookie) and self._clock.wall() < self._expires_at - MIN_LEFT

    def headers(self) -> dict[str, str]:
        """Return what authenticates a request; stale or empty before a login."""
        found = {"Cookie": f"gravity={self._cookie}"}
        if self._account:
            found["X-Grvt-Account-Id"] = self._account
        return found

    def expire(self, sent: Mapping[str, str]) -> None:
        """Forget the cookie that a refused request carried, unless it was replaced meanwhile."""
        if sent.get("Cookie") == f"gravity={self._cookie}":
            self._expires_at = Ns(0)

    async def ensure(self) -> None:
        """Log in when needed; refresh early, and live with a failed refresh while time is left.

        Raises:
            VenueForbidden: the key is refused. VenueUnreachable, VenueThrottled: try again.
        """
        if self.usable and (self._fresh or self._lock.locked()):
            return  # a refresh of somebody else is no reason to wait
        async with self._lock:  # single flight: the login limit is about one a second
            if self.usable and self._fresh:
                return
            try:
                await self._login()
            except VenueError as bad:
                self._failed = (self._clock.mono(), bad)
                if not self.usable:
                    raise
                self._refresh_at = Ns(self._clock.wall() + RETRY_REFRESH)
                log.warning("session refresh failed, the old session still serves: %s", bad)

    @property
    def _fresh(self) -> bool:
        return self._clock.wall() < self._refresh_at

    async def _login(self) -> None:
        if self._failed is not None and self._clock.mono() - self._failed[0] < LOGIN_GAP:
            failed = self._failed[1]
            raise type(failed)(str(failed), failed.code)
        body = json.dumps({"api_key": self._api_key}).encode()
        headers = {"Content-Type": "application/json", "Cookie": "rm=true;"}
        try:
            reply = await self._rest.request(
                "POST", self._url, headers=headers, body=body, timeout=LOGIN_TIMEOUT
            )
        except (NotSent, NoAnswer) as bad:
            raise VenueUnreachable(f"GRVT login: {bad}") from bad
        if reply.status == TOO_MANY:
            raise VenueThrottled("GRVT login: rate limit", "1006")
        if reply.status >= SERVER_ERROR:
            raise VenueUnreachable(f"GRVT login: http {reply.status}")
        self._take(reply)

    def _take(self, reply: Reply) -> None:
        cookie = gravity(reply.cookies)
        if cookie is None:
            raise VenueForbidden(
                f"GRVT refuses the API key (GRVT_API_KEY): http {reply.status} without a session",
                str(reply.status),
            )
        self._learned(cookie.value.strip('"'))
        now, expires = self._clock.wall(), cookie.expires_at
        self._expires_at = Ns(now + DEFAULT_LIFE) if expires is None else expires
        self._refresh_at = Ns(now + (self._expires_at - now) // 2)
        self._cookie = cookie.value
        self._account = reply.headers.get("x-grvt-account-id", "")
        self._failed = None
        self.logins += 1


def gravity(set_cookies: tuple[str, ...]) -> Cookie | None:
    """Find the session among ``Set-Cookie`` values; None when the venue gave none.

    Read by hand: the standard library drops the whole cookie for one attribute it does not know.
    """
    for header in set_cookies:
        pair, *attributes = (part.strip() for part in header.split(";"))
        name, _, value = pair.partition("=")
        if name != "gravity" or not value.strip('"'):
            continue
        stated = dict(_attribute(part) for part in attributes)
        return Cookie(value, _expiry(stated.get("expires", "")))
    return None


def _attribute(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip().lower(), value.strip()


def _expiry(value: str) -> Ns | None:
    """Read the Expires attribute as UTC: the SDK reads it in local time (venues.md A10, G4)."""
    if not value:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None:  # "-0000" or no zone, which `timestamp` would take as local
        moment = moment.replace(tzinfo=UTC)
    return Ns(int(moment.timestamp()) * NANO)
