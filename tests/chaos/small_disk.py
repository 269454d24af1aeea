"""Gate 3: a real disk of 20 MB that fills up under a run. Run as a program, it is that run, in a mount of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from cockpit.runs import Run
from gpt import checkpoint
from gpt.events import CheckpointFailed, CheckpointSaved, Finished, StepDone
from tests.chaos.gate import Effort, Outcome, gate
from tests.chaos.tiny import TEXT

MEGABYTES = 20
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


@gate("3c", "a real tmpfs of 20 MB that is full for a while", unit="runs")
def small_disk(effort: Effort) -> Outcome:
    """The program on it: told, tried again, and all is there in the end."""
    can = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    if can.returncode:
        return Outcome(0, skipped=f"no mount of one's own here: {can.stderr.decode(errors='replace').strip()[:80]}")
    findings: list[str] = []
    count = effort.count(1)
    for _ in range(count):
        inside = subprocess.run(
            ["unshare", "-rm", sys.executable, "-m", "tests.chaos.small_disk"], capture_output=True, text=True,
            check=False, timeout=2 * PATIENCE,
        )  # fmt: skip
        findings += inside.stdout.splitlines()
        if inside.returncode:
            findings.append(f"exit code {inside.returncode}: {inside.stderr.strip()[-300:]}")
    return Outcome(count, findings, "checkpoints of 5 MB; log and checkpoints on the same disk")


_IMPATIENT = """\
from cockpit import cli
from gpt import saver
import sys
saver.RETRY_SECONDS = saver.LONGEST_RETRY_SECONDS = 0.2
cli.main(sys.argv[1:])
"""


def _inside() -> int:
    """Mounts the disk, fills it, trains on it, and makes room again once it was told that there is none."""
    with tempfile.TemporaryDirectory() as folder:
        disk = Path(folder, "disk")
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "none", disk], check=True)
        try:
            text, profile = Path(folder, "sums.txt"), Path(folder, "small.toml")
            text.write_text(TEXT)
            profile.write_text(_PROFILE.format(text=text, steps=STEPS))
            run = Run(disk / "runs" / "full")
            keeper = threading.Thread(target=_fill_and_clear, args=(disk, run), daemon=True)
            keeper.start()
            arguments = [str(profile), "--headless", "--run", run.name, "--runs-dir", str(run.path.parent)]
            ended = subprocess.run(
                [sys.executable, "-c", _IMPATIENT, *arguments], stdout=sys.stderr, check=False, timeout=PATIENCE
            )
            keeper.join(PATIENCE)
            for finding in _found(run, ended.returncode):
                print(finding)  # noqa: T201
        finally:
            subprocess.run(["umount", "-l", disk], check=False)
    return 0


def _fill_and_clear(disk: Path, run: Run) -> None:
    """Leaves no room after the first checkpoint, and makes some once a save has failed."""
    until = time.monotonic() + PATIENCE
    ballast = disk / "ballast"

    def wait_for(kind: type) -> None:
        while time.monotonic() < until and not any(isinstance(event, kind) for event in run.read_events()):
            time.sleep(0.005)

    wait_for(CheckpointSaved)
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    os.truncate(ballast, ballast.stat().st_size - 256 * 1024)  # the log still has a little
    wait_for(CheckpointFailed)
    ballast.unlink()


def _found(run: Run, code: int) -> list[str]:
    findings = [] if code == 0 else [f"exit code {code}"]
    events = list(run.read_events())
    order = [type(event) for event in events if isinstance(event, CheckpointSaved | CheckpointFailed)]
    if order[0] is not CheckpointSaved or CheckpointFailed not in order or order[-1] is not CheckpointSaved:
        findings.append(f"saved and failed in another order: {[kind.__name__ for kind in order]}")
    steps = [event.step for event in events if isinstance(event, StepDone)]
    if steps != list(range(1, STEPS + 1)) or not any(isinstance(event, Finished) for event in events):
        findings.append(f"of {STEPS} steps the log holds {len(steps)}")
    if run.skipped_lines:
        findings.append(f"{run.skipped_lines} lines of the log are damaged")
    if checkpoint.newest(run.checkpoints_path)[1]["step"] != STEPS:
        findings.append("the last checkpoint is not the newest")
    return findings


if __name__ == "__main__":
    sys.exit(_inside())
