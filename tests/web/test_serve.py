"""The served program without a browser: what each request is answered, who gets the line, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import aiohttp
import pyte
import pytest
from aiohttp import ClientSession, WSMsgType
from served_run import PATIENCE, Served
from yarl import URL

from cockpit import cli
from cockpit.web import server
from tests.terminal.harness import PROFILE


class Tab:
    """A browser's terminal: what it is sent, drawn."""

    def __init__(self, line: aiohttp.ClientWebSocketResponse) -> None:
        self.line = line
        self._screen = pyte.Screen(100, 30)
        self._stream = pyte.ByteStream(self._screen)

    async def wait_for(self, *wanted: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while not all(text in "\n".join(self._screen.display) for text in wanted):
                message = await self.line.receive()
                assert message.type == WSMsgType.BINARY, (message, self._screen.display)
                self._stream.feed(message.data)

    async def press(self, keys: str) -> None:
        await self.line.send_json(["stdin", keys])


async def open_tab(session: ClientSession, served: Served, **changes: str) -> Tab:
    headers = {"Origin": f"http://{served.host}"} | changes
    line = await session.ws_connect(f"ws://{served.host}/ws?width=100&height=30", headers=headers)
    return Tab(line)


async def status(session: ClientSession, served: Served, path: str, **headers: str) -> int:
    async with session.get(URL(f"http://{served.host}{path}"), headers=headers, allow_redirects=False) as answer:
        return answer.status


async def test_who_has_no_key_is_answered_403_and_a_second_tab_waits_for_the_first(served: Served) -> None:
    async with ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        for path in ("/", "/?token=wrong", "/?token=", "/static/js/textual.js", "/ws", "/elsewhere"):
            assert await status(session, served, path) == 403, path
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await open_tab(session, served)
        assert await status(session, served, f"/?token={served.token}", Host="evil.example") == 403

        async with session.get(f"http://{served.host}/?token={served.token}") as answer:
            assert answer.status == 200 and answer.url.query_string == ""
            page = await answer.text()
            given = answer.history[0].headers["Set-Cookie"]
            policy = answer.headers["Content-Security-Policy"]
        assert "HttpOnly" in given and "SameSite=Strict" in given
        assert "default-src 'none'" in policy
        assert "https:" not in page and f"ws://{served.host}/ws" in page
        assert await status(session, served, "/") == 200
        assert await status(session, served, "/static/js/textual.js") == 200
        async with ClientSession() as stranger:
            assert await status(stranger, served, f"/?token={served.token}") == 403  # it was used
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await open_tab(session, served, Origin="http://evil.example")

        first = await open_tab(session, served)
        await first.wait_for("sums", "RUNNING")
        second = await open_tab(session, served)
        await second.wait_for("open in another tab")
        await second.press(" ")  # reaches nobody
        await first.press("c")
        at = served.wait_logged('"CheckpointSaved"')
        assert served.log.read_bytes().count(b'"RunStarted"') == 1
        assert b'"Paused"' not in served.log.read_bytes()
        await first.line.close()
        await second.wait_for("sums", "RUNNING", "ms/iter")
        served.wait_logged('"StepDone"', at)  # a closed tab stops nothing
        await second.line.close()
        served.wait_logged('"StepDone"', served.log.stat().st_size)

        third = await open_tab(session, served)
        await third.wait_for("RUNNING")
        served.process.send_signal(signal.SIGINT)
        with contextlib.suppress(AssertionError):
            await third.wait_for("never")
        assert await asyncio.to_thread(served.process.wait, PATIENCE) == 130
    assert served.process.stdout and "--resume" in served.process.stdout.read()
    log = served.log.read_text()
    assert '"reason":"stop"' in log and '"Finished"' in log


def test_other_data_and_a_fork_reach_the_program_behind_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sums.toml").write_text(PROFILE)
    folder = tmp_path / "tokens"
    folder.mkdir()
    for split in ("train", "val"):
        (folder / f"{split}.bin").write_bytes(bytes(2000))
    told: list[list[str]] = []
    monkeypatch.setattr(server, "serve", lambda words, title, listening: told.append(words) or 0)
    with pytest.raises(SystemExit) as left:
        cli.main(("serve", "sums.toml", "--port", "0", "--data", str(folder), "--fork", "other@4", "--run", "mine"))
    assert left.value.code == 0
    (words,) = told
    assert words[words.index("--fork") + 1] == "other@4" and words[words.index("--run") + 1] == "mine"
    assert words[words.index("--set") + 1] == f'data.dir="{folder}"' and "--data" not in words
