"""Requests on GRVT's sockets: JSON-RPC with full or short names, and the old envelope of ``/ws``.

Subscriptions, and every trading method of the REST interface (venues.md A6.1, A6.4).
"""

from typing import Any

import orjson
from aiohttp import web

from exchanges.simulator import grvt_lite as lite
from exchanges.simulator.grvt_auth import ACCOUNT_QUERY, Session
from exchanges.simulator.grvt_channels import Joined
from exchanges.simulator.grvt_desk import Desk
from exchanges.simulator.grvt_gate import Methods
from exchanges.simulator.grvt_payload import Fields, decode
from exchanges.simulator.grvt_socket import Socket
from exchanges.simulator.grvt_streams import Streams
from exchanges.simulator.grvt_topics import Kind, Topic, parse_topic, stream_kind
from exchanges.simulator.grvt_words import (
    MAX_U32,
    ApiError,
    Dropped,
    Json,
    Mangled,
    malformed,
)

_VERSIONS = ("v1/", "v2/")
_MAX_SELECTORS = 1000


class Rpc:
    """Answers what arrives on sockets.

    Args:
        desk: shared state.
        methods: the RPC methods, shared with REST.
        streams: the channels.
    """

    def __init__(self, desk: Desk, methods: Methods, streams: Streams) -> None:
        self._desk = desk
        self._methods = methods
        self._streams = streams
        self._topics: dict[Socket, dict[tuple[str, str], Topic]] = {}
        """Per socket, by stream and primary selector: a new secondary replaces the old one."""

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of this part."""
        return [web.get(path, self._connect) for path in ("/ws/full", "/ws/lite", "/ws")]

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise ApiError(1004)
        socket = Socket(
            self._desk.options,
            request.transport,
            self._session(request),
            self._desk.clock,
            lite=request.path == "/ws/lite",
            legacy=request.path == "/ws",
        )
        topics: dict[tuple[str, str], Topic] = {}
        self._topics[socket] = topics
        self._streams.sockets[socket] = None
        try:
            return await socket.serve(request, self._handle)
        finally:
            self._streams.sockets.pop(socket, None)
            for topic in topics.values():
                self._streams.leave(socket, topic)
            del self._topics[socket]

    def _session(self, request: web.Request) -> Session | None:
        """Return the login of a handshake; without one only market data is served."""
        named = request.query.get(ACCOUNT_QUERY)
        try:
            return self._desk.sessions.authenticate(request.headers, self._desk.clock(), named)
        except ApiError:
            return None

    # --- one request -------------------------------------------------------------------------

    async def _handle(self, socket: Socket, raw: bytes) -> None:
        if self._desk.refuses():
            socket.drop()
            return
        if self._stale(socket):
            await socket.close(expired=True)
            return
        try:
            message = decode(raw)
        except ApiError as error:
            socket.offer(_text(_unreadable(socket, error)))
            return
        if socket.legacy:
            self._legacy(socket, message)
        else:
            await self._modern(
                socket, lite.to_full(message, "RpcRequest") if socket.lite else message
            )

    def _number(self, number: Any, method: Any) -> Any:
        """Return the id of an answer: another request's under F18, if it is about trading."""
        trading = isinstance(method, str) and method.startswith(_VERSIONS)
        if not trading or not isinstance(number, int) or self._desk.fault("F18") is None:
            return number
        return (number + 1) % (MAX_U32 + 1)

    def _stale(self, socket: Socket) -> bool:
        """True when the socket is to die with its cookie (venues.md D2)."""
        session = socket.session
        dies = self._desk.options.socket_dies_with_cookie and session is not None
        return dies and session is not None and session.expires_at <= self._desk.clock()

    async def _modern(self, socket: Socket, message: Json) -> None:
        reply: Json = {"jsonrpc": "2.0"}
        number, method = message.get("id"), message.get("method")
        greetings: list[Topic] = []
        tail = method.rpartition("/")[2] if isinstance(method, str) else ""
        try:
            reply["result"], greetings = self._run(socket, *_checked(message))
        except ApiError as error:
            reply["error"] = {"code": error.code, "message": error.message}
        except Dropped:
            socket.drop()
            return
        except Mangled as mangled:
            socket.offer(mangled.text)
            return
        if number is not None:
            reply["id"] = self._number(number, method)
        reply["method"] = method
        await self._desk.late_answer(tail)
        socket.offer(_text(lite.to_lite(reply, "RpcReply") if socket.lite else reply))
        for topic in greetings:
            self._streams.greet(socket, topic)

    def _run(self, socket: Socket, method: str, params: Json) -> tuple[Json, list[Topic]]:
        """Return the result of a method, and the subscriptions to greet after the reply."""
        for version in _VERSIONS:
            if method.startswith(version):
                return self._trade(socket, method.removeprefix(version), params), []
        if method == "subscribe":
            row = Fields(lite.to_full(params, "Subscribe") if socket.lite else params)
            wide = row.flag("use_global_sequence_number")
            stream, wanted = row.required("stream"), _selectors(row, "selectors")
            found = self._subscribe(socket, stream, wanted, wide=wide)
            return _shown(socket, found[0], "Subscribed"), found[1]
        if method == "unsubscribe":
            row = Fields(lite.to_full(params, "Subscribe") if socket.lite else params)
            gone = self._unsubscribe(socket, row.required("stream"), _selectors(row, "selectors"))
            return _shown(socket, gone, "Unsubscribed"), []
        if method in ("unsubscribe_all", "list_streams"):
            held = self._held(socket)
            if method == "unsubscribe_all":
                for topic in self._topics[socket].values():
                    self._streams.leave(socket, topic)
                self._topics[socket].clear()
            return _shown(socket, held, "Streams"), []
        raise ApiError(1200)

    def _trade(self, socket: Socket, name: str, params: Json) -> Json:
        if not self._methods.knows(name):
            raise ApiError(1200)
        body = lite.request_to_full(name, params) if socket.lite else params
        answer = self._methods.call(name, body, lambda: _require_login(socket))
        return lite.reply_to_lite(name, answer) if socket.lite else answer

    def _legacy(self, socket: Socket, message: Json) -> None:
        """Answer in the old envelope; the fields of the result are not nested."""
        number = message.get("request_id")
        greetings: list[Topic] = []
        try:
            if not _request_number(number):
                raise malformed()
            row = Fields(message)
            stream, wanted = row.required("stream"), _selectors(row, "feed")
            if row.required("method") == "subscribe":
                reply, greetings = self._subscribe(socket, stream, wanted)
            elif row.required("method") == "unsubscribe":
                reply = self._unsubscribe(socket, stream, wanted)
            else:
                raise malformed()
        except ApiError as error:
            reply = error.body()
        if number is not None:
            reply = {"request_id": number, **reply}
        socket.offer(_text(reply))
        for topic in greetings:
            self._streams.greet(socket, topic)

    # --- subscriptions -----------------------------------------------------------------------

    def _subscribe(
        self, socket: Socket, stream: str, selectors: list[str], *, wide: bool = False
    ) -> tuple[Json, list[Topic]]:
        """Subscribe to all selectors or, if one is wrong, to none."""
        account = ""
        if stream_kind(stream) in (Kind.PRIVATE, Kind.SILENT):
            account = _require_login(socket).member.sub_account
        symbols = self._desk.engine.markets
        topics = [parse_topic(stream, each, symbols, account) for each in selectors]
        held, replaced = self._topics[socket], []
        joined: list[Joined] = []
        for topic in topics:
            old = held.pop((stream, topic.primary), None)
            if old is not None:
                self._streams.leave(socket, old)
                if old.selector != topic.selector:
                    replaced.append(old.selector)
            held[stream, topic.primary] = topic
            joined.append(self._streams.join(socket, topic, wide=wide))
        reply = {
            "stream": stream,
            "subs": selectors,
            "unsubs": replaced,
            "num_snapshots": [each.snapshots for each in joined],
            "first_sequence_number": [str(each.first) for each in joined],
            "latest_sequence_number": [str(each.latest) for each in joined],
        }
        return reply, list(dict.fromkeys(held[stream, topic.primary] for topic in topics))

    def _unsubscribe(self, socket: Socket, stream: str, selectors: list[str]) -> Json:
        stream_kind(stream)
        held, gone = self._topics[socket], []
        for selector in selectors:
            for key, topic in list(held.items()):
                if key[0] == stream and topic.selector == selector:
                    self._streams.leave(socket, topic)
                    del held[key]
                    gone.append(selector)
        return {"stream": stream, "unsubs": gone}

    def _held(self, socket: Socket) -> Json:
        by_stream: dict[str, list[str]] = {}
        for topic in self._topics[socket].values():
            by_stream.setdefault(topic.stream, []).append(topic.selector)
        rows = [{"stream": name, "selectors": found} for name, found in by_stream.items()]
        return {"stream_reference": rows}


def _unreadable(socket: Socket, error: ApiError) -> Json:
    """Return the answer to a frame that is not JSON, as captured: no id is known, so 0 is said."""
    if socket.legacy:
        return error.body()
    said = {"code": error.code, "message": error.message}
    reply: Json = {"jsonrpc": "2.0", "error": said, "id": 0, "method": ""}
    shown: Json = lite.to_lite(reply, "RpcReply") if socket.lite else reply
    return shown


def _checked(message: Json) -> tuple[str, Json]:
    """Return method and parameters of a JSON-RPC request; raises ApiError 1003."""
    method, params = message.get("method"), message.get("params")
    if not isinstance(method, str) or not _request_number(message.get("id")):
        raise malformed()
    if params is not None and not isinstance(params, dict):
        raise malformed()
    return method, {} if params is None else params


def _require_login(socket: Socket) -> Session:
    if socket.session is None:
        raise ApiError(1000)
    return socket.session


def _selectors(row: Fields, key: str) -> list[str]:
    found = row.texts(key)
    if not found or len(found) > _MAX_SELECTORS:
        raise malformed()
    return found


def _request_number(value: Any) -> bool:
    """True for an absent id or a uint32."""
    if value is None:
        return True
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_U32


def _shown(socket: Socket, value: Json, struct: str) -> Json:
    found: Json = lite.to_lite(value, struct) if socket.lite else value
    return found


def _text(value: Json) -> str:
    return orjson.dumps(value).decode()
