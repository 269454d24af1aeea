"""Going back and forking, as the screen has them: what stays in the chart, what can be chosen, what is sent."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from played_runs import FakeLink, demo_profile, finished_story, save, shown_by, step_done, still_app, story

from cockpit import forking
from cockpit.abandoned import POINTS, STRETCHES, thinned
from cockpit.forking import find_source, parse_source
from cockpit.reducer import reduce, reduce_all
from cockpit.runs import Run
from cockpit.saves import list_saves
from cockpit.state import RunState
from cockpit.widgets import chart
from gpt import checkpoint
from gpt import commands as do
from gpt import events as ev
from gpt.config import replace
from gpt.errors import CheckpointError, RunError


@pytest.fixture
def link(tmp_path: Path) -> FakeLink:
    """At step 900, with checkpoints of 400, 600 and 800, the last the best, and one that was abandoned."""
    link = FakeLink(story(), replace(demo_profile(), {"train.max_steps": 2000, "optim.learning_rate": 1e-3}))
    link.run_dir = tmp_path / "runs/amber-heron"
    parent = link.run_dir / "checkpoints"
    save(parent, 500)
    checkpoint.set_aside(parent, 0)
    for step, val_loss in ((400, 2.0), (600, 1.7), (800, 1.6)):
        save(parent, step, val_loss, rate=4e-3 if step == 400 else 1e-3)
    checkpoint.point(parent, "best", 800)
    (link.run_dir / "profile.toml").write_text('name = "demo"\n')
    return link


# -- what stays in the chart -------------------------------------------------------------------------------------------


def rewound(state: RunState, step: int) -> RunState:
    return reduce(state, ev.Resumed(step=step, exact=True, left=state.step))


def test_what_a_run_went_back_from_stays_dimmed_beside_the_new_way() -> None:
    state = rewound(reduce_all(RunState(), story()), 600)
    (stretch,) = state.abandoned
    assert (stretch.start, stretch.end) == (600, 900)
    assert len(stretch.x) == 300 and list(stretch.val_x) == [800]
    assert state.step == 600 and state.loss.x[-1] == 600
    assert chart.step_range(state)[1] >= 900, "the chart goes on showing where it had been"
    without = msgspec.structs.replace(state, abandoned=())
    dimmed = [chart.draw(each, 120, 20) for each in (state, msgspec.structs.replace(without, step=900))]
    assert dimmed[0] != dimmed[1]
    assert any(marker.kind == "rewind" for marker in state.markers)
    assert "rewound from step 900 to step 600" in state.log[-1].text


def test_stretches_and_their_points_are_bounded() -> None:
    state = reduce_all(RunState(), story())
    for _ in range(STRETCHES + 5):
        state = rewound(state, 600)
        for step in range(601, 620):
            state = reduce(state, step_done(step, 2.0))
    assert len(state.abandoned) == STRETCHES
    x, y = np.arange(100_000.0), np.zeros(100_000)
    y[4_321], y[77_777] = 9.0, np.nan
    short_x, short_y = thinned(x, y, POINTS)
    assert len(short_x) <= POINTS and 4_321 in short_x and short_y.max() == 9.0 and short_x[-1] == 99_999


def test_going_back_to_where_one_is_leaves_nothing() -> None:
    assert rewound(reduce_all(RunState(), story()), 900).abandoned == ()


# -- what can be chosen ------------------------------------------------------------------------------------------------


def test_all_checkpoints_are_listed_the_abandoned_ones_too(link: FakeLink) -> None:
    saves = list_saves(link.run_dir / "checkpoints")
    assert [(each.step, each.abandoned, each.val_loss, each.is_best) for each in saves] == [
        (400, None, 2.0, False), (500, 1, None, False), (600, None, 1.7, False), (800, None, 1.6, True),
    ]  # fmt: skip
    (link.run_dir / "checkpoints/step-00000600/state.json").write_text("{")
    assert 600 not in [each.step for each in list_saves(link.run_dir / "checkpoints")]


async def test_b_shows_them_and_enter_goes_back_to_the_newest(link: FakeLink) -> None:
    shown = await shown_by(link, ["b"])
    assert "800 -100" in shown and "1.6000" in shown and "best" in shown and "abandoned 1" in shown
    assert "left 100 steps" in shown and link.sent == []
    await shown_by(link, ["b", "enter"])
    assert link.sent == [do.Rewind(step=800)]


async def test_arrows_choose_another_and_its_rate(link: FakeLink) -> None:
    shown = await shown_by(link, ["b", "left", "down", "down"])
    assert "▌ 600" in shown and "× 0.5" in shown
    await shown_by(link, ["b", "left", "down", "down", "enter"])
    assert link.sent == [do.Rewind(step=600, changes={"optim.learning_rate": 5e-4})]


async def test_the_settings_of_then_come_back_unless_those_of_now_are_to_stay(link: FakeLink) -> None:
    there = ("b", "left", "left", "left")
    assert "optim.learning_rate 0.001 → 0.004" in await shown_by(link, there)
    shown = await shown_by(link, [*there, "s"])
    assert "of now, no other difference" in shown
    await shown_by(link, [*there, "s", "up", "enter"])
    assert link.sent == [do.Rewind(step=400, changes={"optim.learning_rate": 1.5e-3}, as_then=False)]


async def test_the_present_and_an_abandoned_way_are_not_gone_back_to(link: FakeLink) -> None:
    assert "that is where the run is" in await shown_by(link, ["b", "right", "enter"])
    assert "f forks a run from it" in await shown_by(link, ["b", "left", "left", "enter"])
    assert link.sent == []


async def test_without_a_checkpoint_b_says_so(link: FakeLink) -> None:
    link.run_dir = link.run_dir.with_name("empty")
    assert "there is no checkpoint yet" in await shown_by(link, ["b"])


# -- forking -----------------------------------------------------------------------------------------------------------


async def test_f_stops_the_run_for_a_fork_of_the_present(link: FakeLink) -> None:
    app = still_app(link)
    async with app.run_test(size=(120, 35)) as pilot:
        await pilot.press("f", "down", "enter")
        await pilot.press(*"bolder", "enter")
        await pilot.pause()
    assert link.sent == [do.Stop(save=True)] and app.return_value == "stop"
    assert app.fork == forking.Fork(None, "bolder", ("optim.learning_rate=0.0007",))


async def test_a_fork_of_a_checkpoint_is_made_before_the_run_ends(link: FakeLink) -> None:
    app = still_app(link)
    async with app.run_test(size=(120, 35)) as pilot:
        await pilot.press("f", "left", "enter", *"other", "enter")
        await pilot.pause()
    fork = Run.open(link.run_dir.parent, "other")
    assert fork.forked_from == ev.Origin(run="amber-heron", step=800)
    assert checkpoint.newest(fork.checkpoints_path)[1]["step"] == 800
    assert app.fork is not None and app.fork.run is not None and app.fork.run.path == fork.path


async def test_an_ended_run_can_be_forked_and_a_bad_name_is_refused(link: FakeLink) -> None:
    link.deliver(*finished_story())
    assert "cannot be the name of a run" in await shown_by(link, ["f", "enter", *"../x", "enter"])
    assert link.sent == []


def test_a_fork_shares_the_checkpoints_files_and_outlives_them(link: FakeLink) -> None:
    source = Run(link.run_dir)
    path = find_source(source, "600")
    fork = forking.make(source, path, "two")
    adopted = fork.checkpoints_path / path.name
    assert (adopted / "state.json").stat().st_ino == (path / "state.json").stat().st_ino
    for file in path.iterdir():
        file.unlink()
    assert checkpoint.verify(adopted)["step"] == 600
    assert (fork.path / "profile.toml").read_text() == 'name = "demo"\n'
    with pytest.raises(RunError, match="run two exists"):
        forking.make(source, find_source(source, "800"), "two")
    forking.discard(fork)
    assert not fork.path.exists()


def test_a_source_is_a_run_and_a_step_of_it_or_its_newest(link: FakeLink) -> None:
    source = Run(link.run_dir)
    assert parse_source("a@b@1,200") == ("a@b", "1,200") and parse_source("heron") == ("heron", None)
    assert find_source(source, None).name == "step-00000800"
    assert find_source(source, "500").parent.name == "1", "an abandoned way is looked on too"
    assert find_source(source, "abandoned/1/step-00000500").is_dir()
    for place, why in (("700", "no checkpoint of step 700; there are: 400, 500, 600, 800"), ("x", "no step"), ("../../x/step-1", "no checkpoint of run")):  # fmt: skip  # noqa: E501
        with pytest.raises(CheckpointError, match=re.escape(why)):
            find_source(source, place)
