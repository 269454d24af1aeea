"""Training stands still only while its state is copied; what is written behind it is that state, durable in time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import safetensors.torch
import torch
from piloted_runs import Run, Tiny, of

from gpt import checkpoint, commands, durable, hostcopy, saver, tensorfile
from gpt import events as ev
from gpt.saver import Saver
from gpt.trainer import Trainer

PATIENCE = 30.0
"""Seconds after which a test gives up on another thread."""


class SlowDisk:
    """A disk on which each write waits until it is let through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.begun = threading.Event()
        self.at_once = self.most_at_once = 0
        self.stuck = False
        self._write = checkpoint.write
        monkeypatch.setattr(checkpoint, "write", self.write)

    def write(self, *arguments: Any) -> int:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.begun.set()
        self.stuck = not self.open.wait(PATIENCE)
        try:
            return self._write(*arguments)
        finally:
            self.at_once -= 1


@pytest.fixture
def slow_disk(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    return SlowDisk(monkeypatch)


class Desk:
    """A saver with a weight of its own, and what it says."""

    def __init__(self, parent: Path) -> None:
        self.parent = parent
        self.weight = torch.zeros(1000)
        self.events: list[ev.Event] = []
        self.saver = Saver(parent, self.events.append)

    def save(self, step: int, reason: str = "interval", *, best: bool = False, keep: int | None = 9) -> bool:
        """Sets the weight to `step` and saves it."""
        self.weight.fill_(step)
        files = {"model": {"w": self.weight}, "optimizer": {"m": -self.weight}}
        return self.saver.save(step, lambda: files, {"note": []}, keep=keep, reason=reason, best=best)

    def on_disk(self, name: str = "latest") -> float:
        return float(checkpoint.load_tensors(self.parent / name, "model")["w"].unique())

    def said(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


@pytest.fixture(autouse=True)
def no_checkpoint_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that those of a test are written behind training too, each of the very step that the test expects."""
    monkeypatch.setattr(saver, "BEHIND_FROM_BYTES", 0)
    monkeypatch.setattr(saver, "PATIENCE_SECONDS", PATIENCE)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "checkpoints")


def test_a_file_is_byte_for_byte_what_the_safetensors_library_writes(tmp_path: Path) -> None:
    kinds = [torch.float32, torch.uint8, torch.bool, torch.int64, torch.bfloat16, torch.float64, torch.float16]
    tensors = {f"{kind}".removeprefix("torch."): torch.arange(7).to(kind) for kind in (*kinds, torch.int32, torch.int8)}
    tensors |= {"scalar": torch.tensor(3.0), "empty": torch.empty(0, 4), "grid": torch.rand(3, 5), 'q"ü': torch.ones(2)}
    digest = tensorfile.write(tmp_path / "ours", tensors)
    assert (tmp_path / "ours").read_bytes() == safetensors.torch.save(tensors)
    assert digest == durable.sha256_of(tmp_path / "ours")
    back = safetensors.torch.load_file(tmp_path / "ours")
    assert all(torch.equal(back[name], tensor) and back[name].dtype == tensor.dtype for name, tensor in tensors.items())


def test_a_tensor_of_many_pieces_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorfile, "PIECE_BYTES", 1000)
    tensors = {"a": torch.rand(777), "b": torch.rand(250)}
    tensorfile.write(tmp_path / "pieces", tensors)
    assert (tmp_path / "pieces").read_bytes() == safetensors.torch.save(tensors)


def test_what_changes_after_the_save_returned_is_not_on_disk(desk: Desk, slow_disk: SlowDisk) -> None:
    document: dict[str, Any] = {"note": [1]}
    files = {"model": {"w": desk.weight}, "optimizer": {}}
    desk.saver.save(1, lambda: files, document, keep=9, reason="interval", best=False)
    desk.weight.fill_(7.0)
    document["note"].append(2)
    assert slow_disk.begun.wait(PATIENCE) and desk.saver.is_writing
    slow_disk.open.set()
    desk.saver.wait()
    assert desk.on_disk() == 0.0
    assert checkpoint.verify(desk.parent / "latest")["note"] == [1]
    (saved,) = desk.said(ev.CheckpointSaved)
    assert 0 < saved.stall_s < saved.seconds


def test_the_memory_for_the_copy_is_kept(desk: Desk) -> None:
    places = set()
    for step in (1, 2, 3):
        desk.save(step)
        desk.saver.wait()
        places.add(desk.saver._copy._room["model"]["w"].data_ptr())
        assert desk.on_disk() == step
    assert len(places) == 1


def test_two_quick_requests_wait_their_turn_and_get_the_newest_step(
    desk: Desk, slow_disk: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver, "PATIENCE_SECONDS", 0.0)
    desk.save(1)
    assert desk.saver.postpones(2, "asked") and desk.saver.postpones(3, "interval")
    assert desk.saver.overdue is None
    slow_disk.open.set()
    while desk.saver.is_writing:
        pass
    assert desk.saver.overdue == "asked"
    desk.save(4, "asked")
    assert desk.saver.overdue is None
    desk.saver.wait()
    assert [(e.step, e.reason) for e in desk.said(ev.CheckpointSaved)] == [(1, "interval"), (4, "asked")]
    assert slow_disk.most_at_once == 1 and desk.on_disk() == 4.0


def test_the_interval_of_a_step_that_is_being_written_asks_for_nothing_more(
    desk: Desk, slow_disk: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver, "PATIENCE_SECONDS", 0.0)
    desk.save(1, "best", best=True)
    assert desk.saver.postpones(1, "interval") and desk.saver.waiting is None
    slow_disk.open.set()
    desk.saver.wait()


def test_the_best_step_waits_for_the_write_before_and_keeps_its_own_weights(desk: Desk, slow_disk: SlowDisk) -> None:
    desk.save(1)
    assert slow_disk.begun.wait(PATIENCE)
    threading.Timer(0.05, slow_disk.open.set).start()
    assert not desk.saver.postpones(2, "best")
    desk.save(2, "best", best=True)
    desk.weight.fill_(9.0)
    desk.saver.wait()
    assert (desk.on_disk("best"), desk.on_disk("latest")) == (2.0, 2.0)
    assert slow_disk.most_at_once == 1 and not slow_disk.stuck


def test_links_move_only_when_all_is_durable_and_the_old_go_only_after(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            result = real(*arguments)
            order.append(" ".join([name, *(a for a in arguments if a in ("latest", "best"))]))
            return result

        return call

    for name in ("write", "point", "prune"):
        monkeypatch.setattr(checkpoint, name, noting(name, getattr(checkpoint, name)))
    monkeypatch.setattr(desk.saver, "_emit", lambda event: order.append(type(event).__name__))
    desk.save(1, "best", best=True)
    desk.saver.wait()
    assert order == ["write", "point latest", "point best", "prune", "CheckpointSaved"]


def test_the_last_checkpoint_is_durable_when_the_save_returns(desk: Desk) -> None:
    assert desk.save(5, "end")
    assert not desk.saver.is_writing and desk.on_disk() == 5.0
    (saved,) = desk.said(ev.CheckpointSaved)
    assert saved.stall_s == saved.seconds


def test_a_small_checkpoint_is_written_at_once_and_takes_no_memory(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saver, "BEHIND_FROM_BYTES", 8001)  # two tensors of 1,000 float32
    desk.save(1)
    assert not desk.saver.is_writing and desk.on_disk() == 1.0
    assert not desk.saver._copy._room and not desk.said(ev.LogLine)


def test_without_memory_for_a_copy_training_stops_for_the_write_and_that_is_said_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostcopy, "SPARE_BYTES", psutil.virtual_memory().total)
    for step in (1, 2):
        assert desk.save(step)
        assert not desk.saver.is_writing and desk.on_disk() == step
    (line,) = desk.said(ev.LogLine)
    assert "training stops while a checkpoint is written" in line.text and "MB are free" in line.text


def test_tensors_that_appear_later_get_room_of_their_own(desk: Desk) -> None:
    """Before the first step the optimizer has no state."""
    desk.save(1)
    files = {"model": {"w": torch.full((4,), 2.0)}, "optimizer": {"m": torch.ones(9), "n": torch.tensor(5.0)}}
    desk.saver.save(2, lambda: files, {}, keep=9, reason="interval", best=False)
    desk.saver.wait()
    assert checkpoint.load_tensors(desk.parent / "latest", "optimizer")["n"] == 5.0


# -- in a run ---------------------------------------------------------------------------------------------------------


def test_steps_are_taken_while_a_checkpoint_is_written(tiny: Tiny, run: Run, slow_disk: SlowDisk) -> None:
    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == 7:
            slow_disk.open.set()

    events = run(tiny(train__eval_interval=0), pilot=pilot)
    assert not slow_disk.stuck
    assert sorted({e.step for e in of(events, ev.CheckpointSaved)}) == [4, 8, 12]
    assert events.index(of(events, ev.CheckpointSaved)[0]) > events.index(of(events, ev.StepDone)[6])


def test_a_checkpoint_written_behind_training_resumes_to_the_same_bits(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    def files() -> dict[str, str]:
        return checkpoint.verify(tmp_path / "run/checkpoints/step-00000012")["files"]

    run(tiny())
    undisturbed = files()
    resumed = run(tiny(), resume="step-00000004")
    assert of(resumed, ev.Resumed)[0].exact and files() == undisturbed


def test_all_that_was_begun_is_durable_before_the_run_ends(tiny: Tiny, run: Run, slow_disk: SlowDisk) -> None:
    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == 5:
            trainer.send(commands.Stop(save=False))
            threading.Timer(0.1, slow_disk.open.set).start()

    before = threading.active_count()
    events = run(tiny(train__eval_interval=0), pilot=pilot)
    (saved,) = of(events, ev.CheckpointSaved)
    assert saved.step == 4 and not slow_disk.stuck
    assert events.index(saved) < events.index(of(events, ev.Finished)[0])
    assert threading.active_count() <= before


def test_a_stop_without_saving_still_gives_a_pilot_the_checkpoint_asked_for(
    tiny: Tiny, run: Run, slow_disk: SlowDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saver, "PATIENCE_SECONDS", 0.0)

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == 5:
            trainer.send(commands.Save())
            trainer.send(commands.Stop(save=False))
            threading.Timer(0.1, slow_disk.open.set).start()

    events = run(tiny(train__eval_interval=0), pilot=pilot)
    assert [e.step for e in of(events, ev.CheckpointSaved)] == [4, 5]
    assert isinstance(events[-2], ev.Finished)


def test_a_disk_that_refuses_behind_training_is_told_and_leaves_nothing_behind(
    tiny: Tiny, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, tensors: Any) -> str:
        if "step-00000008" in str(path) and path.name == "optimizer.safetensors":
            raise OSError(28, "No space left on device")
        return write(path, tensors)

    write = tensorfile.write
    monkeypatch.setattr(tensorfile, "write", full)
    events = run(tiny(train__eval_interval=0))
    (failed,) = of(events, ev.CheckpointFailed)
    assert failed.step == 8 and failed.error == "No space left on device; training goes on, the next try is in 5 s"
    assert {e.step for e in of(events, ev.CheckpointSaved)} == {4, 12}
    assert sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir()) == [
        "best", "latest", "step-00000004", "step-00000012",
    ]  # fmt: skip


def test_a_save_that_the_disk_refused_is_tried_again_later_and_later_until_it_succeeds(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(saver.time, "monotonic", lambda: now)
    write = checkpoint.write
    monkeypatch.setattr(checkpoint, "write", refuse := Refusal())
    pauses = []
    for step in (1, 2, 3):
        desk.save(step, "asked")
        desk.saver.wait()
        assert desk.saver.overdue is None
        pauses.append(next(pause for pause in range(1000) if _after(desk, monkeypatch, now + pause)))
        now += pauses[-1]
    assert pauses == [5, 10, 20] and refuse.calls == 3
    assert desk.said(ev.CheckpointFailed)[-1].error.endswith("; training goes on, the next try is in 20 s")
    monkeypatch.setattr(checkpoint, "write", write)
    desk.save(4, "interval")
    desk.saver.wait()
    assert (desk.saver.overdue, desk.said(ev.CheckpointSaved)[-1].reason) == (None, "asked")


def test_what_is_not_finite_is_not_tried_again_by_the_clock(desk: Desk) -> None:
    files = {"model": {"w": torch.tensor([float("nan")])}}
    assert not desk.saver.save(1, lambda: files, {}, keep=None, reason="end", best=False)
    assert desk.saver.waiting is None


class Refusal:
    """A disk without room."""

    calls = 0

    def __call__(self, *arguments: Any) -> int:
        self.calls += 1
        raise OSError(28, "No space left on device")


def _after(desk: Desk, monkeypatch: pytest.MonkeyPatch, now: float) -> bool:
    """Whether the save that was refused is due at that time."""
    monkeypatch.setattr(saver.time, "monotonic", lambda: now)
    return desk.saver.overdue is not None


def test_an_error_of_our_own_behind_training_ends_the_run(
    tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[ev.Event] = []

    def broken(parent: Path, name: str, step: int) -> None:
        raise ZeroDivisionError("no such place")

    monkeypatch.setattr(checkpoint, "point", broken)
    with pytest.raises(ZeroDivisionError):
        run(tiny(train__eval_interval=0), pilot=lambda trainer, event: said.append(event))
    assert of(said, ev.Failed)[0].error == "ZeroDivisionError: no such place"
    assert len(of(said, ev.StepDone)) < 12
