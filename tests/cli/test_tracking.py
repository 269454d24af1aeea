"""[track]: other programs get what the log gets, and whatever goes wrong there is a line in the log, no more."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cockpit import mirror as mirrors
from cockpit import trackers
from cockpit.link.local import LocalLink
from cockpit.mirror import Mirror
from cockpit.runs import Run
from cockpit.trackers import check_trackers, wanted_trackers
from gpt import events as ev
from gpt.config import Profile, TrackConfig
from gpt.errors import RunError

LONG = 30.0
"""Seconds after which a test that waits has failed."""


@pytest.fixture(autouse=True)
def fed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "FEED_SECONDS", 0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Run:
    return Run.create(tmp_path, "heron", "demo")


class Notebook:
    """A tracker that keeps what it gets; `at` may do something at each event."""

    def __init__(self, at: Callable[[ev.Event], None] = lambda _: None) -> None:
        self.at, self.taken, self.closed = at, [], 0

    def take(self, event: ev.Event) -> None:
        self.at(event)
        self.taken.append(event)

    def flush(self) -> None: ...

    def close(self) -> None:
        self.closed += 1


def step(number: int, loss: float = 2.0) -> ev.StepDone:
    return ev.StepDone(
        time=1000.0 + number, step=number, loss=loss, lr=1e-3, grad_norm=None, ms=10.0, tokens=64 * number,
        tokens_per_s=6400.0,
    )  # fmt: skip


EVALUATED = ev.EvalDone(time=1002.5, step=2, train_loss=1.9, val_loss=2.1, seconds=0.1, best=True)


# -- the thread between ------------------------------------------------------------------------------------------------


def test_a_tracker_gets_all_figures_in_order_and_is_closed_once() -> None:
    notebook, said = Notebook(), []
    mirror = Mirror("notebook", lambda: notebook, said.append)
    told: list[ev.Event] = [step(1), step(2), EVALUATED, ev.Resumed(step=2, exact=True), step(3)]
    for event in (ev.LogLine(level="info", text="x"), *told):
        mirror.take(event)
    mirror.close()
    assert (notebook.taken, notebook.closed, said) == (told, 1, [])


def test_a_run_without_a_step_makes_no_tracker() -> None:
    mirror = Mirror("notebook", lambda: pytest.fail("nothing was to be shown"), lambda event: pytest.fail(str(event)))
    mirror.take(ev.LogLine(level="info", text="x"))
    mirror.close()


def test_a_slow_tracker_does_not_hold_up_who_feeds_it() -> None:
    released, entered = threading.Event(), threading.Event()

    def wait(_: ev.Event) -> None:
        entered.set()
        released.wait(LONG)

    notebook = Notebook(wait)
    mirror = Mirror("slow", lambda: notebook, lambda _: None)
    mirror.take(step(1))
    assert entered.wait(LONG)
    for number in range(2, 500):
        mirror.take(step(number))  # returns although the tracker hangs
    assert not notebook.taken
    released.set()
    mirror.close()
    assert len(notebook.taken) == 499


@pytest.mark.parametrize("error", [OSError(28, "No space left"), SystemExit("no\x1b[31m key"), ValueError()])
def test_a_failing_tracker_is_one_warning_and_gets_nothing_more(error: BaseException) -> None:
    said: list[Any] = []
    warned = threading.Event()

    def fail(_: ev.Event) -> None:
        raise error

    notebook = Notebook(fail)
    mirror = Mirror("W&B", lambda: notebook, lambda event: (said.append(event), warned.set()))
    mirror.take(step(1))
    assert warned.wait(LONG)
    mirror.take(step(2))
    mirror.close()
    (line,) = said
    assert line.level == "warning" and line.text.startswith("W&B gets no more of this run: ")
    assert "\x1b" not in line.text
    assert not mirror._queue


def test_a_tracker_that_falls_far_behind_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "MAX_WAITING", 10)
    said: list[Any] = []
    monkeypatch.setattr(mirrors, "FEED_SECONDS", LONG)
    mirror = Mirror("slow", lambda: pytest.fail("too late"), said.append)
    for number in range(1, 20):
        mirror.take(step(number))
    mirror.close()
    assert "19 events behind" in said[0].text


def test_the_end_of_a_run_waits_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirrors, "PATIENCE_SECONDS", 0.05)
    released, said = threading.Event(), []
    mirror = Mirror("slow", lambda: Notebook(lambda _: bool(released.wait(LONG)) and None), said.append)
    mirror.take(step(1))
    mirror.close()
    released.set()
    mirror._thread.join(LONG)
    assert len(said) == 1 and "not done" in said[0].text


def test_the_log_holds_the_warning_and_the_run_goes_on(folder: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(*_: Any) -> Any:
        raise RuntimeError("no such project")

    monkeypatch.setattr(trackers, "WandB", make)
    link = LocalLink(folder, Profile(track=TrackConfig(wandb="p")))
    link._emit(step(1))
    link.close()
    logged = list(folder.read_events())
    assert logged[0] == step(1)
    assert [e.text for e in logged if isinstance(e, ev.LogLine)] == [
        "W&B gets no more of this run: no such project; training goes on"
    ]


# -- the trackers ------------------------------------------------------------------------------------------------------


def test_tensorboard_shows_a_resumed_run_without_the_steps_it_went_back_from(folder: Run) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    profile = Profile(track=TrackConfig(tensorboard=True))
    for events in (
        [step(1, 4.0), step(2, 3.0), EVALUATED, step(3, 2.9)],
        [ev.Resumed(step=2, exact=True), step(3, 2.5)],
    ):
        link = LocalLink(folder, profile)
        for event in events:
            link._emit(event)
        link.close()
    board = EventAccumulator(str(folder.path / "tensorboard")).Reload()
    assert [(p.step, p.value) for p in board.Scalars("train/loss")] == [(1, 4.0), (2, 3.0), (3, 2.5)]
    assert [(p.step, p.wall_time) for p in board.Scalars("eval/val_loss")] == [(2, 1002.5)]


class FakeWandb:
    """The few calls of the wandb package that are used."""

    __spec__ = None

    def __init__(self, key: str | None = None) -> None:
        self.api = SimpleNamespace(api_key=key)
        self.asked: list[dict[str, Any]] = []
        self.logged: list[dict[str, Any]] = []
        self.finished = 0

    def Settings(self, **settings: Any) -> dict[str, Any]:
        return settings

    def init(self, **asked: Any) -> Any:
        self.asked.append(asked)
        return SimpleNamespace(log=self.logged.append, finish=self._finish, define_metric=lambda *_, **__: None)

    def _finish(self) -> None:
        self.finished += 1


def send(folder: Run, *events: ev.Event) -> list[str]:
    """Sends events to W&B; returns the warnings."""
    link = LocalLink(folder, Profile(name="sums", track=TrackConfig(wandb="plots")))
    for event in events:
        link._emit(event)
    link.close()
    return [event.text for event in folder.read_events() if isinstance(event, ev.LogLine)]


def test_wandb_gets_the_settings_the_figures_and_one_id_for_all_sittings(
    folder: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setitem(sys.modules, "wandb", fake := FakeWandb("key"))  # type: ignore[arg-type]
    folder.write_facts({"created": 5.0})
    assert not send(folder, step(1, 4.0), ev.Resumed(step=1, exact=True), EVALUATED)
    assert not send(folder, step(3))
    first, second = fake.asked
    assert (first["project"], first["name"], first["config"]["name"]) == ("plots", "heron", "sums")
    assert first["id"] == second["id"] and first["resume"] == "allow"
    assert (
        fake.logged[0]["step"] == 1 and fake.logged[0]["train/loss"] == 4.0 and "train/grad_norm" not in fake.logged[0]
    )
    assert fake.logged[1] == {"step": 2, "eval/train_loss": 1.9, "eval/val_loss": 2.1}
    assert fake.finished == 2


def test_wandb_without_a_key_is_not_asked_for_one_on_the_terminal(folder: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setitem(sys.modules, "wandb", fake := FakeWandb())  # type: ignore[arg-type]
    (line,) = send(folder, step(1))
    assert "wandb login" in line and not fake.asked


def test_wandb_offline_needs_no_key_and_no_network(folder: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setitem(sys.modules, "wandb", fake := FakeWandb())  # type: ignore[arg-type]
    assert not send(folder, step(1)) and len(fake.asked) == 1


def test_nothing_is_tracked_unless_asked_for(folder: Run) -> None:
    assert not wanted_trackers(folder, Profile())
    check_trackers(TrackConfig())


@pytest.mark.parametrize("settings", [{"tensorboard": True}, {"wandb": "p"}])
def test_a_missing_package_is_told_before_anything_starts(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (name,) = settings
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(RunError, match=rf"track\.{name} needs .* pip install 'gpt-cockpit\[track\]'"):
        check_trackers(TrackConfig(**settings))


def test_a_folder_that_wandb_left_is_not_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wandb").mkdir()
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(RunError, match="needs the package wandb"):
        check_trackers(TrackConfig(wandb="p"))
