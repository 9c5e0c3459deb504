"""Clients that misbehave on purpose: raw TCP, and WebSocket frames that no library would send."""

import base64
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

HOST = "127.0.0.1"
REPLY_SECONDS = 5.0
QUIET_SECONDS = 0.2
"""Silence after which a peer on loopback has nothing more to say."""
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
_MASK = b"\x00\x00\x00\x00"
"""A mask of zeros leaves the payload as it is."""


@contextmanager
def tcp(port: int, *, small_window: bool = False) -> Iterator[socket.socket]:
    """Connect; ``small_window`` makes the sender notice soon that nobody reads."""
    with socket.socket() as sock:
        if small_window:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(REPLY_SECONDS)
        sock.connect((HOST, port))
        yield sock


def exchange(port: int, raw: bytes) -> bytes:
    """Send bytes and return what comes back, which may be nothing."""
    with tcp(port) as sock:
        try:
            sock.sendall(raw)
        except ConnectionError:
            return b""  # it has hung up before it read everything
        return drained(sock)


def drained(sock: socket.socket) -> bytes:
    """Read until the peer ends the stream, resets it, or has nothing more to say."""
    parts: list[bytes] = []
    sock.settimeout(QUIET_SECONDS)
    while True:
        try:
            part = sock.recv(1 << 16)
        except (ConnectionError, TimeoutError):
            part = b""
        if not part:
            return b"".join(parts)
        parts.append(part)


def flood(sock: socket.socket, chunk: bytes, most: int, stall: float = 1.0) -> int:
    """Send a chunk again and again, never reading, until the peer takes no more.

    Returns:
        Bytes that the peer took; it may also have hung up.
    """
    sock.settimeout(stall)
    sent = 0
    while sent < most:
        try:
            sent += sock.send(chunk)
        except (TimeoutError, ConnectionError):
            break
    return sent


@contextmanager
def upgraded(port: int, path: str, *, small_window: bool = False) -> Iterator[socket.socket]:
    """Open a WebSocket by hand."""
    with tcp(port, small_window=small_window) as sock:
        key = base64.b64encode(os.urandom(16)).decode()
        sock.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            part = sock.recv(1)
            assert part, head
            head += part
        assert head.startswith(b"HTTP/1.1 101"), head
        yield sock


def frame(opcode: int, payload: bytes, *, fin: bool = True, masked: bool = True) -> bytes:
    """Return one frame; unmasked ones are forbidden to clients."""
    head = bytes([opcode | (0x80 if fin else 0)])
    bit, size = 0x80 if masked else 0, len(payload)
    if size < 126:
        head += bytes([bit | size])
    elif size < 1 << 16:
        head += bytes([bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", size)
    return head + (_MASK if masked else b"") + payload
