"""The page in a real browser without a window, where Chromium is installed."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pyte
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse
from PIL import Image
from served_run import PATIENCE, Served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--remote-debugging-port=0", "--window-size=1100,700",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing may come from the internet
)  # fmt: skip
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


class Browser:
    """A tab of it, led over the DevTools protocol; keeps what happens."""

    def __init__(self, line: ClientWebSocketResponse) -> None:
        self._line, self._numbers = line, itertools.count(1)
        self.seen: list[dict[str, Any]] = []
        self.screen = pyte.Screen(200, 60)
        self._stream = pyte.ByteStream(self.screen)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._line.send_json({"id": number, "method": method, "params": parameters})
        while (message := await self._next()).get("id") != number:
            pass
        return message["result"]

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds():
                await self._next()

    async def _next(self) -> dict[str, Any]:
        message = await self._line.receive_json(timeout=PATIENCE)
        if message.get("method") == "Network.webSocketFrameReceived" and message["params"]["response"]["opcode"] == 2:
            self._stream.feed(base64.b64decode(message["params"]["response"]["payloadData"]))
        self.seen.append(message)
        return message

    def happened(self, method: str) -> list[dict[str, Any]]:
        return [message["params"] for message in self.seen if message.get("method") == method]

    def statuses(self) -> list[int]:
        return [event["response"]["status"] for event in self.happened("Network.responseReceived")]


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Browser]:
    assert CHROMIUM
    process = subprocess.Popen(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"], stderr=subprocess.DEVNULL,
        env=os.environ | {"HOME": str(folder)},
    )  # fmt: skip
    try:
        port_file = folder / "DevToolsActivePort"
        async with asyncio.timeout(PATIENCE), ClientSession() as session:
            while not (port_file.exists() and port_file.read_text().count("\n")):
                await asyncio.sleep(0.05)
            port = port_file.read_text().split()[0]
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                target = next(each for each in await answer.json() if each["type"] == "page")
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as line:
                tab = Browser(line)
                for domain in ("Network", "Page", "Runtime", "Log"):
                    await tab.call(f"{domain}.enable")
                yield tab
    finally:
        process.terminate()
        process.wait(10)


async def test_the_page_shows_the_screen_and_takes_keys_with_nothing_from_the_internet(
    served: Served, tmp_path: Path
) -> None:
    async with browser(tmp_path / "chromium") as tab:
        await tab.call("Page.navigate", url=f"http://{served.host}/")
        await tab.wait_until(lambda: bool(tab.statuses()))
        assert tab.statuses() == [403]
        tab.seen.clear()

        await tab.call("Page.navigate", url=f"http://{served.host}/?token={served.token}")
        await tab.wait_until(lambda: all(t in "\n".join(tab.screen.display) for t in ("sums", "RUNNING", "ms/iter")))
        shown = await tab.call("Runtime.evaluate", expression="location.href + ' ' + document.cookie")
        assert shown["result"]["value"].strip() == f"http://{served.host}/"  # no token, and no cookie for scripts
        assert all(request["request"]["url"].startswith((f"http://{served.host}/", "data:"))
                   for request in tab.happened("Network.requestWillBeSent"))  # fmt: skip
        assert not tab.happened("Network.loadingFailed") and not tab.happened("Runtime.exceptionThrown")
        errors = [e["entry"]["text"] for e in tab.happened("Log.entryAdded") if e["entry"]["level"] == "error"]
        assert all("403" in text for text in errors), errors  # of the first page, told late

        for kind, text in (("keyDown", " "), ("keyUp", "")):
            await tab.call("Input.dispatchKeyEvent", type=kind, key=" ", code="Space", text=text)
        await tab.wait_until(lambda: "PAUSED" in "\n".join(tab.screen.display))
        served.wait_logged('"Paused"')

        picture = Image.open(io.BytesIO(base64.b64decode((await tab.call("Page.captureScreenshot"))["data"])))
        colours = picture.convert("RGB").getcolors(maxcolors=2**20)
        assert colours and len(colours) > 50  # letters, curves: not a blank page
        if keep := os.environ.get("KEEP_PICTURE"):
            picture.save(keep)
