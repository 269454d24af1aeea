"""The driver where a signal meets a screen that is being left."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver

from cockpit.driver import TerminalDriver


@pytest.fixture
def did(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was done to the terminal, which is none."""
    done: list[str] = []
    for name in ("start_application_mode", "stop_application_mode", "close"):
        monkeypatch.setattr(LinuxDriver, name, lambda self, name=name: done.append(name.partition("_")[0]))
    monkeypatch.setattr(os, "kill", lambda pid, number: done.append(signal.Signals(number).name))
    before = {number: signal.getsignal(number) for number in (signal.SIGTSTP, signal.SIGCONT)}
    yield done
    for number, handler in before.items():
        signal.signal(number, handler)


async def test_what_was_stopped_comes_back(did: list[str]) -> None:
    driver = TerminalDriver(App())
    driver.start_application_mode()
    driver._sigtstp_application()
    await asyncio.sleep(0)
    driver._sigcont_application()
    await asyncio.sleep(0)
    assert did == ["start", "stop", "close", "SIGSTOP", "start"] and driver._must_signal_resume


async def test_a_screen_that_is_left_before_it_could_come_back_stays_left(did: list[str]) -> None:
    driver = TerminalDriver(App())
    driver.start_application_mode()
    driver._stand_still()
    driver._sigcont_application()
    driver.stop_application_mode()  # the end of the screen was under way already
    await asyncio.sleep(0)
    assert did == ["start", "stop", "close", "SIGSTOP", "stop"]


async def test_a_continue_signal_waits_until_the_screen_has_done_what_it_is_doing(did: list[str]) -> None:
    driver = TerminalDriver(App())
    driver.start_application_mode()
    driver._sigcont_application()
    assert did == ["start"]
    await asyncio.sleep(0)
    assert did == ["start", "stop", "close", "start"]
