"""Many events at once lead to the very state that they lead to one by one."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import numpy as np
import pytest
from played_runs import START, FakeLink, run_started, step_done, still_app, story

from cockpit import series
from cockpit.meters import Meters
from cockpit.reducer import reduce, reduce_all
from cockpit.runs import Run
from cockpit.series import Series
from cockpit.state import Past, RunState
from cockpit.stretch import Stretch, coalesced, packed
from gpt import events as ev


def as_plain(value: object) -> object:
    """A state as values that can be compared, the curves with all that stands behind them; NaN as text."""
    if isinstance(value, Series):
        kept = [(level.size, level.start, level.data.tolist()) for level in value._levels]
        return repr((len(value), value.x.tolist(), value.y.tolist(), kept))
    if isinstance(value, RunState | Meters):
        return {name: as_plain(each) for name, each in msgspec.structs.asdict(value).items()}
    return repr(value)


def random_log(dice: random.Random, length: int) -> list[ev.Event]:
    """A log with everything in it that a log may hold, in any order, resumes and all."""
    events: list[ev.Event] = [run_started(max_steps=10**6)]
    step, at = 0, START
    for _ in range(length):
        at += dice.random()
        kind = dice.choices(range(8), (800, 60, 50, 10, 6, 3, 2, 2))[0]
        if kind == 0:
            for _ in range(dice.choice((1, 1, 2, 30))):
                step, at = step + 1, at + 0.1
                loss = None if dice.random() < 0.02 else 3 + dice.gauss(0, 1)
                mfu = None if dice.random() < 0.1 else dice.random()
                events.append(step_done(step, loss, time=at, mfu=mfu, grad_norm=dice.choice((None, 0.5, 2.0))))
        elif kind == 1:
            seconds = {"train": at - START - dice.random()}
            events.append(ev.LedgerUpdated(time=at, seconds=seconds, wall=at - START))
        elif kind == 2:
            machine = dict(rss=dice.randrange(10**9), host_memory_used=1, host_memory_total=2, process_cpu_percent=1.0)
            watts, load = dice.choice(((None, None), (dice.random() * 700, 98.0)))
            events.append(ev.TelemetrySampled(
                time=at, cpu_percent=dice.random(), gpu_watts=watts, gpu_utilization=load, **machine
            ))  # fmt: skip
        elif kind == 3:
            events.append(ev.MemorySampled(time=at, allocated=dice.randrange(10**9), reserved=1, peak=1))
        elif kind == 4:
            events.append(ev.EvalDone(time=at, step=step, train_loss=2.0, val_loss=2.1, seconds=1.0, best=True))
        elif kind == 5:
            step = dice.randrange(step + 1)
            events.append(ev.Resumed(time=at, step=step, exact=True))
        elif kind == 6:
            events.append(run_started(time=at, step=step, max_steps=10**6))
        else:
            events.append(ev.LogLine(time=at, level="info", text="a line"))
    return events


@pytest.mark.parametrize("seed", range(6))
def test_a_log_reduced_in_stretches_gives_the_state_that_its_events_give_one_by_one(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "KEPT", 64)  # so that a short log makes several levels
    monkeypatch.setattr(series, "BUCKETS", 16)
    events = random_log(random.Random(seed), 300)
    singly = RunState()
    for event in events:
        singly = reduce(singly, event)
    assert any(isinstance(each, Stretch) for each in packed(events))
    assert as_plain(reduce_all(RunState(), events)) == as_plain(singly)
    halves = reduce_all(reduce_all(RunState(), events[:777]), packed(events[777:]))
    assert as_plain(halves) == as_plain(singly)
    assert as_plain(reduce_all(RunState(), coalesced(packed(events), 100))) == as_plain(singly)


def test_a_log_on_disk_gives_the_same_either_way_and_what_is_no_event_is_counted(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    run = Run(tmp_path / "one")
    lines = [ev.encode(event) for event in story(400)]
    run.events_path.write_bytes(b"".join([*lines[:50], b"no event\n", b"\n", *lines[50:], b'{"event":"StepDone"']))
    whole = reduce_all(RunState(), run.read_events())
    skipped = run.skipped_lines
    assert as_plain(reduce_all(RunState(), run.read_stretches())) == as_plain(whole)
    assert (skipped, run.skipped_lines, whole.step) == (2, 2, 400)


async def test_a_log_that_is_being_read_is_shown_without_waiting_for_the_budget(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hurried: list[int] = []
    app = still_app(FakeLink(list(packed(story()))))
    monkeypatch.setattr(app.budget, "hurry", lambda: hurried.append(app.state.step))
    async with app.run_test() as pilot:
        await pilot.pause()
        assert hurried and hurried[-1] == app.state.step == 900


async def test_while_the_past_is_awaited_the_screen_looks_for_it_ten_times_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    link = FakeLink()
    app = still_app(link)
    delays: list[float] = []
    async with app.run_test() as pilot:
        await pilot.pause()
        monkeypatch.setattr(app.budget, "next_delay", lambda drew: 2.0)
        monkeypatch.setattr(app, "set_timer", lambda delay, then: delays.append(delay))
        for told in ([], [Past()], [], [run_started()], [step_done(1, 3.0)], []):
            link._waiting = told
            app._tick()
            app._tick()  # what a tick has heard is for the delay of the next one
    assert delays[1::2] == [0.1, 0.1, 0.1, 2.0, 2.0, 2.0]


def test_wall_time_adds_up_sittings_and_leaves_out_the_nights_between_them() -> None:
    first = [run_started(), *(step_done(step, 2.0, time=START + step) for step in range(1, 11))]
    night = START + 86_400
    second = [
        run_started(time=night, step=10), ev.Resumed(time=night, step=10, exact=True),
        *(step_done(step, 2.0, time=night + step - 10) for step in range(11, 21)),
    ]  # fmt: skip
    meters = reduce_all(RunState(), [*first, *second]).meters
    assert np.allclose(meters.seconds.y, np.arange(1, 21))
    assert meters.tokens.y.tolist() == [4096.0 * step for step in range(1, 21)]


async def test_a_past_that_comes_as_a_whole_brings_the_settings_that_its_newest_sitting_has_changed() -> None:
    changed = ev.ConfigChanged(key="optim.learning_rate", old="1e-3", new="5e-4", step=3)
    whole = reduce_all(RunState(), story())
    app = still_app(FakeLink([Past(state=whole, changed=(changed,))]))  # type: ignore[list-item]
    async with app.run_test() as pilot:
        await pilot.pause()
        assert app.settings["optim.learning_rate"] == 5e-4 and app.state.step == 900
