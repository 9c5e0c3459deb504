"""Credentials, venue time and signature validity (venues.md B2)."""

import base64
from dataclasses import dataclass, field

from exchanges.fields import MS
from exchanges.port import WallClock
from strategy.domain import Ns

API_URL = "https://api.backpack.exchange"
WS_URL = "wss://ws.backpack.exchange"
KEY_BYTES = 32
WINDOW_MS = 5_000
"""How long a read or cancel stays valid."""
MIN_WINDOW_MS = 1_000
MAX_WINDOW_MS = 60_000
"""The venue's own limit."""


@dataclass(frozen=True, slots=True)
class BackpackConfig:
    """Keys as the venue issues them (base64) and endpoint overrides, without a path.

    Raises:
        ValueError: a key is not base64 of 32 bytes, or an address has another scheme. The text
            never contains the secret.
    """

    public_key: str
    secret_key: str = field(repr=False)
    api_url: str | None = None
    ws_url: str | None = None

    def __post_init__(self) -> None:
        _key(self.public_key, "public")
        _key(self.secret_key, "secret")
        for url, schemes in ((self.api, ("https://", "http://")), (self.ws, ("wss://", "ws://"))):
            if not url.startswith(schemes):
                raise ValueError(f"backpack address {url!r} must start with {schemes[0]}")

    @property
    def api(self) -> str:
        """REST base address with the trailing slash that the SDK needs (venues.md B7)."""
        return (self.api_url or API_URL).rstrip("/") + "/"

    @property
    def ws(self) -> str:
        """Socket address."""
        return (self.ws_url or WS_URL).rstrip("/")


def _key(value: str, name: str) -> None:
    try:
        raw = base64.b64decode(value, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != KEY_BYTES:
        # Without "from": the cause would carry the key's text.
        raise ValueError(f"backpack {name} key is not base64 of {KEY_BYTES} bytes") from None


class VenueTime:
    """Our clock plus the measured difference to the venue's.

    A request signed with a clock that is off by more than its window is refused, so signatures use
    the venue's time while deadlines stay on ours.
    """

    def __init__(self, clock: WallClock) -> None:
        self._clock = clock
        self.offset = Ns(0)
        """Venue time minus ours when it was measured, ns; known to half a round trip."""
        self._at: tuple[Ns, Ns] | None = None
        """Our wall and monotonic time of the measurement."""

    def measured(self, venue: Ns, sent: Ns, received: Ns) -> None:
        """Learn the offset from one time answer; ``sent`` and ``received`` are our wall times."""
        self.offset = Ns(venue - (sent + received) // 2)
        self._at = self._clock.wall(), self._clock.mono()

    def present(self) -> Ns:
        """Return the offset now: a step of our wall clock since the measurement counts (F60)."""
        if self._at is None:
            return self.offset
        wall, mono = self._at
        return Ns(self.offset - (self._clock.wall() - wall) + (self._clock.mono() - mono))

    def now_ms(self) -> int:
        """Return the venue's present Unix time in ms."""
        return (self._clock.wall() + self.present()) // MS

    def earlier(self, ours: Ns) -> Ns:
        """Translate a "since" of ours so that it is not later than meant on either clock."""
        return Ns(max(0, min(ours, ours + self.present())))

    def validity(self, expires_at: Ns) -> tuple[int, int]:
        """Return timestamp and window (ms) with which the venue refuses us after ``expires_at``.

        ``expires_at`` is Unix ns of our clock. The window is kept within 1000..60000 ms; with less
        left than that the timestamp moves back instead, so the end stays where it must be.

        Raises:
            ValueError: ``expires_at`` has passed.
        """
        now = self._clock.wall()
        if expires_at <= now:
            raise ValueError("the order has expired before it was signed")
        offset = self.present()
        timestamp = (now + offset) // MS
        end = (expires_at + offset) // MS
        if end - timestamp < MIN_WINDOW_MS:
            return end - MIN_WINDOW_MS, MIN_WINDOW_MS
        return timestamp, min(end - timestamp, MAX_WINDOW_MS)
