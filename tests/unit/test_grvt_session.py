"""One login for all, in UTC, refreshed early, never in a log (venues.md A2)."""

import asyncio
import json
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from exchanges.errors import VenueError, VenueForbidden, VenueThrottled, VenueUnreachable
from exchanges.grvt.session import DEFAULT_LIFE, GrvtSession, gravity
from exchanges.transport.rest import NoAnswer, NotSent, Reply
from strategy.domain import NANO, Ns
from tests.unit.test_grvt_signer import API_KEY, Clock

START = 1_795_237_200 * NANO
"""Sat, 21 Nov 2026 05:00:00 UTC."""
EXPIRES = "Sat, 21 Nov 2026 07:00:00 GMT"
END = START + 2 * 3600 * NANO
CANARY = "canary-cookie-zz91"


def ok(value: str = CANARY, attributes: str = f"Path=/; Expires={EXPIRES}; HttpOnly") -> Reply:
    headers = {"x-grvt-account-id": "ACC:7"}
    body = b'{"status":"success"}'
    return Reply(200, body, headers, (f"gravity={value}; {attributes}",))


class Edge:
    """A login host that answers from a list, the last answer again and again."""

    def __init__(self, *answers: Reply | Exception) -> None:
        self.answers = list(answers)
        self.seen: list[tuple[str, str, dict[str, Any]]] = []

    async def request(self, method: str, url: str, **rest: Any) -> Reply:
        self.seen.append((method, url, rest))
        await asyncio.sleep(0.001)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def session(edge: Edge, clock: Clock, learned: list[str] | None = None) -> GrvtSession:
    told = [] if learned is None else learned
    return GrvtSession(edge, "http://edge", API_KEY, clock, told.append)  # type: ignore[arg-type] # a recorder stands in for the network


async def test_login_sends_the_key_and_keeps_cookie_and_account() -> None:
    edge, learned = Edge(ok()), list[str]()
    made = session(edge, Clock(START), learned)
    assert not made.usable
    await made.ensure()
    method, url, sent = edge.seen[0]
    assert (method, url) == ("POST", "http://edge/auth/api_key/login")
    assert json.loads(sent["body"]) == {"api_key": API_KEY}
    assert sent["headers"]["Content-Type"] == "application/json"
    assert sent["timeout"] == 5
    assert made.headers() == {"Cookie": f"gravity={CANARY}", "X-Grvt-Account-Id": "ACC:7"}
    assert learned == [CANARY]


async def test_G5_concurrent_callers_share_one_login() -> None:
    edge = Edge(ok())
    made = session(edge, Clock(START))
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(made.ensure())
    assert len(edge.seen) == made.logins == 1


@pytest.fixture(params=["America/New_York", "Asia/Tokyo", "UTC"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


async def test_G4_expiry_is_utc_whatever_the_machines_zone(zone: str) -> None:
    assert time.tzname[0] in {"America/New_York": "EST", "Asia/Tokyo": "JST", "UTC": "UTC"}[zone]
    clock = Clock(START)
    made = session(Edge(ok()), clock)
    await made.ensure()
    clock.now = END - 3 * NANO
    assert made.usable
    clock.now = END - 1 * NANO
    assert not made.usable


async def test_F08_session_is_refreshed_at_half_of_its_life() -> None:
    edge, clock = Edge(ok("first"), ok("second")), Clock(START)
    made = session(edge, clock)
    await made.ensure()
    clock.now = START + 3600 * NANO - 1
    await made.ensure()
    assert made.logins == 1
    clock.now = START + 3600 * NANO
    await made.ensure()
    assert made.logins == 2
    assert made.headers()["Cookie"] == "gravity=second"


async def test_F08_failed_refresh_is_lived_with_while_the_session_serves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    edge, clock = Edge(ok("first"), NoAnswer("slow"), ok("second")), Clock(START)
    made = session(edge, clock)
    await made.ensure()
    clock.now = START + 3700 * NANO
    with caplog.at_level(logging.WARNING, "hedged.exchanges"):
        await made.ensure()
        await made.ensure()
    assert len(edge.seen) == 2
    assert len(caplog.records) == 1
    assert API_KEY not in caplog.text
    clock.now += 31 * NANO
    await made.ensure()
    assert made.headers()["Cookie"] == "gravity=second"


async def test_nobody_waits_for_the_refresh_of_somebody_else() -> None:
    class Slow(Edge):
        async def request(self, method: str, url: str, **rest: Any) -> Reply:
            if self.seen:
                await release.wait()
            return await super().request(method, url, **rest)

    release, clock = asyncio.Event(), Clock(START)
    made = session(Slow(ok()), clock)
    await made.ensure()
    clock.now = START + 3700 * NANO
    async with asyncio.timeout(2), asyncio.TaskGroup() as group:
        refresh = group.create_task(made.ensure())
        await asyncio.sleep(0)
        await made.ensure()
        assert not refresh.done()
        release.set()
    assert made.logins == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Reply(200, b'{"status":"failure"}', {}), VenueForbidden),
        (Reply(200, b"{}", {}, ("other=1", "gravity=; Path=/")), VenueForbidden),
        (Reply(403, b"", {}), VenueForbidden),
        (Reply(429, b"", {}), VenueThrottled),
        (Reply(502, b"<html>", {}), VenueUnreachable),
        (NotSent("refused"), VenueUnreachable),
        (NoAnswer("timeout"), VenueUnreachable),
    ],
)
async def test_A2_failed_login_says_what_to_do(
    answer: Reply | Exception, error: type[VenueError]
) -> None:
    made = session(Edge(answer), Clock(START))
    with pytest.raises(error) as caught:
        await made.ensure()
    assert API_KEY not in repr(caught.value)
    assert not made.usable
    assert made.logins == 0


async def test_failing_logins_are_not_repeated_within_a_second() -> None:
    edge, clock = Edge(Reply(502, b"", {}), ok()), Clock(START)
    made = session(edge, clock)
    for _ in range(5):
        with pytest.raises(VenueUnreachable):
            await made.ensure()
    assert len(edge.seen) == 1
    clock.now += NANO
    await made.ensure()
    assert made.usable


async def test_refused_session_is_forgotten_once() -> None:
    edge = Edge(ok("first"), ok("second"))
    made = session(edge, Clock(START))
    await made.ensure()
    stale = made.headers()
    made.expire(stale)
    assert not made.usable
    await made.ensure()
    made.expire(stale)
    assert made.usable


@pytest.mark.parametrize(
    ("headers", "value", "expires"),
    [
        (("gravity=a; Expires=" + EXPIRES,), "a", END),
        (("rm=1", "gravity=b; Partitioned; Priority=High; expires=" + EXPIRES), "b", END),
        (('gravity="c=="; Path=/',), '"c=="', None),
        (("gravity=d; Expires=never",), "d", None),
        (("gravity=e; Expires=Sat, 21 Nov 2026 07:00:00 -0000",), "e", END),
        (("gravity=f; Expires=Sat, 21 Nov 2026 16:00:00 +0900",), "f", END),
    ],
)
def test_cookie_is_found_among_unknown_attributes(
    headers: tuple[str, ...], value: str, expires: int | None
) -> None:
    cookie = gravity(headers)
    assert cookie is not None
    assert (cookie.value, cookie.expires_at) == (value, expires)


async def test_cookie_without_an_expiry_lives_a_day() -> None:
    clock = Clock(START)
    bare = Reply(200, b"{}", {}, ok(attributes="Path=/").cookies)
    made = session(Edge(bare), clock)
    await made.ensure()
    assert made.headers() == {"Cookie": f"gravity={CANARY}"}
    clock.now = Ns(START + DEFAULT_LIFE - 3 * NANO)
    assert made.usable
