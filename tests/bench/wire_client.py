"""A load client that costs little: keep-alive HTTP/1.1 on bare protocols, orders signed ahead."""

import asyncio
import base64
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from coincurve import PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from exchanges.simulator.backpack_auth import string_to_sign
from exchanges.simulator.grvt_eip712 import Asset, order_digest
from exchanges.simulator.grvt_payload import Fields, order_plan

Json = dict[str, Any]
_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_API_ID_BASE = 1 << 63


class ConnectionBrokenError(Exception):
    """The server closed the connection instead of answering."""


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # Not an isinstance check: uvloop's transports are no subclass.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request that waits."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionBrokenError(str(exc)))

    def data_received(self, data: bytes) -> None:
        """Complete the answer once head and body are there."""
        self._buffer += data
        head, found, body = self._buffer.partition(_END)
        if not found or self._answer is None or self._answer.done():
            return
        size = _length(head)
        if len(body) < size:
            return
        self._buffer = body[size:]
        self._answer.set_result((int(head[9:12]), body[:size]))

    async def request(self, raw: bytes) -> tuple[int, bytes]:
        """Send a request; returns status and body. Raises ConnectionBrokenError."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionBrokenError("closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(raw)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


def _length(head: bytes) -> int:
    lower = head.lower()
    start = lower.find(_LENGTH)
    if start < 0:
        return 0
    return int(lower[start + len(_LENGTH) :].split(b"\r\n", 1)[0])


def http(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """Return the bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: sim", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + _END + body


@dataclass(frozen=True, slots=True)
class Signed:
    """A GRVT order, ready to send."""

    client_id: str
    body: bytes


def presigned(keys: Json, symbol: str, px: str, until: int, count: int) -> Iterator[Signed]:
    """Sign resting post-only bids ahead of time, each with an id and a nonce of its own.

    Args:
        keys: the ``grvt`` part of the ready line.
        symbol: what to trade.
        px: limit price.
        until: Unix ns of the expiry.
        count: how many.
    """
    key = PrivateKey(bytes.fromhex(keys["private_key"].removeprefix("0x")))
    for number in range(1, count + 1):
        client_id = str(_API_ID_BASE + number)
        order: Json = {
            "sub_account_id": keys["sub_account_id"],
            "is_market": False,
            "time_in_force": "GOOD_TILL_TIME",
            "post_only": True,
            "reduce_only": False,
            "legs": [
                {"instrument": symbol, "size": "0.1", "limit_price": px, "is_buying_asset": True}
            ],
            "metadata": {"client_order_id": client_id},
            "signature": {
                "signer": keys["signer"],
                "r": "0x" + 64 * "0",
                "s": "0x" + 64 * "0",
                "v": 27,
                "expiration": str(until),
                "nonce": number,
            },
        }
        asset = Asset(int(keys["instrument_hash"], 16), 9)
        digest = order_digest(order_plan(Fields(order)), asset, keys["chain_id"])
        raw = key.sign_recoverable(digest, hasher=None)
        order["signature"] |= {
            "r": f"0x{raw[:32].hex()}",
            "s": f"0x{raw[32:64].hex()}",
            "v": 27 + raw[64],
        }
        yield Signed(client_id, json.dumps({"order": order}).encode())


class BackpackSigner:
    """Signs Backpack requests as they are sent: ED25519 is cheap, and the stamp must be fresh."""

    def __init__(self, keys: Json) -> None:
        self._public = keys["public_key"]
        self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(keys["secret_key"]))
        self.client_ids = itertools.count(1)

    def headers(self, instruction: str, params: Json, now_ms: int) -> dict[str, str]:
        """Return the headers that authenticate a request."""
        text = string_to_sign(instruction, params, now_ms, 60_000)
        return {
            "X-API-Key": self._public,
            "X-Signature": base64.b64encode(self._key.sign(text.encode())).decode(),
            "X-Timestamp": str(now_ms),
            "X-Window": "60000",
            "Content-Type": "application/json; charset=utf-8",
        }
