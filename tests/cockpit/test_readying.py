"""What keys open is there before they are pressed."""

from __future__ import annotations

import threading

import pytest

from cockpit import readying
from cockpit.readying import Readying
from tests.fresh_process import printed_by


def test_what_every_key_opens_is_imported_once_there_is_time_for_it() -> None:
    code = (
        "import sys, threading, time\n"
        "from cockpit.readying import Readying\n"
        "go = threading.Event()\n"
        "def there(): return {name for name in sys.modules if name.startswith('cockpit.screens.')}\n"
        "made = Readying(go.is_set)\n"
        "time.sleep(0.3)\n"
        "assert not there(), there()\n"
        "go.set()\n"
        "made._thread.join()\n"
        "print(*sorted(there()), *(name for name in ('torch',) if name in sys.modules))\n"
    )
    there = printed_by(code).split()
    assert {"cockpit.screens.help", "cockpit.screens.doctor", "cockpit.screens.settings"} <= set(there)
    assert "torch" not in there


@pytest.mark.parametrize("begun", [False, True])
def test_it_ends_when_the_screen_does(begun: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    at_work = threading.Event()

    def slow(module: str) -> None:
        asked.append(module)
        at_work.set()

    monkeypatch.setattr(readying, "import_module", slow)
    monkeypatch.setattr(readying, "PAUSE_SECONDS", 0.001 if begun else 1e6)
    monkeypatch.setattr(readying, "give_way", lambda: True)
    made = Readying(lambda: begun)
    if begun:
        assert at_work.wait(30)
    made.close()
    assert not made._thread.is_alive() and bool(asked) == begun


def test_a_module_that_cannot_be_imported_is_left_to_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def broken(module: str) -> None:
        asked.append(module)
        raise ImportError(module)

    monkeypatch.setattr(readying, "import_module", broken)
    monkeypatch.setattr(readying, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(readying, "give_way", lambda: True)
    Readying(lambda: True)._thread.join()
    assert len(asked) == len(set(asked)) > 15
