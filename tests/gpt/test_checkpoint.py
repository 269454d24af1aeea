"""Checkpoints are whole or not there; damage is recognised; what is good is never lost to what is new."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from gpt import checkpoint, durable
from gpt.errors import CheckpointError


def tensors(value: float = 1.0) -> dict[str, dict[str, torch.Tensor]]:
    return {"model": {"w": torch.full((8, 8), value)}, "optimizer": {"m": torch.full((8,), -value)}}


def test_what_is_written_is_read_back_and_verifies(tmp_path: Path) -> None:
    size = checkpoint.write(tmp_path, 7, tensors(2.0), {"tokens": 5})
    path, state, complaints = checkpoint.newest(tmp_path)
    assert (path.name, state["step"], state["tokens"], complaints) == ("step-00000007", 7, 5, [])
    assert size == sum(file.stat().st_size for file in path.iterdir())
    assert torch.equal(checkpoint.load_tensors(path, "model")["w"], torch.full((8, 8), 2.0))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_one_flipped_bit_anywhere_is_refused_and_the_one_before_is_used(tmp_path: Path, name: str) -> None:
    checkpoint.write(tmp_path, 1, tensors(), {})
    checkpoint.write(tmp_path, 2, tensors(), {})
    victim = tmp_path / "step-00000002" / name
    whole = victim.read_bytes()
    generator = random.Random(0)
    for _ in range(60):
        place = generator.randrange(len(whole))
        victim.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << generator.randrange(8)]) + whole[place + 1 :])
        path, _, complaints = checkpoint.newest(tmp_path)
        assert path.name == "step-00000001"
        assert len(complaints) == 1 and "step-00000002" in complaints[0]


@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, damage: str) -> None:
    checkpoint.write(tmp_path, 1, tensors(), {})
    victim = tmp_path / "step-00000001" / "model.safetensors"
    if damage == "missing":
        victim.unlink()
    else:
        victim.write_bytes(victim.read_bytes()[:-3] if damage == "cut" else b"")
    with pytest.raises(CheckpointError, match=r"model\.safetensors") as error:
        checkpoint.newest(tmp_path)
    assert "\n" not in str(error.value)


def test_no_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="start without --resume"):
        checkpoint.newest(tmp_path / "nothing")


def test_a_failed_write_leaves_the_earlier_ones_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint.write(tmp_path, 1, tensors(), {})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        checkpoint.write(tmp_path, 2, tensors(), {})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_writing_a_step_again_replaces_it_whole(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, 1, tensors(1.0), {})
    checkpoint.write(tmp_path, 1, tensors(3.0), {})
    assert checkpoint.load_tensors(checkpoint.newest(tmp_path)[0], "model")["w"][0, 0] == 3.0
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_prune_keeps_the_newest_and_what_latest_and_best_lead_to(tmp_path: Path) -> None:
    for step in range(1, 7):
        checkpoint.write(tmp_path, step, tensors(), {})
    checkpoint.point(tmp_path, "latest", 6)
    checkpoint.point(tmp_path, "best", 2)
    checkpoint.prune(tmp_path, 2)
    assert [path.name for path in checkpoint.list_newest_first(tmp_path)] == [
        "step-00000006", "step-00000005", "step-00000002",
    ]  # fmt: skip


def test_prune_removes_drafts_of_dead_savers_only(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, 1, tensors(), {})
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / f".step-00000002.{dead.pid}.tmp").mkdir()
    (tmp_path / f".step-00000002.{os.getppid()}.tmp").mkdir()
    checkpoint.prune(tmp_path, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".step-00000002.{os.getppid()}.tmp", "step-00000001"]


def test_prune_removes_what_this_process_left_itself_and_links_on_their_way(tmp_path: Path) -> None:
    """A container gives every process the same number: its own drafts are those of a run that was killed."""
    checkpoint.write(tmp_path, 1, tensors(), {})
    (tmp_path / f".step-00000002.{os.getpid()}.tmp").mkdir()
    (tmp_path / f".latest.{os.getpid()}.tmp").symlink_to("step-00000001")
    checkpoint.prune(tmp_path, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_checkpoint_whose_replacement_was_killed_has_its_place_again_and_goes_in_its_turn(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, 1, tensors(), {})
    checkpoint.point(tmp_path, "best", 1)
    (tmp_path / "step-00000001").rename(tmp_path / "step-00000001.replaced")
    for step in (2, 3):
        checkpoint.write(tmp_path, step, tensors(), {})
        checkpoint.prune(tmp_path, 1)
    assert checkpoint.verify(tmp_path / "best")["step"] == 1
    checkpoint.point(tmp_path, "best", 3)
    checkpoint.prune(tmp_path, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "step-00000003"]


def test_the_names_of_new_folders_are_durable_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    sync = durable.sync_folder
    monkeypatch.setattr(durable, "sync_folder", lambda folder: (synced.append(folder), sync(folder)))
    checkpoint.write(tmp_path / "run" / "checkpoints", 1, tensors(), {})
    assert {tmp_path, tmp_path / "run", tmp_path / "run" / "checkpoints"} <= set(synced)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no reservation on this system")
def test_a_disk_that_is_too_full_refuses_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        asked.append(size)
        if len(asked) == 2:
            raise OSError(28, "No space left on device")

    asked: list[int] = []
    checkpoint.write(tmp_path, 1, tensors(), {})
    sizes = [(tmp_path / "step-00000001" / f"{name}.safetensors").stat().st_size for name in ("model", "optimizer")]
    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(os, "write", lambda *arguments: pytest.fail("written before all of it was reserved"))
    with pytest.raises(OSError, match="No space"):
        checkpoint.write(tmp_path, 2, tensors(), {})
    assert asked == sizes
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


def test_a_file_system_without_reservation_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unknown, raising=False)
    checkpoint.write(tmp_path, 1, tensors(), {})
    assert checkpoint.newest(tmp_path)[1]["step"] == 1


_SAVER = """
import sys, torch
from pathlib import Path
from gpt import checkpoint
parent, step = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
while True:
    step += 1
    value = torch.full((200_000,), float(step))
    checkpoint.write(parent, step, {"model": {"w": value}, "optimizer": {"m": value}}, {})
    checkpoint.point(parent, "latest", step)
    checkpoint.prune(parent, 3)
    print(step, flush=True)
"""


def test_a_kill_at_any_instant_loses_no_acknowledged_checkpoint(tmp_path: Path) -> None:
    """SIGKILL at random instants; each time the newest that verifies is at least the last one acknowledged."""
    generator, acknowledged = random.Random(1), 0
    for _ in range(8):
        saver = subprocess.Popen(
            [sys.executable, "-c", _SAVER, str(tmp_path), str(acknowledged)],
            stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert saver.stdout and saver.stdout.readline() == "ready\n"
        time.sleep(generator.uniform(0.0, 0.3))
        saver.send_signal(signal.SIGKILL)
        said = saver.stdout.read().split()
        saver.wait()
        acknowledged = int(said[-1]) if said else acknowledged
        if acknowledged or checkpoint.list_newest_first(tmp_path):
            path, state, _ = checkpoint.newest(tmp_path)
            assert state["step"] >= acknowledged
            assert (checkpoint.load_tensors(path, "model")["w"] == state["step"]).all()
            acknowledged = state["step"]
    assert acknowledged > 0


def test_shape_differences_are_told_field_by_field() -> None:
    saved = {"n_layer": 6, "n_embd": 384, "vocab_size": 65}
    assert checkpoint.shape_difference(saved, {"n_layer": 6, "n_embd": 768}) == "n_embd 384 there, 768 here"
    assert checkpoint.shape_difference(saved, saved) is None


def test_a_state_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    checkpoint.write(tmp_path, 1, tensors(), {})
    path = tmp_path / "step-00000001/state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(CheckpointError, match="format 2"):
        checkpoint.read_state(path.parent)
