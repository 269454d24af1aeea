"""Four ranks on the CPU, over gloo: two groups of two that share weights, and checkpoints that two ranks go on with."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from piloted_runs import said

from gpt import events as ev
from gpt.config import decode
from gpt.errors import ProfileError
from gpt.ranks import check_share
from gpt.trainer import Trainer
from tests.tiny_runs import sums

ROOT = Path(__file__).parent.parent.parent
STEPS = 12
TOLERANCE = 1e-5  # nats/token: sums over ranks are formed in another order


def tree(folder: Path) -> dict[str, Any]:
    return {
        "name": "tiny",
        "model": {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 16},
        "data": {"input": str(folder / "sums.txt")},
        "train": {"max_steps": STEPS, "micro_batch_size": 2, "grad_accum_steps": 4, "eval_interval": 0, "eval_steps": 2,
                  "log_interval": 4, "device": "cpu", "threads": 1},
        "optim": {"learning_rate": 1e-3, "warmup_steps": 2, "grad_clip": 0.5},
        "checkpoint": {"interval": 6, "keep": 10, "best": False},
        "device": {"peak_tflops": 1.0},
    }  # fmt: skip


def together(folder: Path, size: int, *runs: tuple[str, dict[str, Any], str]) -> None:
    """Trains some runs one after the other, each on `size` ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    words = [word for name, settings, checkpoint in runs for word in (name, json.dumps(settings), checkpoint)]
    common = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "WORLD_SIZE": str(size), "MASTER_PORT": port}
    ranks = [
        subprocess.Popen(
            [sys.executable, str(ROOT / "tests/gpt/four_ranks.py"), str(folder), *words], stderr=subprocess.PIPE,
            text=True, env=os.environ | common | {"MASTER_ADDR": "127.0.0.1", "RANK": str(rank)},
        )
        for rank in range(size)
    ]  # fmt: skip
    try:
        complaints = [process.communicate(timeout=120)[1] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [0] * size, "".join(complaints)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which one rank, four, and then two from a checkpoint of the four have trained."""
    folder = tmp_path_factory.mktemp("four")
    (folder / "sums.txt").write_text(sums())
    (folder / "profile.json").write_bytes(msgspec.json.encode(tree(folder)))
    (folder / "one").mkdir()
    events: list[ev.Event] = []
    Trainer(decode(tree(folder)), folder / "one", events.append).run()
    (folder / "one/events.jsonl").write_bytes(b"".join(map(ev.encode, events)))
    hybrid = {"train.parallel": "hsdp", "train.shard_ranks": 2}
    together(folder, 4, ("hsdp", hybrid, "-"), ("ddp", {"train.parallel": "ddp"}, "-"))
    there, apart = "hsdp/checkpoints/step-00000006", {**hybrid, "train.shard_ranks": 1}
    together(folder, 2, ("two", {"train.parallel": "fsdp"}, there), ("apart", apart, there))
    return folder


def figures(folder: Path) -> dict[int, tuple[float, float]]:
    return {event.step: (event.loss, event.grad_norm) for event in said(folder, ev.StepDone)}


@pytest.mark.parametrize("way", ["hsdp", "ddp"])
def test_four_ranks_take_the_steps_of_one(runs: Path, way: str) -> None:
    """Loss and gradient norm, so the sequences, their mean and the clipping are the same."""
    one, four = figures(runs / "one"), figures(runs / way)
    assert list(four) == list(range(1, STEPS + 1))
    assert [four[step] for step in one] == [pytest.approx(each, abs=TOLERANCE) for each in one.values()]


def test_groups_are_named_and_their_ranks_told_together(runs: Path) -> None:
    assert "(hsdp 2×2)" in said(runs / "hsdp", ev.RunStarted)[0].device
    assert [(event.step, event.ranks) for event in said(runs / "hsdp", ev.RanksTimed)] == [(4, 4), (8, 4), (12, 4)]
    assert all(event.own_ms is None for event in said(runs / "hsdp", ev.RanksTimed))
    alike = said(runs / "ddp", ev.RanksTimed)
    assert len(alike) == 3 and all(event.own_ms and event.own_ms.greatest < event.ms.greatest for event in alike)


@pytest.mark.parametrize(("name", "then"), [("two", "fsdp"), ("apart", "hsdp 2×1")])
def test_a_checkpoint_of_four_ranks_goes_on_with_two(runs: Path, name: str, then: str) -> None:
    one, two = figures(runs / "one"), figures(runs / name)
    assert list(two) == list(range(7, STEPS + 1))
    assert [one[step] for step in two] == [pytest.approx(each, abs=TOLERANCE) for each in two.values()]
    resumed = said(runs / name, ev.Resumed)[0]
    assert not resumed.exact and "ranks 4 → 2" in resumed.why and f"parallel hsdp 2×2 → {then}" in resumed.why


def test_a_checkpoint_of_four_ranks_goes_on_with_one(runs: Path, tmp_path: Path) -> None:
    events: list[Any] = []
    Trainer(decode(tree(runs)), tmp_path, events.append, resume=runs / "hsdp/checkpoints/step-00000006").run()
    then = {event.step: event.loss for event in events if isinstance(event, ev.StepDone)}
    one = figures(runs / "one")
    assert list(then) == list(range(7, STEPS + 1))
    assert list(then.values()) == [pytest.approx(one[step][0], abs=TOLERANCE) for step in then]


def test_groups_that_do_not_come_out_even_are_refused_with_those_that_do(tmp_path: Path) -> None:
    settings = tree(tmp_path)
    settings["train"] |= {"parallel": "hsdp", "shard_ranks": 3, "grad_accum_steps": 8}
    check_share(decode(settings), 1)
    with pytest.raises(ProfileError, match=r"8 ranks do not make groups of train.shard_ranks 3; it can be 1, 2, 4, 8"):
        check_share(decode(settings), 8)
