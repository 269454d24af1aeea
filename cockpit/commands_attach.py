"""`gpt-cockpit attach`: the screen of a run that another process trains, here or on another machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from cockpit.arguments import RunsDir
from cockpit.options import ScreenOptions
from cockpit.runs import Run, list_runs
from cockpit.sanitize import clean_line
from gpt.errors import RunError


def attach(
    run: Annotated[
        str | None,
        Parameter(
            help="Name of the run, or user@host:RUN, user@host:FOLDER/RUN; without it, the one that is trained, or a "
            "choice of several."
        ),
    ] = None,
    /,
    *,
    watch: Annotated[bool, Parameter(help="Only watch: leave the controls to whoever has them.")] = False,
    thin: Annotated[bool, Parameter(help="Send the terminal less: for a slow or dear line.")] = False,
    ssh_command: Annotated[
        str, Parameter(help="What logs in on another machine.", env_var="GPT_COCKPIT_SSH", show_default=True)
    ] = "ssh",
    remote_command: Annotated[
        str, Parameter(help="Name or path of gpt-cockpit there.", show_default=True)
    ] = "gpt-cockpit",
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """Shows a run that another process trains: all that has happened, then what happens. Leaving leaves it alone."""
    options = ScreenOptions(readonly=watch, thin=thin)
    if run and ":" in run and not (runs_dir / run).is_dir():
        from cockpit import attaching

        return attaching.attach_far(run, runs_dir, options, ssh=ssh_command, program=remote_command)
    from cockpit.terminal import is_interactive

    found = choose(runs_dir) if run is None and is_interactive() else find(run, runs_dir)
    if found is None:
        return 0
    ahead = found.read_ahead() if is_interactive() else None  # a long log, while the screen is still being loaded
    from cockpit import attaching

    return attaching.attach(found, ahead, options)


def link(
    run: Annotated[str | None, Parameter(help="Name of the run; without it, the only one that is trained.")] = None,
    /,
    *,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """The far end of attach user@host:RUN, which starts it by ssh: standard input and output are the line."""
    from cockpit.link import bridge

    bridge.serve(find(run, runs_dir.expanduser()), 0, 1)
    return 0


def find(name: str | None, runs_dir: Path) -> Run:
    """The run of that name, or the only one that is trained. Raises RunError where there is none, or more than one."""
    if name is not None:
        return Run.open(runs_dir, name)
    live = trained(runs_dir)
    if len(live) > 1:
        names = ", ".join(clean_line(run.name) for run in live)
        raise RunError(f"{len(live)} runs are being trained: {names}; name one of them")
    return live[0]


def choose(runs_dir: Path) -> Run | None:
    """The only run that is trained, or the one that is chosen of several on the terminal; None where none is wanted.

    Raises RunError where there is none.
    """
    live = trained(runs_dir)
    if len(live) == 1:
        return live[0]
    from cockpit import chooser

    return chooser.choose(live, sys.stdin, sys.stdout)


def trained(runs_dir: Path) -> list[Run]:
    """The runs that are being trained, the one made last first. Raises RunError where there is none."""
    live = [run for run in list_runs(runs_dir) if run.in_use]
    if not live:
        raise RunError(
            f"no run in {clean_line(str(runs_dir))} is being trained; gpt-cockpit runs lists those that were"
        )
    return sorted(live, key=_made, reverse=True)


def _made(run: Run) -> float:
    made = run.read_facts().get("created")
    return made if isinstance(made, float) else 0.0
