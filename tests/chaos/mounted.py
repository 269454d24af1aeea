"""Disks that are mounted for a run, changed under it, and taken away: real ones, in a mount namespace of their own."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from cockpit.runs import Run
from gpt import checkpoint
from gpt.events import CheckpointFailed, CheckpointSaved, Finished, StepDone
from tests.chaos.gate import Outcome
from tests.chaos.tiny import TEXT

STEPS = 400
PATIENCE = 120.0
"""Seconds until a run is taken to hang."""

_PROFILE = """\
name = "small"
[model]
n_layer = 2
n_head = 2
n_embd = 128
block_size = 16
[data]
input = "{text}"
[train]
max_steps = {steps}
micro_batch_size = 1
eval_interval = 0
device = "cpu"
threads = 1
[checkpoint]
interval = 10
keep = 1
[sample]
interval = 0
"""

_IMPATIENT = """\
from cockpit import cli
from gpt import saver
import sys
saver.RETRY_SECONDS = saver.LONGEST_RETRY_SECONDS = 0.2
cli.main(sys.argv[1:])
"""


def outcome_inside(module: str, count: int, note: str) -> Outcome:
    """What a module, run as a program that may mount, finds in so many runs: a line of its output each."""
    can = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    if can.returncode:
        return Outcome(0, skipped=f"no mount of one's own here: {can.stderr.decode(errors='replace').strip()[:80]}")
    findings: list[str] = []
    for _ in range(count):
        inside = subprocess.run(
            ["unshare", "-rm", sys.executable, "-m", module], capture_output=True, text=True, check=False,
            timeout=2 * PATIENCE,
        )  # fmt: skip
        findings += inside.stdout.splitlines()
        if inside.returncode:
            findings.append(f"exit code {inside.returncode}: {inside.stderr.strip()[-300:]}")
    return Outcome(count, findings, note)


def trained(folder: Path, run: Run, meanwhile: Callable[[Run], None] | None = None) -> tuple[int, str]:
    """Exit code and standard error of the program that trains that run, while a thread does something else."""
    text, profile = folder / "sums.txt", folder / "small.toml"
    text.write_text(TEXT)
    profile.write_text(_PROFILE.format(text=text, steps=STEPS))
    keeper = threading.Thread(target=meanwhile or (lambda run: None), args=(run,), daemon=True)
    keeper.start()
    arguments = [str(profile), "--headless", "--run", run.name, "--runs-dir", str(run.path.parent)]
    ended = subprocess.run(
        [sys.executable, "-c", _IMPATIENT, *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    keeper.join(PATIENCE)
    return ended.returncode, ended.stderr


def wait_for(run: Run, kind: type, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Waits until the run's log holds an event of the kind; does something between two looks."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and not any(isinstance(event, kind) for event in run.read_events()):
        meanwhile()
        time.sleep(0.005)


def wrong_after(run: Run, code: int) -> list[str]:
    """What is wrong with a run whose saves have failed for a while and then succeeded again."""
    findings = [] if code == 0 else [f"exit code {code}"]
    events = list(run.read_events())
    order = [type(event) for event in events if isinstance(event, CheckpointSaved | CheckpointFailed)]
    if order[:1] != [CheckpointSaved] or CheckpointFailed not in order or order[-1] is not CheckpointSaved:
        findings.append(f"saved and failed in another order: {[kind.__name__ for kind in order]}")
    steps = [event.step for event in events if isinstance(event, StepDone)]
    if steps != list(range(1, STEPS + 1)) or not any(isinstance(event, Finished) for event in events):
        findings.append(f"of {STEPS} steps the log holds {len(steps)}")
    if run.skipped_lines:
        findings.append(f"{run.skipped_lines} lines of the log are damaged")
    if checkpoint.newest(run.checkpoints_path)[1]["step"] != STEPS:
        findings.append("the last checkpoint is not the newest")
    return findings
