"""Takes a run elsewhere: a checkpoint in another program's form, or the whole run's curves as a file."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cockpit import curves
from cockpit.runs import Run
from cockpit.sanitize import shown
from gpt import checkpoint
from gpt.errors import CheckpointError, RunError

MODELS = ("hf", "nanogpt", "safetensors")
CURVES = ("csv", "parquet", "tensorboard")
TARGETS = (*MODELS, *CURVES)


@dataclass
class Exported:
    """What was written."""

    to: str
    out: Path
    source: str
    step: int | None = None
    """Of the checkpoint."""
    rows: int | None = None
    """Steps with their evaluations, of a run's curves."""
    notes: list[str] = field(default_factory=list)
    """What its user should know."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        files = sorted(str(p.relative_to(self.out)) for p in self.out.rglob("*")) if self.out.is_dir() else []
        return {
            "to": self.to, "out": str(self.out), "source": self.source, "step": self.step, "rows": self.rows,
            "files": files, "notes": self.notes,
        }  # fmt: skip

    def as_text(self) -> str:
        """A line on what was written, and one for each note."""
        what = (
            f"step {self.step:,} of {self.source}" if self.step is not None else f"{self.rows:,} rows of {self.source}"
        )
        return "\n".join(
            [f"{shown(what)} → {shown(self.out)} ({self.to})", *(f"  {shown(note)}" for note in self.notes)]
        )


def export(source: str, to: str, out: Path, *, runs_dir: Path, best: bool = False, step: int | None = None) -> Exported:
    """Writes a run, or one of its checkpoints, to `out` in the form of `to`; whole or not at all.

    Args:
        source: name or folder of a run, or a checkpoint's folder.
        out: what is to be written; a folder, or for csv and parquet a file. Must not exist yet.
        best, step: which checkpoint of a run; else the newest that is whole.

    Raises a UserError where that is not possible, with nothing written.
    """
    if to not in TARGETS:
        raise RunError(f"cannot export to {shown(to)}; there are {', '.join(TARGETS)}")
    if out.exists() or out.is_symlink():
        raise RunError(f"{shown(out)} is there already; give --out another name")
    run, chosen = _find(source, runs_dir)
    if (chosen or to in CURVES) and (best or step is not None):
        why = "is a checkpoint already" if chosen else f"is told whole by {to}"
        raise RunError(f"--best and --step choose a checkpoint of a run, and {shown(source)} {why}; leave them out")
    if best and step is not None:
        raise RunError("--best and --step name two checkpoints; keep one")
    try:
        if to in CURVES:
            return _export_curves(run, to, out, source)
        notes: list[str] = []
        path = chosen or _choose(run, best, step, notes)
        exported = _export_model(run, path, to, out)
        exported.notes[:0] = notes
        return exported
    except OSError as error:
        raise RunError(f"{shown(out)} cannot be written: {error.strerror or error}; give --out another place") from None


def _find(source: str, runs_dir: Path) -> tuple[Run | None, Path | None]:
    """The run, and the checkpoint where the source is one; no run where a checkpoint lies by itself."""
    path = Path(source).expanduser()
    if (path / "state.json").is_file():
        path = path.resolve()
        owner = path.parent.parent
        return (Run(owner) if (owner / "run.json").is_file() else None), path
    if (path / "run.json").is_file():
        return Run(path.resolve()), None
    if "/" in source:
        raise RunError(f"{shown(source)} is neither a run's folder nor a checkpoint's; gpt-cockpit runs lists the runs")
    return Run.open(runs_dir, source), None


def _choose(run: Run | None, best: bool, step: int | None, notes: list[str]) -> Path:
    """The folder of the checkpoint asked for."""
    assert run
    parent = run.checkpoints_path
    if best:
        if not (parent / "best").exists():
            raise CheckpointError(
                f"{shown(run.name)} has no best checkpoint: no evaluation saved one; leave out --best"
            )
        return (parent / "best").resolve()
    if step is not None:
        path = parent / checkpoint.folder_name(step)
        if not path.is_dir():
            steps = sorted({checkpoint.step_of(each) for each in checkpoint.list_newest_first(parent)})
            there = ", ".join(map(str, steps)) or "none"
            raise CheckpointError(f"{shown(run.name)} keeps no checkpoint of step {step}; there are {there}")
        return path
    path, _, complaints = checkpoint.newest(parent)
    notes += [f"passed over {complaint}" for complaint in complaints]
    return path


def _export_model(run: Run | None, path: Path, to: str, out: Path) -> Exported:
    from cockpit.card import model_card
    from gpt.interop.huggingface_out import write_huggingface
    from gpt.interop.nanogpt_out import write_nanogpt
    from gpt.interop.trained import drafted, read_trained, write_safetensors

    trained = read_trained(path)
    exported = Exported(to, out, run.name if run else path.name, step=trained.step)
    with drafted(out) as folder:
        if to == "hf":
            exported.notes = write_huggingface(trained, folder)
            (folder / "README.md").write_text(model_card(trained, run, exported.notes), encoding="utf-8")
        elif to == "nanogpt":
            exported.notes = write_nanogpt(trained, folder)
        else:
            write_safetensors(trained, folder)
    return exported


def _export_curves(run: Run | None, to: str, out: Path, source: str) -> Exported:
    if run is None:
        raise RunError(
            f"{shown(source)} is a checkpoint without its run, and the curves are in the run's log; name that"
        )
    exported = Exported(to, out, run.name)
    table = curves.rows(curves.kept_events(run))
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        if to == "tensorboard":
            exported.rows = _write_tensorboard(draft, run)
        else:
            exported.rows = (curves.write_csv if to == "csv" else curves.write_parquet)(draft, table)
        if not exported.rows:
            raise RunError(f"the log of {shown(run.name)} holds no step and no evaluation; nothing was written")
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True) if draft.is_dir() else draft.unlink(missing_ok=True)
    if run.skipped_lines:
        exported.notes.append(f"{run.skipped_lines:,} lines of the log could not be read and are left out")
    return exported


def _write_tensorboard(folder: Path, run: Run) -> int:
    """An event file with the figures that count; returns the number of steps and lone evaluations in it."""
    from cockpit.trackers import TensorBoard, check_trackers
    from gpt.config import TrackConfig

    check_trackers(TrackConfig(tensorboard=True))
    board, steps = TensorBoard(folder), set[int]()
    for event in curves.kept_events(run):
        if point := curves.point(event):
            board.take(event)
            steps.add(point[0])
    board.close()
    return len(steps)
