"""systemd's notification protocol: one datagram per message to ``$NOTIFY_SOCKET``."""

import os
import socket
from collections.abc import Callable, Mapping

WATCHDOG_GAP = 2_000_000_000
"""ns between pings; the unit's WatchdogSec is 15 s."""


class Notifier:
    """Tells the service manager; does nothing when there is none. Never blocks, never raises."""

    def __init__(self, address: str | None, mono: Callable[[], int]) -> None:
        """Take the socket's address (``@`` names the abstract namespace) and a ns clock."""
        self._address = "\0" + address[1:] if address and address[0] == "@" else address
        self._mono = mono
        self._pinged: int | None = None
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Notifier":
        """Use ``$NOTIFY_SOCKET``."""
        from daemon.clock import SystemClock  # noqa: PLC0415 - the default clock of this one door

        values = os.environ if environ is None else environ
        return cls(values.get("NOTIFY_SOCKET") or None, SystemClock().mono)

    @property
    def managed(self) -> bool:
        """True when a service manager listens."""
        return self._socket is not None

    def ready(self) -> None:
        """Say that reconciliation is over and trading begins."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Show one line in ``systemctl status``."""
        self._send(f"STATUS={_line(text)}")

    def watchdog(self, text: str = "") -> None:
        """Ping after a completed decision, with a status line; sends at most every 2 s."""
        now = self._mono()
        if self._socket is None or (self._pinged is not None and now - self._pinged < WATCHDOG_GAP):
            return
        self._pinged = now
        self._send("WATCHDOG=1" + (f"\nSTATUS={_line(text)}" if text else ""))

    def stopping(self) -> None:
        """Say that an orderly stop has begun."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Release the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is None or self._address is None:
            return
        try:
            self._socket.sendto(message.encode(errors="replace"), self._address)
        except OSError:  # a manager that went away or is slow must not stop a hedge
            return


def _line(text: str) -> str:
    return " ".join(text.split())
