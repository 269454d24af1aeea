"""The README's Slurm job, run by a real shell with a Slurm that is made up: it requeues itself until all is done."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

from harness import ROOT

from cockpit.runs import Run
from gpt import events as ev
from tests.patience import PATIENCE

JOB_SECONDS = 3 * PATIENCE
"""Seconds to wait for a job: the program starts, trains and ends in it, and waits for its turn at each."""


def script(desk: Path) -> str:
    """The job's text, of a profile that is here."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(#!/bin/bash\n.*?)```", text, re.DOTALL)
    (job,) = [block for block in blocks if "scontrol requeue" in block]
    assert len(job.splitlines()) < 10
    return job.replace("fineweb_124m", "sums.toml --set train.max_steps=600")


def commands(desk: Path) -> dict[str, str]:
    """An environment with `srun`, `scontrol` and the program in it."""
    (desk / "bin").mkdir()
    for name, body in (
        ("srun", 'exec "$@"'), ("scontrol", 'echo "$@" >> requeued'),
        ("gpt-cockpit", f'exec {sys.executable} -m cockpit "$@"'),
    ):  # fmt: skip
        path = desk / "bin" / name
        path.write_text(f"#!/bin/sh\n{body}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    path = f"{desk / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "SLURM_JOB_ID": "17"}


def test_the_job_saves_at_slurms_warning_requeues_itself_and_ends_when_all_is_done(desk: Path) -> None:
    (desk / "job.sh").write_text(script(desk))
    env, run = commands(desk), Run(desk / "runs" / "mine")
    first = subprocess.Popen(["bash", "job.sh"], cwd=desk, env=env, stderr=subprocess.PIPE, text=True)
    try:
        end = time.monotonic() + PATIENCE
        while not run.has_step():
            assert time.monotonic() < end and first.poll() is None
            time.sleep(0.05)
        os.kill(int((run.path / "lock").read_text().split()[0]), signal.SIGUSR1)
        _, said = first.communicate(timeout=JOB_SECONDS)
    finally:
        first.kill()
    assert "time is up" in said
    assert (desk / "requeued").read_text() == "requeue 17\n"
    saved = [event for event in run.read_events() if isinstance(event, ev.CheckpointSaved)][-1]
    assert saved.reason == "stop"
    subprocess.run(["bash", "job.sh"], cwd=desk, env=env, timeout=JOB_SECONDS, check=False)
    assert (desk / "requeued").read_text() == "requeue 17\n", "nothing is left to do"
    events = list(run.read_events())
    assert [event.step for event in events if isinstance(event, ev.StepDone)] == list(range(1, 601))
    assert [event.exact for event in events if isinstance(event, ev.Resumed)] == [True]


def test_max_time_ends_a_run_as_slurms_warning_does(desk: Path) -> None:
    command = [sys.executable, "-m", "cockpit", "sums.toml", "--headless", "--max-time"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "4s"], cwd=desk, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 75 and "time is up" in done.stderr
    wrong = subprocess.run([*command, "soon"], cwd=desk, env=env, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2 and "such as 3h30m" in wrong.stderr
