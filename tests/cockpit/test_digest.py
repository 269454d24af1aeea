"""A digest beside a log leads to the very state that the whole log leads to, or it is not used."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
import pytest
from played_runs import run_started, step_done, story
from test_stretch import as_plain, random_log

from cockpit import digest, series, stretch
from cockpit.reducer import reduce, reduce_all
from cockpit.series import Series
from cockpit.state import Past, RunState
from gpt import events as ev


def changed(key: str, new: str, step: int) -> ev.ConfigChanged:
    return ev.ConfigChanged(key=key, old="1", new=new, step=step)


def some(dice: random.Random, kind: Any) -> Any:
    """A value of a type, as an event may hold it."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return some(dice, dice.choice(inner))
    if origin is list:
        return [some(dice, inner[0]) for _ in range(dice.randrange(3))]
    if origin is dict:
        return {some(dice, inner[0]): some(dice, inner[1]) for _ in range(2)}
    if origin is tuple:
        return tuple(some(dice, each) for each in inner)
    if kind is NoneType:
        return None
    if kind is bool:
        return dice.random() < 0.5
    if kind is int:
        return dice.randrange(300)
    if kind is float:
        return dice.random() * 300
    if kind is str:
        return dice.choice(("a", "rate", "train", "ünsäglich", "12", "finished"))
    hints = get_type_hints(kind)
    return kind(**{field.name: some(dice, hints[field.name]) for field in msgspec.structs.fields(kind)})


def anything(dice: random.Random, length: int) -> list[ev.Event]:
    """A log with every kind of event, their fields at random, between steps."""
    kinds = [kind for kind in get_args(ev.AnyEvent) if kind is not ev.StepDone]
    events: list[ev.Event] = [run_started()]
    for number in range(length):
        changed_to = {"key": "train.max_steps", "new": str(300 + number)}
        event = some(dice, kinds[number % len(kinds)])
        if isinstance(event, ev.ConfigChanged):
            event = msgspec.structs.replace(event, **changed_to)
        events += [event, *(step_done(events_step, 2.5) for events_step in range(5 * number + 1, 5 * number + 6))]
    return events


def plain(value: object) -> object:
    """All that a state holds, as values that can be compared; NaN is equal to itself."""
    if isinstance(value, Series):
        return as_plain(value)
    if isinstance(value, np.ndarray):
        return repr(value.tolist())
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return repr(value)


def as_log(path: Path, events: list[ev.Event]) -> list[int]:
    """Writes a log; the offsets at which its lines end."""
    lines = [ev.encode(event) for event in events]
    (path / "events.jsonl").write_bytes(b"".join(lines))
    ends, at = [0], 0
    for line in lines:
        ends.append(at := at + len(line))
    return ends


@pytest.fixture
def short_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "KEPT", 64)  # so that a short log makes several levels
    monkeypatch.setattr(series, "BUCKETS", 16)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.usefixtures("short_curves")
def test_going_on_from_a_digest_gives_the_state_that_all_events_give_one_by_one(seed: int) -> None:
    dice = random.Random(seed)
    events = dice.choice(([*story(300), ev.Resumed(step=0, exact=True), *random_log(dice, 200)], anything(dice, 150)))
    singly = RunState()
    for event in events:
        singly = reduce(singly, event)
    past, at = Past(), 0
    while at < len(events):
        until = min(len(events), at + dice.choice((1, 7, 400)))
        past = digest.unpacked(digest.packed(digest.onward(past, events[at:until], until)))
        at = until
    assert plain(past.state) == plain(singly)
    onward = [step_done(step, 2.0) for step in range(10**6 + 1, 10**6 + 200)]
    assert plain(reduce_all(past.state, onward)) == plain(reduce_all(singly, onward))


def test_it_knows_which_changes_of_settings_hold_and_which_the_newest_sitting_has_made() -> None:
    events = [
        run_started(), changed("a", "2", 3), changed("b", "2", 9), ev.Resumed(step=5, exact=True), run_started(step=5),
        changed("c", "1", 6), changed("c", "2", 7),
    ]  # fmt: skip
    past = digest.unpacked(digest.packed(digest.onward(Past(), events, 1)))
    assert [(one.key, one.new) for one in past.held] == [("a", "2"), ("c", "1"), ("c", "2")]
    assert past.changed_settings == {"c": 2}


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, int, int]:
    """A log of 1,200 lines, the byte up to which a digest is kept beside it, and its end."""
    ends = as_log(tmp_path, random_log(random.Random(5), 600))
    log, at = tmp_path / "events.jsonl", ends[len(ends) * 2 // 3]
    digest.keep(log, onward_of(log, at))
    return log, at, ends[-1]


def onward_of(log: Path, end: int) -> Past:
    with log.open("rb") as file:
        return digest.onward(Past(), stretch.read(file, 0, end, lambda lines: None), end)


def test_a_digest_is_taken_for_what_it_is(kept: tuple[Path, int, int]) -> None:
    log, at, end = kept
    past = digest.load(log, end)
    assert past is not None and past.offset == at
    assert plain(past.state) == plain(onward_of(log, at).state)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    with path.open("r+b") as file:  # the same file, as an editor in place leaves it
        file.write(data)


def replace_by_its_copy(log: Path) -> None:
    (log.parent / "new").write_bytes(log.read_bytes())
    (log.parent / "new").replace(log)


SPOILT: dict[str, Callable[[Path, int], object]] = {
    "the log begins otherwise": lambda log, at: flip(log, 30),
    "the log has another last line there": lambda log, at: flip(log, at - 5),
    "the log is another at one of the places in between": lambda log, at: flip(log, (at - 4096) * 31 // 63 + 9),
    "the log is shorter": lambda log, at: os.truncate(log, at - 1),
    "the log was put in another's place": lambda log, at: replace_by_its_copy(log),
    "the log is gone": lambda log, at: log.unlink(),
    "half of it was written": lambda log, at: os.truncate(log.parent / digest.NAME, 2000),
    "nothing of it was written": lambda log, at: os.truncate(log.parent / digest.NAME, 0),
    "a bit of it has tipped over": lambda log, at: flip(log.parent / digest.NAME, 3000),
    "it is none": lambda log, at: (log.parent / digest.NAME).write_bytes(b"\x95\x01\xc4\x00\xc4\x00\x01\xc0\xc0"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_it_is_passed_over_where(kept: tuple[Path, int, int], what: str) -> None:
    log, at, end = kept
    SPOILT[what](log, at)
    assert digest.load(log, end) is None


def test_it_is_passed_over_where_it_reaches_further_than_is_asked_for(kept: tuple[Path, int, int]) -> None:
    log, at, _ = kept
    assert digest.load(log, at - 1) is None and digest.load(log, at) is not None


def test_it_is_passed_over_where_another_program_has_made_it(
    kept: tuple[Path, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, _, end = kept
    monkeypatch.setattr(digest, "_program", lambda: b"another")
    assert digest.load(log, end) is None


@pytest.fixture
def other_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for package in ("cockpit", "gpt"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "state.py").write_text("one")
    monkeypatch.setattr(digest, "_ROOT", tmp_path)
    digest._program.cache_clear()
    yield tmp_path
    digest._program.cache_clear()


def test_a_program_with_other_code_is_another_one(other_code: Path) -> None:
    before = digest._program()
    digest._program.cache_clear()
    assert digest._program() == before
    digest._program.cache_clear()
    (other_code / "cockpit" / "state.py").write_text("two")
    assert digest._program() != before


def test_a_folder_that_takes_no_file_keeps_none_and_says_nothing(
    kept: tuple[Path, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, _, end = kept
    before = (log.parent / digest.NAME).read_bytes()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    digest.keep(log, onward_of(log, end))
    monkeypatch.undo()
    assert (log.parent / digest.NAME).read_bytes() == before
    assert sorted(path.name for path in log.parent.iterdir()) == [digest.NAME, "events.jsonl"]


def test_a_state_that_holds_something_new_is_refused_and_not_kept_by_half() -> None:
    with pytest.raises(TypeError):
        digest.packed(Past(state=msgspec.structs.replace(RunState(), detail=object())))
