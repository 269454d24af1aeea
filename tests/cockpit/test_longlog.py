"""A long log is read by another process: with the same result, whatever becomes of that process."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from test_stretch import as_plain, random_log

from cockpit import digest, longlog
from cockpit.reducer import reduce_all
from cockpit.runs import Run
from cockpit.state import Past, RunState
from gpt import events as ev

EVENTS = tuple(random_log(random.Random(3), 1500))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with a log of some 6,000 lines and a line that is no event, which counts as a long one."""
    lines = [ev.encode(event) for event in EVENTS]
    lines.insert(1000, b"not an event\n")
    (tmp_path / "events.jsonl").write_bytes(b"".join(lines) + b'{"event":"StepD')
    monkeypatch.setattr(longlog, "LONG", 1)
    return Run(tmp_path)


def state_of(run: Run, **options: object) -> RunState:
    return reduce_all(RunState(), run.read_past(**options))  # type: ignore[arg-type]


def said(run: Run) -> bytes:
    """What the process writes to its standard output."""
    command = [sys.executable, "-m", "cockpit.longlog", str(run.events_path), str(run.size_of_log())]
    return subprocess.run(command, capture_output=True, cwd=longlog._ROOT, check=True).stdout


def doctored(run: Run, end: int) -> None:
    """Keeps a digest that can be told from what the log says."""
    with run.events_path.open("rb") as file:
        (*_, past) = longlog._read(Path(file.name), Past(), end)
    digest.keep(run.events_path, msgspec.structs.replace(past, state=msgspec.structs.replace(past.state, wall=-1.0)))


def test_another_process_reads_what_this_one_would(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    here = as_plain(reduce_all(RunState(), EVENTS))
    monkeypatch.setattr("cockpit.stretch._decoded", lambda *_: pytest.fail("read here"))
    assert as_plain(state_of(run)) == here
    assert run.skipped_lines == 1


def test_in_pieces_and_with_words_in_between_it_comes_to_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(longlog, "_PIECE", 10_000)
    end = run.size_of_log()
    pasts = list(longlog._read(run.events_path, Past(), end, lambda: True))
    assert len(pasts) > 20 and [past.offset for past in pasts] == sorted({past.offset for past in pasts})
    assert as_plain(pasts[-1].state) == as_plain(reduce_all(RunState(), EVENTS))
    assert pasts[-1].offset == end and pasts[-1].skipped == 1
    halfway = pasts[7]
    (rest,) = longlog._read(run.events_path, halfway, end)
    assert as_plain(rest.state) == as_plain(pasts[-1].state) and rest.skipped == 1


def other(out: bytes) -> Callable[..., subprocess.Popen[bytes]]:
    """In the place of the process: one that writes this, and ends."""

    def start(*_: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["true"], stdout=subprocess.PIPE)
        process.stdout = io.BytesIO(out)
        return process

    return start


@pytest.mark.parametrize("kept", [0, 3, 1000, -1])
def test_where_the_other_process_dies_the_rest_is_read_here(
    run: Run, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(longlog, "_start", other(said(run)[:kept]))
    assert as_plain(state_of(run)) == as_plain(reduce_all(RunState(), EVENTS))
    assert run.skipped_lines == 1


def test_where_it_dies_after_half_the_log_only_the_rest_is_read_here(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    half = run.events_path.read_bytes().find(b"\n", 300_000) + 1
    doctored(run, half)
    begun = digest.load(run.events_path, half)
    assert begun is not None
    body = digest.packed(begun)
    monkeypatch.setattr(longlog, "_start", other(longlog._LENGTH.pack(len(body)) + body))
    first, second = run.read_past()
    assert isinstance(first, Past) and isinstance(second, Past)
    assert (first.offset, second.offset) == (half, run.size_of_log())
    assert as_plain(second.state.loss) == as_plain(reduce_all(RunState(), EVENTS).loss)


def test_a_process_that_cannot_be_started_is_done_without(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert as_plain(state_of(run)) == as_plain(reduce_all(RunState(), EVENTS))


def test_it_goes_on_from_the_digest_beside_the_log(run: Run) -> None:
    half = run.events_path.read_bytes().find(b"\n", 300_000) + 1
    doctored(run, half)
    told = list(run.read_past(half))
    assert [past.state.wall for past in told if isinstance(past, Past)] == [-1.0]
    assert as_plain(state_of(run).loss) == as_plain(reduce_all(RunState(), EVENTS).loss)


def test_what_was_read_ahead_is_taken_and_what_has_come_since_follows(run: Run) -> None:
    half = run.events_path.read_bytes().find(b"\n", 300_000) + 1
    ahead = run.read_ahead(half)
    items = list(run.read_past(ahead=ahead))
    assert isinstance(items[0], Past) and items[0].offset == half and len(items) > 1
    assert as_plain(reduce_all(RunState(), items)) == as_plain(reduce_all(RunState(), EVENTS))
    assert run.skipped_lines == 1


def test_what_was_read_too_far_ahead_is_dropped(run: Run) -> None:
    half = run.events_path.read_bytes().find(b"\n", 300_000) + 1
    ahead = run.read_ahead()
    (past,) = run.read_past(half, ahead)
    assert isinstance(past, Past) and past.offset == half


def test_a_log_that_lost_its_end_meanwhile_is_read_to_where_it_is(run: Run) -> None:
    end = run.size_of_log() + 10_000
    (*_, past) = longlog._read(run.events_path, Past(), end)
    assert past.state.step == reduce_all(RunState(), EVENTS).step


def test_a_reader_that_is_given_up_ends(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = run.read_ahead()
    assert reader is not None and reader._process is not None
    process = reader._process
    pasts = reader.told()
    reader.close()
    assert process.wait(timeout=30) is not None
    assert [past.state.step for past in pasts] == [reduce_all(RunState(), EVENTS).step]  # whoever asks all the same


def test_the_digest_of_a_log_that_grows_is_made_now_and_then(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, tuple[str, ...]]] = []

    def start(path: Path, end: int, *options: str) -> subprocess.Popen[bytes]:
        made.append((end, options))
        return subprocess.Popen(["sleep", "0" if len(made) > 1 else "30"])

    monkeypatch.setattr(longlog, "_start", start)
    monkeypatch.setattr(longlog, "GROWTH", 100)
    keeper = longlog.Keeper(run.events_path, 1000)
    for end in (1000, 1099, 1100, 1150):
        keeper.look(end)
    assert made == [(1100, ("--keep",))]
    keeper.look(1300)  # one at a time
    assert len(made) == 1
    assert keeper._process is not None
    keeper._process.kill()
    keeper._process.wait()
    keeper.look(1300)
    assert made[1:] == [(1300, ("--keep",))]


def test_the_process_that_keeps_one_writes_the_digest_and_nothing_else(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(sys, "argv", ["longlog", str(run.events_path), str(run.size_of_log()), "--keep"])
    monkeypatch.setattr("os.nice", lambda by: by)
    longlog.main()
    assert capfdbinary.readouterr().out == b""
    past = digest.load(run.events_path, run.size_of_log())
    assert past is not None and as_plain(past.state) == as_plain(reduce_all(RunState(), EVENTS))
