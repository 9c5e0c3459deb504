"""One HTTP session for life, explicit deadlines, and the difference that money depends on.

``NotSent``: the request certainly never left. ``NoAnswer``: it may have. Nothing is ever retried
here; aiohttp itself repeats idempotent verbs once on a dropped keep-alive connection, so a DELETE
(a Backpack cancel) may go out twice, which is harmless; creates are POST and go out once.
Imports nothing of ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

CONNECT_TIMEOUT = 3.0
"""Seconds to reach the venue before the request counts as never sent."""


class NotSent(Exception):  # noqa: N818 - says what happened
    """The connection could not be made: the venue has seen nothing."""


class NoAnswer(Exception):  # noqa: N818 - says what happened
    """Bytes may have left and nothing usable came back: the outcome is unknown."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete HTTP answer. Header names are lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    cookies: tuple[str, ...] = ()
    """Raw ``Set-Cookie`` values."""


class RestClient:
    """One keep-alive session; cookies are never stored, callers set every header."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Create the session in the running loop; a second call changes nothing."""
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                connector=aiohttp.TCPConnector(limit=32, keepalive_timeout=30),
                auto_decompress=True,
            )

    async def close(self) -> None:
        """Release every socket; safe to call twice."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        params: Mapping[str, str] | None = None,
        timeout: float,  # noqa: ASYNC109 - the deadline belongs to the request, not the caller
    ) -> Reply:
        """Send once.

        Raises:
            NotSent: no connection could be made.
            NoAnswer: timeout, reset, or a truncated answer.
        """
        session = self._session
        if session is None:
            raise NotSent("the session is closed")
        limits = aiohttp.ClientTimeout(total=timeout, sock_connect=min(CONNECT_TIMEOUT, timeout))
        try:
            async with session.request(
                method, url, headers=headers, data=body, params=params, timeout=limits,
                allow_redirects=False,
            ) as answer:  # fmt: skip
                return Reply(
                    status=answer.status,
                    body=await answer.read(),
                    headers={k.lower(): v for k, v in answer.headers.items()},
                    cookies=tuple(answer.headers.getall("Set-Cookie", ())),
                )
        except aiohttp.ConnectionTimeoutError as bad:
            raise NotSent(f"no connection within {CONNECT_TIMEOUT} s") from bad
        except aiohttp.ClientConnectorError as bad:
            raise NotSent(f"cannot connect: {bad.os_error}") from bad
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as bad:
            raise NotSent("the address is not a URL") from bad
        except TimeoutError as bad:
            raise NoAnswer(f"no answer within {timeout} s") from bad
        except (aiohttp.ClientError, OSError) as bad:
            raise NoAnswer(f"connection lost: {type(bad).__name__}") from bad
