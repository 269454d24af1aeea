"""`--nproc`: ranks that are started anew when one of them dies, and end as if nothing had happened.

Real processes, two ranks on the CPU over gloo.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from cockpit import launched
from cockpit.launched import Launch
from cockpit.runs import Run
from gpt import events as ev
from gpt.errors import RunError
from tests.patching import patched
from tests.tiny_runs import sums

STEPS = 60
PROFILE = f"""
[model]
n_layer = 2
n_head = 2
n_embd = 32
block_size = 16
[data]
input = "sums.txt"
[train]
max_steps = {STEPS}
grad_accum_steps = 2
eval_interval = 0
log_interval = 10
device = "cpu"
threads = 1
[checkpoint]
interval = 20
best = false
[device]
peak_tflops = 1.0
"""
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1", "-m", "--")


HELD = """
import pathlib, time
def held(real):
    def call(step, *rest):
        while step >= 40 and pathlib.Path("hold").exists(): time.sleep(0.01)
        return real(step, *rest)
    return call
learning_rate = held(learning_rate)
"""
"""Holds the ranks before step 40 for as long as there is a file `hold`."""


class Ended(NamedTuple):
    code: int
    printed: str
    run: Run

    def said(self, kind: type) -> list[Any]:
        return [event for event in self.run.read_events() if isinstance(event, kind)]

    def weights(self, step: int = STEPS) -> dict[str, str]:
        """Hashes of the files of a checkpoint."""
        return json.loads((self.run.checkpoints_path / f"step-{step:08d}/state.json").read_bytes())["files"]


def train(folder: Path, name: str, *words: str, python: Sequence[str] = ("-m",), on: str = "", do: Any = None) -> Ended:
    """Runs the program to its end; at the first printed line that holds `on`, calls `do` with its process, which waits
    for that."""
    command = [sys.executable, *python, "cockpit", "pair.toml", "--headless", "--run", name, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | patched(folder, {"gpt.trainer": HELD})
    hold = folder / "hold"
    if do:
        hold.touch()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    hung = threading.Timer(100, process.kill)
    hung.start()
    assert process.stdout is not None
    printed = ""
    try:
        for line in process.stdout:
            printed += line
            if do and on in line:
                do, _ = None, do(process)
                hold.unlink()
        code = process.wait()
    finally:
        hung.cancel()
        process.kill()
        hold.unlink(missing_ok=True)
    return Ended(code, printed, Run(folder / "runs" / name))


def kill_rank(rank: int) -> Callable[[subprocess.Popen[str]], None]:
    def kill(process: subprocess.Popen[str]) -> None:
        child = next(c for c in psutil.Process(process.pid).children() if c.environ().get("RANK") == str(rank))
        child.send_signal(signal.SIGKILL)

    return kill


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elastic")
    (folder / "sums.txt").write_text(sums())
    (folder / "pair.toml").write_text(PROFILE)
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path) -> Ended:
    """Two ranks that nobody disturbed; while they train, the run is held by them."""
    refusals: list[str] = []

    def try_to_take(process: subprocess.Popen[str]) -> None:
        for launching in (False, True):
            with pytest.raises(RunError) as refusal, Run(folder / "runs/whole").lock(launching=launching):
                pass
            refusals.append(str(refusal.value))

    ended = train(folder, "whole", "--nproc", "2", on=" 10/60", do=try_to_take)
    assert len(refusals) == 2 and all("in use by process" in refusal for refusal in refusals), ended.printed
    return ended


def test_two_ranks_train_to_the_end_and_one_speaks(whole: Ended) -> None:
    assert whole.code == 0 and "all steps done: step 60 of 60" in whole.printed
    assert whole.printed.count("run    whole") == whole.printed.count(" 60/60  loss") == 1
    assert [(event.step, event.ranks) for event in whole.said(ev.RanksTimed)] == [
        (step, 2) for step in range(10, STEPS + 1, 10)
    ]
    assert (whole.run.path / "console-rank1.log").read_text() == ""
    assert not whole.run.in_use


def test_a_killed_rank_is_named_and_all_end_with_the_weights_of_an_undisturbed_run(whole: Ended, folder: Path) -> None:
    ended = train(folder, "killed", "--nproc", "2", on=" 30/60", do=kill_rank(1))
    assert ended.code == 0, ended.printed
    restarts = ended.said(ev.RanksRestarted)
    assert [(event.restart, event.most, event.rank, event.how) for event in restarts] == [(1, 3, 1, "signal SIGKILL")]
    assert restarts[0].step >= 20 and f"from the checkpoint of step {restarts[0].step}" in ended.printed
    assert [event.step for event in ended.said(ev.Resumed)] == [restarts[0].step]
    assert ended.said(ev.Resumed)[0].exact
    assert ended.weights() == whole.weights()


def test_a_rank_that_is_killed_once_too_often_is_named_where_the_screens_look_too(folder: Path) -> None:
    ended = train(folder, "spent", "--nproc", "2", "--max-restarts", "0", on=" 30/60", do=kill_rank(1))
    said = "rank 1 ended by signal SIGKILL; 0 restarts were allowed; --resume goes on"
    assert ended.code == 1 and f"gpt-cockpit: {said}" in ended.printed and "our error" not in ended.printed
    assert ended.said(ev.LogLine)[-1].text == said
    assert ended.run.resume_command().endswith(" --nproc 2 --resume")


def test_under_torchrun_the_first_rank_may_die_and_the_same_run_goes_on(whole: Ended, folder: Path) -> None:
    """A killed first rank saves nothing: it goes on from the newest checkpoint of its own."""
    ended = train(folder, "torchrun", python=TORCHRUN, on=" 30/60", do=kill_rank(0))
    assert ended.code == 0, ended.printed
    assert [(e.restart, e.most, e.rank, e.step) for e in ended.said(ev.RanksRestarted)] == [(1, 1, None, 20)]
    assert ended.weights() == whole.weights()


def test_what_a_user_has_to_mend_is_not_tried_again_and_leaves_no_run(folder: Path) -> None:
    ended = train(folder, "broken", "--nproc", "2", "--set", 'train.device="mps"')
    assert ended.code == 2 and ended.printed.count("is one device and there are 2 ranks") >= 1, ended.printed
    assert "restart" not in ended.printed
    assert not ended.run.path.exists()


def test_a_launcher_that_is_told_to_stop_waits_for_the_checkpoint(folder: Path) -> None:
    never = ("--set", "checkpoint.interval=0")  # of a step that is saved already the stop would save nothing more
    ended = train(
        folder, "stopped", "--nproc", "2", "--set", "train.max_steps=100000", *never, on=" 10/100,000",
        do=lambda process: process.send_signal(signal.SIGTERM),
    )  # fmt: skip
    assert ended.code == 128 + signal.SIGTERM and "stopped and saved" in ended.printed
    assert [event.reason for event in ended.said(ev.CheckpointSaved)] == ["stop"]
    assert not ended.said(ev.RanksRestarted)


def test_a_process_that_nobody_launched_has_no_run_waiting(tmp_path: Path) -> None:
    assert launched.read({"RANK": "0"}) == Launch()
    assert Launch().run(tmp_path, "mine") is None and Launch().restarted(3) is None
    assert Launch().facts(3) == {"nproc": 1}, "what a launcher's ranks had said is over"


def test_after_a_restart_torchruns_ranks_find_the_run_that_they_began(tmp_path: Path) -> None:
    for name, launch in (("a", "one"), ("b", "two"), ("c", None)):
        Run.create(tmp_path, name, "pair").write_facts({"launch": launch, "launched_from": 0})
    again = launched.read({"TORCHELASTIC_RUN_ID": "one", "TORCHELASTIC_RESTART_COUNT": "1"})
    found = again.run(tmp_path, None)
    assert found is not None and found.name == "a"
    assert launched.read({"TORCHELASTIC_RUN_ID": "one", "TORCHELASTIC_RESTART_COUNT": "0"}).run(tmp_path, None) is None


def test_settings_changed_since_the_first_start_outlast_what_its_command_line_asked_for() -> None:
    again, facts = Launch(id="one", restart=1), {"launch": "one", "launched_from": 40}
    assert again.has_saved(facts, 60)
    assert not again.has_saved(facts, 40), "nothing saved yet: the command line still holds"
    assert not again.has_saved({"launch": "other", "launched_from": 0}, 60)
