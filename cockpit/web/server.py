"""The web server in front of a program: its page, its terminal's line, and nobody in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import textual_serve
from aiohttp import WSMsgType, web

from cockpit.web.door import Door, is_called_by_loopback, is_own_page
from cockpit.web.page import SCRIPT, headers, page
from cockpit.web.program import Program

HEARTBEAT = 15.0
"""Seconds between two looks whether a browser is still there."""
LONGEST = 2**20
"""Bytes of one message of a browser at most; what is pasted comes in one."""
_TAKEN = (
    b"\x1b[2J\x1b[H\x1b[?25l\r\n  The screen is open in another tab of this browser.\r\n"
    b"  It comes here once that one is closed; the run goes on either way.\r\n"
)
_NO_ENTRY = "403: this is not the link that gpt-cockpit serve has printed, or it was used before\n"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Serves one program to one tab at a time.

    Args:
        title: of the page.
        listening: the socket that it listens on.
    """

    def __init__(self, program: Program, title: str, listening: socket.socket) -> None:
        self.door = Door()
        self._program, self._title, self._listening = program, title, listening
        self.port: int = listening.getsockname()[1]
        self._cookie = f"gpt-cockpit-{self.port}"  # browsers do not tell the ports of one machine apart
        self._seat = asyncio.Lock()
        self._tabs: set[web.WebSocketResponse] = set()

    async def run(self) -> int:
        """Serves until the program has ended; returns its exit code. SIGINT and SIGTERM go to the program."""

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guard(request, handler)

        app = web.Application(middlewares=[guard])
        app.add_routes([
            web.get("/", self._index, allow_head=False), web.get("/ws", self._line, allow_head=False),
            web.get("/page.js", self._script), web.static("/static", Path(textual_serve.__path__[0]) / "static"),
        ])  # fmt: skip
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        await web.SockSite(runner, self._listening).start()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._program.signal, number)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)  # our own terminal is gone: the run and the page stay
        try:
            return await self._program.follow()
        finally:
            for tab in [*self._tabs]:
                with contextlib.suppress(ConnectionError):
                    await tab.close()
            await runner.cleanup()

    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answers nobody who has neither the token nor the cookie."""
        host = request.headers.get("Host", "")
        if not is_called_by_loopback(host):
            return web.Response(status=403, text=_NO_ENTRY)
        has_key = self.door.admits(request.cookies.get(self._cookie))
        token = request.query.get("token") if request.path == "/" else None
        if token is not None and (key := self.door.exchange(token)):
            answer: web.StreamResponse = web.HTTPSeeOther("/")  # so that the token stays in no history
            answer.set_cookie(self._cookie, key, httponly=True, samesite="Strict", path="/")
        elif not has_key:
            answer = web.Response(status=403, text=_NO_ENTRY)
        elif token is not None:
            answer = web.HTTPSeeOther("/")
        else:
            answer = await handler(request)
        if not answer.prepared:
            answer.headers.update(headers(host))
        return answer

    async def _index(self, request: web.Request) -> web.Response:
        return web.Response(text=page(self._title, request.host), content_type="text/html")

    async def _script(self, request: web.Request) -> web.Response:
        return web.Response(text=SCRIPT, content_type="text/javascript")

    async def _line(self, request: web.Request) -> web.StreamResponse:
        """The line between a tab's terminal and the program's, for the first tab; the next one waits for its end."""
        if not is_own_page(request.headers.get("Origin"), request.host):
            return web.Response(status=403, text=_NO_ENTRY)
        tab = web.WebSocketResponse(heartbeat=HEARTBEAT, max_msg_size=LONGEST)
        await tab.prepare(request)
        self._tabs.add(tab)
        size = [_number(request.query.get("width")), _number(request.query.get("height"))]
        seated = asyncio.Event()
        heard = asyncio.create_task(self._hear(tab, size, seated))
        try:
            if self._seat.locked():
                await tab.send_bytes(_TAKEN)
            waiting = asyncio.create_task(self._seat.acquire())
            await asyncio.wait({heard, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                waiting.cancel()
                return tab
            try:
                seated.set()
                self._fit(size)
                await self._program.attach(tab.send_bytes)
                await heard
            finally:
                self._program.detach()
                self._seat.release()
        except ConnectionError:
            pass
        finally:
            heard.cancel()
            self._tabs.discard(tab)
        return tab

    async def _hear(self, tab: web.WebSocketResponse, size: list[int | None], seated: asyncio.Event) -> None:
        """Does what a tab asks for, in textual-serve's protocol; keys only from the one that shows the screen."""
        async for message in tab:
            if message.type != WSMsgType.TEXT:
                continue
            match _decoded(message.data):
                case ["stdin", str(keys)] if seated.is_set():
                    await self._program.type(keys.encode(errors="replace"))
                case ["resize", {"width": int(width), "height": int(height)}]:
                    size[:] = width, height
                    if seated.is_set():
                        self._fit(size)
                case ["ping", sent]:
                    await tab.send_json(["pong", sent])

    def _fit(self, size: list[int | None]) -> None:
        width, height = size
        if width and height:
            self._program.resize(width, height)


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def listen(host: str, port: int) -> socket.socket:
    """The socket to listen on. Raises OSError where the port is taken or not ours to take."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def serve(arguments: list[str], title: str, listening: socket.socket) -> int:
    """Serves the program with some arguments until it ends; returns its exit code."""
    program = Program(arguments)

    async def run() -> int:
        server = Server(program, title, listening)
        host = listening.getsockname()[0]
        place = f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}"
        sys.stdout.write(
            f"open, once: http://{place}/?token={server.door.token}\n"
            f"from another machine first: ssh -L {server.port}:{place} THIS-MACHINE\n"
            "a closed tab changes nothing: the run goes on, and the page shows it again; ctrl+c saves and stops it\n"
        )
        sys.stdout.flush()
        return await server.run()

    try:
        code = asyncio.run(run())
    finally:
        program.close()
    if words := program.last_words:
        with contextlib.suppress(OSError):
            sys.stdout.write(f"{words}\n")
    return code
