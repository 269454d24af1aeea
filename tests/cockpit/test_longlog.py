"""A long log is read by another process: with the same result, whatever becomes of that process."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from test_stretch import as_plain, random_log

from cockpit import longlog
from cockpit.runs import Run
from cockpit.state import RunState, reduce_all
from gpt import events as ev


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with a log of 5,000 entries and a line that is no event."""
    lines = [ev.encode(event) for event in random_log(random.Random(3), 5000)]
    lines.insert(2000, b"not an event\n")
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines) + b'{"event":"StepD')
    return Run(tmp_path)


def other(*command: str) -> Callable[..., subprocess.Popen[bytes]]:
    return lambda path, start, end: subprocess.Popen(command, stdout=subprocess.PIPE)


def test_another_process_reads_what_this_one_would(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    here = as_plain(reduce_all(RunState(), run.read_stretches()))
    assert run.skipped_lines == 1
    monkeypatch.setattr(longlog, "LONG", 1)
    monkeypatch.setattr("cockpit.stretch._decoded", lambda *_: pytest.fail("read here"))
    assert as_plain(reduce_all(RunState(), run.read_stretches())) == here
    assert run.skipped_lines == 1


@pytest.mark.parametrize("frames", [0, 1, 7])
def test_where_the_other_process_dies_the_rest_is_read_here(
    run: Run, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = as_plain(reduce_all(RunState(), run.read_stretches()))
    size = run.size_of_log()
    said = subprocess.run(
        [sys.executable, "-m", "cockpit.longlog", str(run.events_path), "0", str(size)], capture_output=True,
        cwd=longlog._ROOT, check=True,
    ).stdout  # fmt: skip
    end = 0
    for _ in range(frames):
        end += 4 + int.from_bytes(said[end : end + 4], "little")
    (run.path / "cut").write_bytes(said[: end + 9])
    monkeypatch.setattr(longlog, "LONG", 1)
    monkeypatch.setattr(longlog, "_reader", other("cat", str(run.path / "cut")))
    assert as_plain(reduce_all(RunState(), run.read_stretches())) == here
    assert run.skipped_lines == 1


def test_a_reader_that_is_given_up_ends(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[subprocess.Popen[bytes]] = []

    def endless(*_: object) -> subprocess.Popen[bytes]:
        made.append(longlog_reader(run.events_path, 0, run.size_of_log()))
        return made[0]

    longlog_reader = longlog._reader
    monkeypatch.setattr(longlog, "LONG", 1)
    monkeypatch.setattr(longlog, "_reader", endless)
    events = run.read_stretches()
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert made[0].poll() is not None
