"""What every link promises, whether the trainer is here, in another process, or long gone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from acted_run import Seat, Stage, essence, put_save, stage
from played_runs import START, run_started, step_done, story

from cockpit import longlog
from cockpit.link import local
from cockpit.link.base import Link
from cockpit.link.local import LocalLink
from cockpit.link.replay import ReplayLink
from cockpit.reducer import reduce_all
from cockpit.runs import Run
from cockpit.state import Past, RunState
from gpt import checkpoint
from gpt import commands as do
from gpt import events as ev
from gpt.config import Profile
from tests.patience import PATIENCE, wait_until

EARLIER = (
    run_started(),
    *(step_done(step, 3.0) for step in range(1, 40)),
    ev.StateChanged(time=START, state="stopped"),
)
NOW = tuple(story(300))


@pytest.fixture(params=["local", "socket", "replay"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with stage(tmp_path, monkeypatch) as played:
        yield played


@pytest.fixture
def sit(scene: Stage, kind: str) -> Callable[[], Seat]:
    """Takes a seat before the run, by a link of the kind that is tested."""

    def take() -> Seat:
        if kind == "local":
            return Seat(scene.local)
        if kind == "socket":
            return Seat(scene.attach())
        link = ReplayLink(scene.folder, at_end=True)
        link.start()
        return Seat(link)

    return take


def test_all_that_happens_comes_in_order_and_once(scene: Stage, sit: Callable[[], Seat]) -> None:
    seat = sit()
    scene.actor.play(*NOW)
    seat.wait(lambda state: state.step == 300)
    scene.actor.play(ev.StateChanged(state="paused", step=300))
    seat.wait(lambda state: state.state == "paused")
    expected = reduce_all(RunState(), [*NOW, ev.StateChanged(state="paused", step=300)])
    assert essence(seat.state) == essence(expected)


def test_who_comes_late_has_seen_all_of_it_too(scene: Stage, kind: str, sit: Callable[[], Seat]) -> None:
    half = len(NOW) // 2
    scene.actor.play(*NOW[:half])
    if kind != "local":
        wait_until(lambda: scene.local._log.position()[0] > 10_000)  # some of it is on disk, some on its way
    seat = sit()
    scene.actor.play(*NOW[half:])
    seat.wait(lambda state: state.step == 300 and state.telemetry is not None)
    assert essence(seat.state) == essence(reduce_all(RunState(), NOW))


def test_of_a_long_log_comes_what_it_comes_to_and_then_what_happens(
    scene: Stage, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read ahead before the run's process is asked how far it is, while that goes on telling."""
    if kind != "socket":
        pytest.skip("nobody reads ahead there")
    monkeypatch.setattr(longlog, "LONG", 1)
    third = len(NOW) // 3
    scene.actor.play(*NOW[:third])
    wait_until(lambda: scene.local._log.position()[0] > 10_000)
    ahead = scene.folder.read_ahead()
    scene.actor.play(*NOW[third : 2 * third])
    seat = Seat(scene.attach(ahead=ahead))
    scene.actor.play(*NOW[2 * third :])
    seat.wait(lambda state: state.step == 300 and state.telemetry is not None)
    assert any(isinstance(told, Past) for told in seat.told)
    assert essence(seat.state) == essence(reduce_all(RunState(), NOW))


def test_what_happens_while_earlier_sittings_are_told_comes_after_them(tmp_path: Path) -> None:
    folder = Run.create(tmp_path, "amber-heron", "demo")
    folder.events_path.write_bytes(b"".join(map(ev.encode, EARLIER)))
    link = LocalLink(folder, Profile(name="demo"), resume=tmp_path)
    whole = Past(state=reduce_all(RunState(), EARLIER))
    seat = Seat(link)

    def slowly(end: int, ahead: object) -> Iterator[Past]:
        assert end == folder.size_of_log()
        link.tell("warning", "said meanwhile")
        assert seat.take().log == ()
        yield whole
        assert seat.take().step == 39 and seat.state.log == ()

    link._folder.read_past = slowly  # type: ignore[method-assign]
    link._tell_earlier()
    assert seat.take().step == 39 and [line.text for line in seat.state.log] == ["said meanwhile"]
    link.close()


def test_a_long_past_is_taken_in_before_the_trainer_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Run.create(tmp_path, "amber-heron", "demo")
    folder.events_path.write_bytes(b"".join(map(ev.encode, EARLIER)))
    monkeypatch.setattr(longlog, "LONG", 1)
    monkeypatch.setattr(local, "LOOK_SECONDS", PATIENCE)
    link = LocalLink(folder, Profile(name="demo"), resume=tmp_path, attended=True)
    teller = threading.Thread(target=link._tell_earlier)
    teller.start()
    seat = Seat(link)
    seat.wait(lambda state: state.step == 39)
    assert teller.is_alive()  # it is being drawn
    wait_until(lambda: link._is_told)
    seat.take()
    teller.join(PATIENCE)
    assert not teller.is_alive()
    link.close()


def test_drain_gives_nothing_where_nothing_happened_and_start_may_be_called_again(
    scene: Stage, sit: Callable[[], Seat]
) -> None:
    seat = sit()
    scene.actor.play(run_started(), step_done(1, 3.0))
    seat.wait(lambda state: state.step == 1)
    seat.link.start()
    left = [event for event in seat.link.drain() if isinstance(event, ev.StepDone)]
    assert left == [] and seat.state.step == 1


def test_it_knows_the_run_its_folder_and_its_profile(scene: Stage, sit: Callable[[], Seat]) -> None:
    link: Link = sit().link
    assert (link.run, link.run_dir, link.profile.name) == (scene.folder.name, scene.folder.path, "demo")


def test_what_is_sent_reaches_a_trainer_where_there_is_one(scene: Stage, kind: str, sit: Callable[[], Seat]) -> None:
    seat = sit()
    seat.wait(lambda state: seat.link.has_controls)
    sent = [do.SetConfig(changes={"optim.learning_rate": 3e-4}), do.At(step=9, what=do.Save()), do.Pause()]
    for command in sent:
        seat.link.send(command)
    if kind == "replay":
        assert scene.actor.heard == []
    else:
        wait_until(lambda: len(scene.actor.heard) == 3)
        assert scene.actor.heard == sent


def test_it_is_alive_until_the_trainer_has_ended_and_sending_then_does_no_harm(
    scene: Stage, kind: str, sit: Callable[[], Seat]
) -> None:
    seat = sit()
    assert seat.link.alive == (kind != "replay")
    scene.actor.play(*NOW)
    scene.actor.send(do.Stop())
    seat.wait(lambda state: state.is_final)
    wait_until(lambda: not seat.link.alive)
    seat.link.send(do.Pause())
    assert seat.take().finished == seat.state.finished is not None
    assert essence(seat.state)["curve"] == essence(reduce_all(RunState(), NOW))["curve"]


def test_what_an_earlier_sitting_logged_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    with stage(tmp_path, monkeypatch, earlier=EARLIER) as scene:
        if kind == "local":
            scene.local._folder = scene.folder
            scene.local._tell_earlier()  # what it does before a trainer that resumes
        link = {"local": lambda: scene.local, "socket": scene.attach}.get(
            kind, lambda: ReplayLink(scene.folder, at_end=True)
        )()
        link.start()
        seat = Seat(link)
        seat.wait(lambda state: state.step == 39)
        scene.actor.play(ev.Resumed(step=20, exact=True), step_done(21, 2.0))
        seat.wait(lambda state: state.step == 21)
        assert seat.state.loss.x.tolist() == list(range(1, 22))


def test_it_lists_the_checkpoints_that_there_are_by_step(scene: Stage, sit: Callable[[], Seat]) -> None:
    link = sit().link
    assert list(link.saves()) == []
    put_save(scene.folder, 20, rate=3e-4)
    put_save(scene.folder, 10)
    checkpoint.point(scene.folder.checkpoints_path, "best", 10)
    assert [(save.step, save.is_best) for save in link.saves()] == [(10, True), (20, False)]
    profile = link.saves()[1].profile
    assert profile is not None and profile.optim.learning_rate == 3e-4
