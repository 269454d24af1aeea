"""Runs on disk made of events alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from cockpit.runs import Run
from gpt import events as ev

PROFILE = 'name = "demo"\n[data]\nname = "python-stdlib"\n'


def write_run(
    runs_dir: Path, name: str, events: Iterable[ev.Event], *, profile: str = PROFILE, age: float = 0.0,
    checkpoint: int | None = None,
) -> Run:  # fmt: skip
    """A run's folder with a log, a profile, facts, and perhaps a checkpoint of that step."""
    run = Run(runs_dir / name)
    run.checkpoints_path.mkdir(parents=True)
    run.write_profile(profile)
    run.write_facts({"run": name, "pid": 4711, "host": "here"})
    run.events_path.write_bytes(b"".join(map(ev.encode, events)))
    if checkpoint is not None:
        folder = run.checkpoints_path / f"step-{checkpoint:08}"
        folder.mkdir()
        evaluation = {"train_loss": 1.6, "val_loss": 1.7, "best_val_loss": 1.65, "best_step": checkpoint}
        (folder / "state.json").write_text(json.dumps({"step": checkpoint, "evaluation": evaluation}))
        (run.checkpoints_path / "latest").symlink_to(folder.name)
    touched = run.events_path.stat().st_mtime - age
    os.utime(run.events_path, (touched, touched))
    return run
