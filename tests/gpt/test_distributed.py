"""Several ranks train what one would: the same losses, checkpoints that fit any number, one voice, no hang.

Two processes on the CPU, over gloo. What NCCL and several GPUs do is not tested here.
"""

from __future__ import annotations

import collections
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import torch
from piloted_runs import said

from gpt import events as ev
from gpt.commands import AnyCommand, Pause, Stop
from gpt.config import Profile, decode
from gpt.distributed import DataParallel, ShardedRanks
from gpt.errors import DeviceError, ProfileError, RunError
from gpt.ranks import ALONE, Ranks, check_share
from gpt.trainer import Trainer
from tests.tiny_runs import sums

ROOT = Path(__file__).parent.parent.parent
WAYS = ["ddp", "fsdp"]
TOLERANCE = 1e-5  # nats/token: sums over ranks are formed in another order


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | more


def tree(folder: Path) -> dict[str, Any]:
    return {
        "name": "tiny",
        "model": {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 16},
        "data": {"input": str(folder / "sums.txt")},
        "train": {"max_steps": 50, "micro_batch_size": 2, "grad_accum_steps": 4, "eval_interval": 20, "eval_steps": 3,
                  "device": "cpu", "threads": 1},
        "optim": {"learning_rate": 1e-3, "warmup_steps": 2, "grad_clip": 0.5},
        "checkpoint": {"interval": 25, "keep": 10, "best": False},
        "sample": {"prompts": ["1 + "], "interval": 20, "max_new_tokens": 8},
        "device": {"peak_tflops": 1.0},
    }  # fmt: skip


def losses(events: list[Any]) -> dict[int, tuple[float, float]]:
    return {event.step: (event.loss, event.grad_norm) for event in events}


def alone(profile: Profile, folder: Path, resume: Path | None = None) -> list[ev.Event]:
    folder.mkdir()
    events: list[ev.Event] = []
    Trainer(profile, folder, events.append, resume=resume).run()
    return events


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which one rank (`one`) and then two have trained; see several_ranks.py."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "sums.txt").write_text(sums())
    (folder / "profile.json").write_bytes(msgspec.json.encode(tree(folder)))
    events = alone(decode(tree(folder)), folder / "one")
    (folder / "one/events.jsonl").write_bytes(b"".join(map(ev.encode, events)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    pair = [
        subprocess.Popen(
            [sys.executable, str(ROOT / "tests/gpt/several_ranks.py"), str(folder)], stderr=subprocess.PIPE, text=True,
            env=environment(RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=port),
        )
        for rank in range(2)
    ]  # fmt: skip
    try:
        complaints = [process.communicate(timeout=120)[1] for process in pair]
    finally:
        for process in pair:
            process.kill()
    assert (folder / "lost/events.jsonl").exists(), "".join(complaints)
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_two_ranks_take_the_steps_of_one(runs: Path, way: str) -> None:
    """Loss and gradient norm of each of 50 steps, so the sequences, their mean and the clipping are the same."""
    one, two = losses(said(runs / "one", ev.StepDone)), losses(said(runs / way, ev.StepDone))
    assert list(two) == list(range(1, 51))
    assert [two[step] for step in one] == [pytest.approx(figures, abs=TOLERANCE) for figures in one.values()]
    assert [step.tokens for step in said(runs / way, ev.StepDone)] == [step * 8 * 16 for step in one]


@pytest.mark.parametrize("way", WAYS)
def test_two_ranks_evaluate_and_sample_as_one(runs: Path, way: str) -> None:
    """Three batches on two ranks: the one left over counts once."""
    one, two = said(runs / "one", ev.EvalDone), said(runs / way, ev.EvalDone)
    assert [event.step for event in two] == [event.step for event in one] == [0, 20, 40, 50]
    for a, b in zip(one, two, strict=True):
        assert (b.train_loss, b.val_loss, b.val_stderr) == pytest.approx(
            (a.train_loss, a.val_loss, a.val_stderr), abs=TOLERANCE
        )
    texts = [[event.text for event in said(runs / name, ev.SampleDone)] for name in ("one", way)]
    assert texts[0] == texts[1] and len(texts[0]) == 4


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_of_one_rank_goes_on_with_two(runs: Path, way: str) -> None:
    one, two = losses(said(runs / "one", ev.StepDone)), losses(said(runs / f"{way}-from-one", ev.StepDone))
    schedule = {step: one[step] for step in two}
    assert list(two) == [26, 27, 28, 29, 30]
    assert two[26] == pytest.approx(schedule[26], abs=TOLERANCE)
    resumed = said(runs / f"{way}-from-one", ev.Resumed)[0]
    assert not resumed.exact and "ranks 1 → 2" in resumed.why


@pytest.mark.parametrize("way", WAYS)
def test_a_checkpoint_of_two_ranks_goes_on_with_one(runs: Path, way: str, tmp_path: Path) -> None:
    checkpoint = runs / way / "checkpoints/step-00000025"
    assert json.loads((checkpoint / "state.json").read_text())["environment"]["ranks"] == 2
    events = alone(decode(tree(runs)), tmp_path / "run", checkpoint)
    one, then = losses(said(runs / "one", ev.StepDone)), losses([e for e in events if isinstance(e, ev.StepDone)])
    assert list(then) == list(range(26, 51))
    assert [one[step] for step in then] == [pytest.approx(figures, abs=TOLERANCE) for figures in then.values()]
    resumed = next(e for e in events if isinstance(e, ev.Resumed))
    assert not resumed.exact and "ranks 2 → 1" in resumed.why


@pytest.mark.parametrize("way", WAYS)
def test_two_ranks_go_on_bit_for_bit_dropout_included(runs: Path, way: str) -> None:
    assert said(runs / f"{way}-wet-resumed", ev.Resumed)[0].exact
    ends = [runs / f"{way}-wet{name}/checkpoints/step-00000008/state.json" for name in ("", "-resumed")]
    files = [json.loads(end.read_text())["files"] for end in ends]
    assert files[0] == files[1]


def test_ranks_drop_out_apart(runs: Path) -> None:
    ends = {rank: json.loads((runs / f"ddp-wet/end-{rank}.json").read_text()) for rank in range(2)}
    assert ends[0][:3] == ends[1][:3]
    assert ends[0][3] != ends[1][3], "what comes next out of the generators"
    assert ends[1] == json.loads((runs / "ddp-wet-resumed/end-1.json").read_text())
    wet, dry = said(runs / "ddp-wet", ev.StepDone)[0].loss, said(runs / "ddp", ev.StepDone)[0].loss
    assert wet != pytest.approx(dry, abs=1e-4)
    assert wet == pytest.approx(said(runs / "fsdp-wet", ev.StepDone)[0].loss, abs=TOLERANCE)


def test_what_the_first_rank_is_told_reaches_all_at_the_same_step(runs: Path) -> None:
    first, second = (json.loads((runs / f"steered/end-{rank}.json").read_text()) for rank in range(2))
    assert first[:2] == second[:2] == [6, 5e-4]
    assert [event.step for event in said(runs / "steered", ev.Paused)] == [3]
    assert {event.step for event in said(runs / "steered", ev.EvalDone)} == {0, 3}
    assert [event.reason for event in said(runs / "steered", ev.CheckpointSaved)] == ["stop"]


def test_every_command_is_obeyed_by_all_ranks_at_the_same_step(runs: Path) -> None:
    """Both ranks took the same steps on the same data with the same length of run, back to step 2 and on again."""
    stood = [json.loads((runs / f"ordered/stood-{rank}.json").read_text()) for rank in range(2)]
    assert stood[0] == stood[1]
    assert [step for step, _, _ in stood[0]] == [*range(8), *range(2, 15)]
    assert {length for _, _, length in stood[0]} == {20, 30, 15}
    first, second = (json.loads((runs / f"ordered/end-{rank}.json").read_text()) for rank in range(2))
    assert first[:3] == second[:3] and first[0] == 15
    taken_up = {event.command for event in said(runs / "ordered", ev.CommandReceived)}
    assert taken_up == {command for command in all_commands() if command not in ("Stop",)}
    assert "no range test" in " ".join(event.text for event in said(runs / "ordered", ev.LogLine))


def all_commands() -> set[str]:
    return {kind.__name__ for kind in get_args(AnyCommand)}


def test_ranks_that_stand_to_ask_wait_for_the_one_that_has_a_pilot(runs: Path) -> None:
    """Nobody watches the second rank; it must not end the run for that."""
    assert said(runs / "asked", ev.Paused) and said(runs / "asked", ev.Continued)
    ends = [json.loads((runs / f"asked/end-{rank}.json").read_text()) for rank in range(2)]
    assert ends[0][:3] == ends[1][:3] and ends[0][0] == 16


@pytest.mark.parametrize("way", WAYS)
def test_a_gradient_spoilt_on_one_rank_is_left_out_by_all_and_they_rewind_together(runs: Path, way: str) -> None:
    """Steps 11 and 12 are spoilt on the second rank alone; its loss, and the first rank's gradient, are sound."""
    folder = runs / f"{way}-spoilt"
    assert [(e.step, e.kind, e.action) for e in said(folder, ev.SpikeDetected)] == [
        (11, "not finite", "skipped"), (12, "not finite", "rewind"),
    ]  # fmt: skip
    steps = said(folder, ev.StepDone)
    assert [step.step for step in steps if not step.applied] == [11, 12]
    assert all(step.loss is not None for step in steps) and all(step.grad_norm for step in steps[-8:])
    resumed = said(folder, ev.Resumed)
    assert [e.step for e in resumed] == [8] and "rewound from step 12" in resumed[0].why
    taken = [json.loads((folder / f"taken-{rank}.json").read_text()) for rank in range(2)]
    expected = [[step, 8 * step, int(step == 11)] for step in range(12)]
    expected += [[step, 8 * (step + 4), 0] for step in range(8, 16)]  # on other data than before
    assert taken == [expected, expected]
    first, second = (json.loads((folder / f"end-{rank}.json").read_text()) for rank in range(2))
    assert first[:2] == second[:2] == [16, 5e-4]
    assert way == "fsdp" or first[2] == second[2], "the weights of both"


def test_ranks_that_cannot_share_a_step_fail_alike(runs: Path) -> None:
    texts = [(runs / f"odd/failure-{rank}.txt").read_text() for rank in range(2)]
    assert "the nearest are 2 and 4" in texts[0] and texts[1] == f"rank 1: {texts[0]}"


def test_a_rank_that_fails_is_named_and_the_last_whole_step_is_saved(runs: Path) -> None:
    assert (runs / "lost/failure-1.txt").read_text() == "rank 1: train.bin has become shorter"
    assert "rank 0 lost another rank" in (runs / "lost/failure-0.txt").read_text()
    assert (runs / "lost/checkpoints/latest").resolve().name == "step-00000005"
    one = losses(said(runs / "one", ev.StepDone))
    assert list(losses(said(runs / "lost", ev.StepDone))) == list(one)[:5]


def test_torchrun_stops_all_ranks_at_one_step_and_saves_once(tmp_path: Path) -> None:
    (tmp_path / "sums.txt").write_text(sums())
    profile = tmp_path / "pair.toml"
    profile.write_text(
        '[model]\nn_layer = 2\nn_head = 2\nn_embd = 32\nblock_size = 16\n[data]\ninput = "sums.txt"\n[train]\n'
        'max_steps = 100000\ngrad_accum_steps = 2\neval_interval = 0\nlog_interval = 1\ndevice = "cpu"\nthreads = 1\n'
        "[device]\npeak_tflops = 1.0\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    command = [*torchrun, "cockpit", "pair.toml", "--headless", "--run", "pair"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    hung = threading.Timer(100, process.kill)
    hung.start()
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if " 4/100,000" in line:
            process.send_signal(signal.SIGTERM)
    complaints = process.communicate()[1]
    hung.cancel()
    folder = tmp_path / "runs/pair"
    assert "stopped and saved" in printed, complaints
    assert printed.count(" 4/100,000") == printed.count("run    pair") == 1  # one rank speaks
    saved = said(folder, ev.CheckpointSaved)
    assert [event.reason for event in saved] == ["stop"]
    assert said(folder, ev.Finished)[0].step == saved[0].step == said(folder, ev.StepDone)[-1].step
    assert (folder / "console-rank1.log").read_text() == ""


@pytest.mark.parametrize(
    ("settings", "size", "nearest"),
    [({"grad_accum_steps": 1}, 2, "are 2"), ({"grad_accum_steps": 6}, 4, "are 4 and 8"),
     ({"grad_accum_steps": None, "tokens_per_step": 160}, 2, "are 128 and 192")],
)  # fmt: skip
def test_a_step_that_ranks_cannot_share_names_the_nearest(
    tmp_path: Path, settings: dict[str, Any], size: int, nearest: str
) -> None:
    profile = tree(tmp_path)
    profile["train"] |= settings
    with pytest.raises(ProfileError, match=nearest):
        check_share(decode(profile), size)


def test_sharded_ranks_refuse_muon(tmp_path: Path) -> None:
    profile = tree(tmp_path)
    profile["optim"]["name"], profile["train"]["parallel"] = "muon", "fsdp"
    check_share(decode(profile), 1)
    with pytest.raises(ProfileError, match="needs whole matrices"):
        check_share(decode(profile), 2)


def test_jobs_are_shared_evenly_and_each_counts_once() -> None:
    class Third(Ranks):
        def __init__(self, rank: int) -> None:
            self.rank, self.size = rank, 3

    turns = [list(Third(rank).turns(7)) for rank in range(3)]
    assert [len(turn) for turn in turns] == [3, 3, 3]
    assert sorted(number for turn in turns for number, counts in turn if counts) == list(range(7))


def test_alone_a_command_that_comes_while_others_are_obeyed_is_obeyed_too() -> None:
    inbox = collections.deque([Pause(), Stop()])
    assert ALONE.exchange(inbox) is inbox


def rank_of_two(kind: type[Any], number: int) -> Any:
    """A rank that has met nobody."""
    ranks = object.__new__(kind)
    ranks.rank = ranks._local_rank = number
    ranks.size = ranks.local_size = 2
    return ranks


def test_each_rank_takes_a_card_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (rank_of_two(DataParallel, number) for number in range(2))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [ranks.device("auto") for ranks in (first, second)] == ["cuda:0", "cuda:1"]
    assert second.device("cpu") == "cpu"
    with pytest.raises(DeviceError, match="one device and there are 2 ranks"):
        first.device("cuda:0")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match="use --nproc-per-node 1"):
        second.device("cuda")


def test_sharded_ranks_refuse_float16() -> None:
    rank_of_two(ShardedRanks, 0).check_precision("bfloat16")
    with pytest.raises(DeviceError, match="use ddp or bfloat16"):
        rank_of_two(ShardedRanks, 0).check_precision("float16")


def test_several_ranks_need_headless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cockpit import session
    from cockpit.profile import load

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    loaded = load(ROOT / "profiles/demo.toml")
    with pytest.raises(RunError, match="add --headless"):
        session.run(loaded, run_name=None, runs_dir=tmp_path, resume=False, headless=False)
    assert not any(tmp_path.iterdir())
