"""The command `export`. Imports nothing heavy."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from cockpit.arguments import AsJson, RunsDir


def export(
    source: Annotated[str, Parameter(help="A run, by name or folder, or a checkpoint's folder.")],
    /,
    *,
    to: Annotated[
        Literal["hf", "nanogpt", "safetensors", "csv", "parquet", "tensorboard"],
        Parameter(help="A checkpoint as hf, nanogpt or safetensors; a run's curves as csv, parquet or tensorboard."),
    ],
    out: Annotated[Path, Parameter(help="What to write: a folder, or for csv and parquet a file; not there yet.")],
    best: Annotated[bool, Parameter(help="The checkpoint with the lowest validation loss, not the newest.")] = False,
    step: Annotated[int | None, Parameter(help="The checkpoint of this step.")] = None,
    json: AsJson = False,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """Takes a run elsewhere: its model to Hugging Face or nanoGPT, its curves to a table or TensorBoard."""
    from cockpit import export as exporting

    exported = exporting.export(source, to, out, runs_dir=runs_dir, best=best, step=step)
    sys.stdout.write((dumps(exported.as_dict(), indent=1) if json else exported.as_text()) + "\n")
    return 0
