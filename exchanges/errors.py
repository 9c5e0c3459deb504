"""Venue errors, named by what the caller must do.

* VenueError
  x VenueUnreachable   wait and try again
  x VenueForbidden     a human must fix credentials or permissions
  x VenueThrottled     back off, then try again
  x VenueMalformed     do not act on this answer; treat the value as unknown
  x VenueRefused       the request itself is wrong; do not repeat it
  x UnknownTicker      the venue lists no such instrument
"""


class VenueError(Exception):
    """Base of everything a venue read can raise; ``code`` is the venue's own."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class VenueUnreachable(VenueError):  # noqa: N818 - named by what happened, not "...Error"
    """No answer, or one that only says the venue is down."""


class VenueForbidden(VenueError):  # noqa: N818
    """Credentials, permissions or address refused."""


class VenueThrottled(VenueError):  # noqa: N818
    """Rate limit."""


class VenueMalformed(VenueError):  # noqa: N818
    """An answer whose shape, type or value we do not know."""


class VenueRefused(VenueError):  # noqa: N818
    """The venue understood the request and refuses it."""


class UnknownTicker(VenueError):  # noqa: N818
    """No perpetual with that base symbol."""
