"""What a person means by a SOURCE: a run, a checkpoint, a Hugging Face folder, or one of GPT-2's names. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cockpit.naming import check_name
from cockpit.runs import Run, list_runs
from cockpit.sanitize import shown
from gpt import checkpoint
from gpt.config import HUB_NAMES
from gpt.errors import CheckpointError, RunError
from gpt.strict import nearest


@dataclass(frozen=True)
class Place:
    """Where a model lies."""

    name: str
    """As it was asked for."""
    path: str
    """A checkpoint's folder, a Hugging Face folder, or one of HUB_NAMES: what gpt.source.load takes."""
    state: dict[str, Any] | None
    """The verified state.json of a checkpoint."""
    complaints: tuple[str, ...] = ()
    """Newer checkpoints that were passed over, and why."""


def locate(source: str, runs_dir: Path, *, best: bool = False, step: int | None = None) -> Place:
    """The place of a SOURCE. A run's name comes before a folder's, a folder's before one of GPT-2's names.

    Args:
        best, step: which checkpoint of a run; neither: its newest whole one.

    Raises RunError and CheckpointError, one line, where there is no such thing, or it is damaged.
    """
    if best and step is not None:
        raise RunError("--best and --step both choose a checkpoint; keep one")
    path = Path(source).expanduser()
    run = _named(source, runs_dir) or (Run(path) if (path / "checkpoints").is_dir() else None)
    if run:
        return _in_run(run, source, best, step)
    if best or step is not None:
        raise RunError(f"--best and --step choose among a run's checkpoints; {shown(source)} is no run in {runs_dir}")
    if (path / "state.json").is_file():
        return Place(source, str(path), checkpoint.verify(path))
    if (path / "config.json").is_file() or (source in HUB_NAMES and not path.exists()):
        return Place(source, str(path), None)
    if path.is_dir():
        raise CheckpointError(
            f"{shown(path)}: holds neither a checkpoint's state.json nor a Hugging Face config.json; "
            "give a run, a folder named step-…, or a Hugging Face folder"
        )
    near = nearest(source, [run.name for run in list_runs(runs_dir)])
    advice = f"did you mean the run {shown(near)}?" if near else "gpt-cockpit runs lists the runs"
    raise RunError(
        f"{shown(source)} is neither a run in {shown(runs_dir)}, a model's folder, nor one of "
        f"{', '.join(HUB_NAMES)}; {advice}"
    )


def _named(name: str, runs_dir: Path) -> Run | None:
    try:
        check_name(name)
    except RunError:
        return None
    run = Run(runs_dir / name)
    return run if run.path.is_dir() and (run.checkpoints_path.is_dir() or (run.path / "run.json").is_file()) else None


def _in_run(run: Run, source: str, best: bool, step: int | None) -> Place:
    folders = checkpoint.list_newest_first(run.checkpoints_path)
    if not folders:
        raise CheckpointError(f"run {shown(run.name)} has no checkpoint yet; train it until one is saved")
    if not best and step is None:
        path, state, complaints = checkpoint.newest(run.checkpoints_path)
        return Place(source, str(path), state, tuple(complaints))
    steps = ", ".join(f"{checkpoint.step_of(path)}" for path in folders)
    if best:
        path = run.checkpoints_path / "best"
        if not path.exists():
            raise CheckpointError(f"run {shown(run.name)} has no best checkpoint; it has those of steps {steps}")
        path = path.resolve()
    else:
        path = run.checkpoints_path / checkpoint.folder_name(step or 0)
        if not path.is_dir():
            raise CheckpointError(
                f"run {shown(run.name)} has no checkpoint of step {step}; it has those of steps {steps}"
            )
    return Place(source, str(path), checkpoint.verify(path))
