"""The event log: whole lines, repaired after a crash, and a full disk that stops nothing."""

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cockpit import eventlog
from cockpit.eventlog import EventLog
from gpt import events as ev


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    log = EventLog(tmp_path / "events.jsonl")
    yield log
    log.close()


def steps(path: Path) -> list[int]:
    return [ev.decode(line).step for line in path.read_bytes().splitlines()]  # type: ignore[union-attr]


def test_events_are_on_disk_in_their_order_after_a_flush(log: EventLog) -> None:
    for step in range(100):
        log.append(ev.Paused(step=step))
    log.flush()
    assert steps(log.path) == list(range(100))


def test_events_reach_the_disk_without_anybody_asking(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    written = threading.Event()
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: (write(fd, data), written.set())[0])
    log.append(ev.Paused(step=1))
    assert written.wait(30)


def test_closing_writes_what_waits_and_may_be_done_twice(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    log.append(ev.Paused(step=1))
    log.close()
    log.close()
    assert steps(log.path) == [1]


def test_a_log_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    for step in (1, 2):
        log = EventLog(tmp_path / "events.jsonl")
        log.append(ev.Paused(step=step))
        log.close()
    assert steps(tmp_path / "events.jsonl") == [1, 2]


@pytest.mark.parametrize("torn", [b'{"event":"Paus', b"x" * 200_000, b"\xff\xfe"], ids=["short", "long", "no text"])
@pytest.mark.parametrize("lines", [0, 3, 3000])
def test_a_torn_last_line_is_cut_off_and_the_whole_ones_stay(tmp_path: Path, lines: int, torn: bytes) -> None:
    path, whole = tmp_path / "events.jsonl", ev.encode(ev.Paused(step=1)) * lines
    path.write_bytes(whole + torn)
    log = EventLog(path)
    assert path.read_bytes() == whole
    log.append(ev.Paused(step=2))
    log.close()
    assert steps(path)[-1] == 2


def test_a_full_disk_loses_nothing_and_tears_no_line(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.append(ev.Paused(step=1))
    log.flush()
    write, calls = os.write, []

    def half_then_full(fd: int, data: bytes) -> int:
        calls.append(fd)
        if len(calls) == 1:
            return write(fd, bytes(data)[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(eventlog.os, "write", half_then_full)
    log.append(ev.Paused(step=2))
    log.flush()
    assert log.error is not None and "No space left on device" in log.error
    assert steps(log.path) == [1]
    monkeypatch.setattr(eventlog.os, "write", write)
    log.append(ev.Paused(step=3))
    log.flush()
    assert steps(log.path) == [1, 2, 3]
    assert log.error is None


def test_a_disk_that_refuses_even_to_take_back_half_a_line_stops_no_later_one(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, cut = os.write, os.ftruncate
    wrote: list[int] = []

    def half_then_broken(fd: int, data: bytes) -> int:
        wrote.append(fd)
        if len(wrote) == 1:
            return write(fd, bytes(data)[:7])
        raise OSError(errno.EIO, "Input/output error")

    def broken(fd: int, size: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(eventlog.os, "write", half_then_broken)
    monkeypatch.setattr(eventlog.os, "ftruncate", broken)
    log.append(ev.Paused(step=1))
    log.flush()
    assert log.error is not None and "Input/output" in log.error
    monkeypatch.setattr(eventlog.os, "write", write)
    log.flush()
    assert log.error is not None  # nothing is written after half a line
    monkeypatch.setattr(eventlog.os, "ftruncate", cut)
    log.append(ev.Paused(step=2))
    log.flush()
    assert steps(log.path) == [1, 2] and log.error is None


def test_a_text_that_is_not_unicode_does_not_stop_the_log(log: EventLog) -> None:
    log.append(ev.LogLine(level="warning", text="file \udcff"))
    log.append(ev.Paused(step=1))
    log.flush()
    first, second = log.path.read_bytes().splitlines()
    assert ev.decode(first).text == "file ?"  # type: ignore[union-attr]
    assert ev.decode(second).step == 1  # type: ignore[union-attr]


def test_threads_may_append_at_once_and_no_line_is_mixed(log: EventLog) -> None:
    def append(thread: int) -> None:
        for step in range(200):
            log.append(ev.Paused(step=1000 * thread + step))

    threads = [threading.Thread(target=append, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        log.flush()
    log.flush()
    assert sorted(steps(log.path)) == [1000 * thread + step for thread in range(4) for step in range(200)]
