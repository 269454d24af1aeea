"""`gpt-cockpit explain`: what each number of a run, or of a line that nanoGPT printed, says."""

from __future__ import annotations

import sys
from json import dumps
from shutil import get_terminal_size
from typing import Annotated

from cyclopts import Parameter

from cockpit.arguments import AsJson, RunsDir
from cockpit.runs import DEFAULT_RUNS_DIR
from cockpit.sanitize import clean, clean_line
from gpt.config import Profile
from gpt.errors import ProfileError


def explain(
    run: Annotated[str | None, Parameter(help="Name of a run; may be left out with --line.")] = None,
    /,
    *,
    line: Annotated[
        str | None,
        Parameter(help="A line that nanoGPT printed, instead: `iter 5000: loss 0.8236, time 4446.83ms, mfu 9.99%`."),
    ] = None,
    profile: Annotated[
        str | None, Parameter(help="With --line: the settings it was printed with, where RUN does not have them.")
    ] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    json: AsJson = False,
) -> int:
    """Every number: what it is, how it comes about, what is usual, what it says, what would change it.

    The formulas hold the run's own figures. With RUN and --line, the line is read with the run's settings.
    """
    if run is None and line is None:
        raise ProfileError(
            "say what to explain: a RUN, as gpt-cockpit runs lists them, or --line with one of nanoGPT's"
        )
    if profile is not None and (line is None or run is not None):
        raise ProfileError("--profile says with which settings a --line was printed; a RUN has its own")
    from cockpit.doctor import gathering
    from cockpit.explaining import line as lines
    from cockpit.explaining import numbers, report
    from cockpit.runs import Run

    evidence = gathering.of_run(Run.open(runs_dir, run)) if run is not None else None
    title = clean_line(f"{run}, step {evidence.state.step:,}") if evidence else "A line of nanoGPT's"
    if line is not None:
        settings, rows = _settings(profile) if profile is not None else (None, None)
        title = f"{clean_line(line.strip())}" + (f", with the settings of {clean_line(run)}" if run else "")
        evidence = lines.evidence_of(line, settings, rows, known=evidence)
    assert evidence is not None
    found = numbers.explain_all(evidence)
    if json:
        sys.stdout.write(f"{clean(dumps(report.as_json(found), indent=1, ensure_ascii=False))}\n")
        return 0
    width = min(120, get_terminal_size().columns) if sys.stdout.isatty() else None
    sys.stdout.write(f"{clean(report.as_text(found, title, width))}\n")
    return 0


def _settings(name: str) -> tuple[Profile, int | None]:
    """(a profile, the rows of its embedding where they are certain)."""
    from cockpit import profile as profiles
    from cockpit.explaining.expectations import SHAKESPEARES_CHARACTERS, data_set
    from cockpit.planning import here

    loaded = profiles.load(profiles.find(name)).profile
    if data_set(loaded) == "Shakespeare":
        return loaded, SHAKESPEARES_CHARACTERS
    rows, certain = here.rows_of_embedding(loaded)
    return loaded, rows if certain else None
