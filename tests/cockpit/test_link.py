"""The link to a trainer in this process: what it hands on, and from when."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from played_runs import run_started

from cockpit.link import local
from cockpit.link.local import LocalLink
from cockpit.reducer import reduce_all
from cockpit.runs import Run
from cockpit.state import RunState
from gpt import events as ev
from gpt.config import Profile


def test_what_is_printed_before_the_meters_are_read_is_logged_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread may run late: what was printed between the link's making and its first look is not lost."""
    folder = Run.create(tmp_path, "printed", "sums")
    folder.console_path.write_text("of an earlier sitting\n")
    link = LocalLink(folder, Profile())
    monkeypatch.setattr(link, "_thread", threading.Thread(target=link._ended.set))
    with folder.console_path.open("a") as console:
        console.write("said early\n")
    link.start()
    link._meters.join()
    link.close()
    assert [event.text for event in link.drain() if isinstance(event, ev.LogLine)] == ["said early"]


def test_a_log_that_cannot_be_written_is_said_once_and_so_is_its_recovery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Run.create(tmp_path, "full", "sums")
    link = LocalLink(folder, Profile())
    for error in (None, "no space left on device", "no space left on device", None, None):
        monkeypatch.setattr(link._log, "error", error)
        link._watch_log()
    said = [(event.level, event.text) for event in link.drain() if isinstance(event, ev.LogLine)]
    assert [level for level, _ in said] == ["error", "info"]
    assert "no space left" in said[0][1]
    link.close()


def test_a_meter_that_fails_is_told_once_and_takes_nothing_else_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Run.create(tmp_path, "broken", "sums")
    link = LocalLink(folder, Profile())
    monkeypatch.setattr(local, "METER_SECONDS", 0.01)
    monkeypatch.setattr(link._telemetry, "sample", lambda screen: 1 / 0)
    turns: list[int] = []
    monkeypatch.setattr(link, "_watch_log", lambda: turns.append(1) or (len(turns) == 3 and link._ended.set()))
    monkeypatch.setattr(link, "_thread", threading.Thread())
    link.start()
    link._meters.join()
    link.close()
    said = [event for event in link.drain() if isinstance(event, ev.LogLine) and event.source != "console"]
    assert len(turns) >= 3
    assert [event.level for event in said] == ["warning"]
    assert "meters failed (ZeroDivisionError" in said[0].text


def test_the_doctor_looks_once_more_when_a_run_has_ended_and_only_at_this_sitting(tmp_path: Path) -> None:
    folder = Run.create(tmp_path, "amber-heron", "demo")
    settings = Profile(name="demo", expected_parameters="124M")
    link = LocalLink(folder, settings)
    ended = ev.StateChanged(state="finished")
    earlier, now = run_started(), run_started(step=100)
    link.conclude(reduce_all(RunState(), [earlier, ended]))
    link._emit(now)
    link.conclude(reduce_all(RunState(), [earlier, ended]))
    link.conclude(reduce_all(RunState(), [now, ev.StateChanged(state="running")]))
    assert link.drain() == [now]
    link.conclude(reduce_all(RunState(), [now, ended]))
    (made,) = link.drain()
    assert isinstance(made, ev.DiagnosisMade) and made.title == "2.68M parameters, not 124M"
    link.close()
    assert [event.rule for event in folder.read_events() if isinstance(event, ev.DiagnosisMade)] == ["model_size"]


def test_the_doctor_looks_by_himself_while_a_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Run.create(tmp_path, "amber-heron", "demo")
    link = LocalLink(folder, Profile(name="demo", expected_parameters="124M"))
    looked = threading.Event()
    begun = run_started()
    link._emit(begun)
    state = reduce_all(RunState(), [begun])
    link.known = lambda: state
    monkeypatch.setattr("cockpit.link.local.DOCTOR_SECONDS", 0.01)
    monkeypatch.setattr(link, "_thread", threading.Thread(target=looked.wait))
    emit = link._emit
    monkeypatch.setattr(
        link, "_emit", lambda event: (emit(event), isinstance(event, ev.DiagnosisMade) and looked.set())
    )
    link.start()
    assert looked.wait(30)
    link._ended.set()
    link.close()
