"""The virtual loop with connections in memory: what aiohttp needs of TCP, and what TCP suffers.

Bytes between two ends travel in order, some milliseconds late, split at borders that the seed
draws. A connection can be reset, or die without a word; an address can refuse, delay everything,
or hold it back until the hole is over, as the kernel's own retransmission would. No descriptor is
opened, no name is resolved outside and no thread is started.
"""

import asyncio
import contextvars
import random  # noqa: TID251 - a seeded instance makes the network
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from tests.simloop import SimLoop

T = TypeVar("T")
MS = 1_000_000
CLIENT = ("127.0.0.1", 40_000)
FIRST_PORT = 20_000
PIECES = 3
"""Most pieces in which one write arrives."""


@dataclass(slots=True)
class Weather:
    """What one address suffers now."""

    delay: tuple[int, int] = (1, 6)
    """One way, ms."""
    extra: int = 0
    """Added to it, ms."""
    refuse: bool = False
    """New connections are refused."""
    hole: bool = False
    """Nothing passes, and everything arrives once it is over."""
    answers_lost: int = 0
    """So many next writes of the server end their connection instead of arriving."""


@dataclass(slots=True)
class Counts:
    """What the network did."""

    connections: int = 0
    resets: int = 0
    silent: int = 0
    lost: int = 0
    refused: int = 0
    pieces: int = 0
    bytes: int = 0


class Address:
    """One listening port with its weather."""

    def __init__(self, port: int, rng: random.Random) -> None:
        self.port = port
        self.rng = rng
        self.weather = Weather()
        self.accept: Callable[[], asyncio.BaseProtocol] | None = None
        self.context = contextvars.copy_context()
        self.healed = asyncio.Event()

    def trip(self) -> int:
        """Return how long a piece is under way, ns."""
        low, high = self.weather.delay
        return self.rng.randint(low * 1000, high * 1000) * 1000 + self.weather.extra * MS

    def split(self, data: bytes) -> list[bytes]:
        """Cut a write at random borders."""
        count = min(self.rng.randint(1, PIECES), len(data))
        cuts = sorted(self.rng.sample(range(1, len(data)), count - 1)) if count > 1 else []
        return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


class MemoryTransport(asyncio.Transport):
    """One end of a connection.

    Attributes:
        peer: the other end.
        dead: nothing passes any more, in either direction, and nobody is told.
    """

    peer: "MemoryTransport"

    def __init__(
        self, loop: "WireLoop", address: Address, protocol: asyncio.BaseProtocol, *, server: bool
    ) -> None:
        ends = (("127.0.0.1", address.port), CLIENT)
        names = ("sockname", "peername") if server else ("peername", "sockname")
        super().__init__(dict(zip(names, ends, strict=True)))
        self._loop = loop
        self._address = address
        self._protocol = protocol
        self._context = contextvars.copy_context()
        self._coming: deque[bytes | None] = deque()
        """Pieces under way to this end; None is the end of the stream."""
        self._owed = 0
        """Pieces that have arrived and could not be handed over yet."""
        self._free_at = 0
        self._paused = self._closing = self._closed = False
        self._server = server
        self.dead = False

    # --- asyncio's interface -----------------------------------------------------------------

    def write(self, data: Any) -> None:
        """Send bytes to the other end."""
        if self._closing or self._closed or not data:
            return
        weather = self._address.weather
        if self._server and weather.answers_lost:
            weather.answers_lost -= 1
            self._loop.counts.lost += 1
            self.abort()
            return
        for piece in self._address.split(bytes(data)):
            self._loop.counts.pieces += 1
            self._loop.counts.bytes += len(piece)
            self._send(piece)

    def _send(self, piece: bytes | None) -> None:
        if self.dead:
            return
        due = max(self._loop.ns() + self._address.trip(), self._free_at)
        self._free_at = due
        self._loop.log(self._address.port, server=self._server, size=len(piece or b""))
        self.peer.coming(piece, due)

    def coming(self, piece: bytes | None, due: int) -> None:
        """Take a piece that the other end has sent: it arrives at ``due``."""
        self._coming.append(piece)
        self._loop.call_at(due / 1e9, self._arrived, context=self._context)

    def _arrived(self) -> None:
        self._owed += 1
        self.pump()

    def pump(self) -> None:
        """Hand over the next piece that has arrived, if it may be handed over."""
        if not self._owed or not self._coming or self._blocked():
            return
        self._owed -= 1
        piece = self._coming.popleft()
        protocol = cast("asyncio.Protocol", self._protocol)
        if piece is not None:
            protocol.data_received(piece)
        elif not protocol.eof_received():
            self.close()
        if self._owed:
            self.soon()  # one piece a round, as a selector reads: what it woke runs first

    def _blocked(self) -> bool:
        return self._paused or self._closed or self.dead or self._address.weather.hole

    def soon(self) -> None:
        """Pump in this end's own context."""
        self._loop.call_soon(self.pump, context=self._context)

    def close(self) -> None:
        """Finish sending, then end."""
        if not self._closing and not self._closed:
            self._closing = True
            self._send(None)
            self._end(None)

    def abort(self) -> None:
        """End at once: the other end hears of a reset, and what is under way is lost."""
        if self._closed:
            return
        self._closing = True
        if not self.dead:
            self.peer.reset(self._address.trip())
        self._end(ConnectionResetError(104, "reset"))

    def reset(self, delay: int) -> None:
        """Hear of a reset some ns later."""
        gone = ConnectionResetError(104, "reset by peer")
        self._loop.call_later(delay / 1e9, self._end, gone, context=self._context)

    def _end(self, why: Exception | None) -> None:
        """End in the next round but one: what the last piece woke still runs before.

        A selector loop keeps that order by itself; a shuffled one does not.
        """
        again = self._loop.call_soon
        again(lambda: again(self.lost, why, context=self._context), context=self._context)

    def lost(self, why: Exception | None) -> None:
        """End this end, once."""
        if self._closed:
            return
        self._closing = self._closed = True
        self._loop.open.pop(id(self), None)
        self._coming.clear()
        self._protocol.connection_lost(why)

    def is_closing(self) -> bool:
        """Return whether ``close`` was called."""
        return self._closing

    def pause_reading(self) -> None:
        """Hand nothing over until ``resume_reading``."""
        self._paused = True

    def resume_reading(self) -> None:
        """Hand over what waits."""
        self._paused = False
        self.soon()

    def is_reading(self) -> bool:
        """Return whether pieces are handed over."""
        return not self._paused and not self._closing

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand over to another protocol from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return whom pieces are handed to."""
        return self._protocol

    def get_write_buffer_size(self) -> int:
        """Return 0: what is written has left."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Never hold a writer up."""
        del high, low

    def can_write_eof(self) -> bool:
        """Return False: half-closed connections are not needed."""
        return False


@dataclass(frozen=True, slots=True)
class Name:
    """What a listening socket says of itself."""

    port: int

    def getsockname(self) -> tuple[str, int]:
        """Return host and port."""
        return "127.0.0.1", self.port


class MemoryServer(asyncio.AbstractServer):
    """A listener: an address that accepts."""

    def __init__(self, loop: "WireLoop", address: Address) -> None:
        self._loop = loop
        self._address = address
        self.sockets = [Name(address.port)]

    def close(self) -> None:
        """Accept nothing more."""
        self._address.accept = None
        self.sockets = []

    def is_serving(self) -> bool:
        """Return whether it accepts."""
        return self._address.accept is not None

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop it lives on."""
        return self._loop

    async def wait_closed(self) -> None:
        """Wait for nothing: connections are ended by their owners."""

    async def start_serving(self) -> None:
        """Accept already."""

    async def serve_forever(self) -> None:
        """Accept until cancelled."""
        await asyncio.Event().wait()


@dataclass(slots=True)
class Dialled:
    """What stands for a connected socket until its transport is made."""

    address: Address
    family: int = field(default=int(socket.AF_INET))

    def close(self) -> None:
        """Hang up: nobody has been told of it yet."""


class WireLoop(SimLoop):
    """A virtual loop with a network.

    Args:
        seed: of the shuffle and of the network.

    Attributes:
        addresses: by port.
        open: every end that has not ended, by identity.
        wire: (ns, port, from the server, size) of every piece sent.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._seed = seed
        self.addresses: dict[int, Address] = {}
        self.open: dict[int, MemoryTransport] = {}
        self.counts = Counts()
        self.wire: list[tuple[int, int, bool, int]] = []

    def address(self, port: int) -> Address:
        """Return a port's address."""
        known = self.addresses.get(port)
        if known is None:
            rng = random.Random(f"wire {port} {self._seed}")  # noqa: S311 - a network, no secret
            known = self.addresses[port] = Address(port, rng)
        return known

    def log(self, port: int, *, server: bool, size: int) -> None:
        """Note one piece."""
        self.wire.append((self.ns(), port, server, size))

    # --- what aiohttp asks for ---------------------------------------------------------------

    async def create_server(  # type: ignore[override]  # typeshed has two overloads
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        **options: Any,
    ) -> asyncio.AbstractServer:
        """Listen; port 0 takes the next free one."""
        del host, options
        address = self.address(port or FIRST_PORT + len(self.addresses))
        address.accept = protocol_factory
        address.context = contextvars.copy_context()
        return MemoryServer(self, address)

    async def create_connection(  # type: ignore[override]  # as far as aiohttp asks
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], *_: Any, sock: Any, **__: Any
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Make both ends of a dialled connection.

        Raises:
            ConnectionRefusedError: the listener has gone meanwhile.
        """
        address: Address = sock.address
        if address.accept is None:
            raise ConnectionRefusedError(111, "refused")
        accept, protocol = address.accept, protocol_factory()
        near = MemoryTransport(self, address, protocol, server=False)
        served = address.context.run(accept)
        far = address.context.run(lambda: MemoryTransport(self, address, served, server=True))
        near.peer, far.peer = far, near
        self.open |= {id(near): near, id(far): far}
        self.counts.connections += 1
        address.context.run(served.connection_made, far)
        protocol.connection_made(near)
        return near, protocol

    async def dial(self, port: int) -> Dialled:
        """Reach a port, as far as its weather lets us.

        Raises:
            ConnectionRefusedError: nobody listens, or it refuses.
        """
        address = self.address(port)
        while address.weather.hole:
            await address.healed.wait()
        await asyncio.sleep(2 * address.trip() / 1e9)
        if address.accept is None or address.weather.refuse:
            self.counts.refused += 1
            raise ConnectionRefusedError(111, "refused")
        return Dialled(address)

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> list[Any]:
        """Answer at once: everything is on this machine."""
        del host, options
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", int(port)))]

    def run_in_executor(  # type: ignore[override]  # inline: no thread
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Call at once, in the loop: a thread would not repeat."""
        del executor
        done: asyncio.Future[T] = self.create_future()
        done.set_result(func(*args))
        return done

    def add_signal_handler(  # type: ignore[override]  # typeshed: variadic generics
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        """Take no note: nobody sends signals here."""

    # --- what befalls it ---------------------------------------------------------------------

    def reset(self, port: int) -> int:
        """Reset every connection of a port; returns how many."""
        mine = [end for end in self.open.values() if end._server and end._address.port == port]
        for end in mine:
            end.abort()
        self.counts.resets += len(mine)
        return len(mine)

    def silence(self, port: int) -> int:
        """Let every connection of a port die without a word; new ones are well."""
        mine = [end for end in self.open.values() if end._address.port == port]
        for end in mine:
            end.dead = True
        self.counts.silent += len(mine) // 2
        return len(mine)

    def hole(self, port: int) -> Callable[[], None]:
        """Let nothing pass until the returned function is called."""
        address = self.address(port)
        address.weather.hole = True
        address.healed.clear()

        def heal() -> None:
            address.weather.hole = False
            address.healed.set()
            for end in list(self.open.values()):
                if end._address is address:
                    end.soon()

        return heal
