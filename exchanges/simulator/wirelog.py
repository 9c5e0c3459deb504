"""The log of the simulator's HTTP servers: faults of ours, not of whoever connects.

aiohttp logs a traceback for every request that is no HTTP and for every client that hangs up
mid-request. On a port that anybody may prod, those would fill the operator's log; they are the
client's business and are answered on the wire.
"""

import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

_THEIRS = (HttpProcessingError, web.RequestPayloadError, ConnectionError)


class _OursOnly(logging.Filter):
    """Passes what no client can cause."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, _THEIRS)


WIRE_LOG = logging.getLogger("aiohttp.server.simulator")
"""Logger of every ``web.AppRunner`` here."""
WIRE_LOG.addFilter(_OursOnly())
