"""`gpt-cockpit attach`: the screen of a run that another process trains."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cockpit.options import ScreenOptions
from cockpit.runs import Run, list_runs
from cockpit.sanitize import clean_line
from gpt.errors import RunError

RunsDir = Annotated[Path, Parameter(help="Folder that holds the runs.", show_default=True)]


def attach(
    run: Annotated[str | None, Parameter(help="Name of the run; without it, the only one that is trained.")] = None,
    /,
    *,
    watch: Annotated[bool, Parameter(help="Only watch: leave the controls to whoever has them.")] = False,
    thin: Annotated[bool, Parameter(help="Send the terminal less: for a slow or dear line.")] = False,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """Shows a run that another process trains: all that has happened, then what happens. Leaving leaves it alone."""
    from cockpit import attaching

    return attaching.attach(run, runs_dir, ScreenOptions(readonly=watch, thin=thin))


def find(name: str | None, runs_dir: Path) -> Run:
    """The run of that name, or the only one that is trained. Raises RunError where there is none, or more than one."""
    if name is not None:
        return Run.open(runs_dir, name)
    live = [run for run in list_runs(runs_dir) if run.in_use]
    if len(live) == 1:
        return live[0]
    if not live:
        raise RunError(
            f"no run in {clean_line(str(runs_dir))} is being trained; gpt-cockpit runs lists those that were"
        )
    names = ", ".join(clean_line(run.name) for run in live)
    raise RunError(f"{len(live)} runs are being trained: {names}; name one of them")
