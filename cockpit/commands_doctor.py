"""`gpt-cockpit doctor`: what is wrong with a profile, a run, or a log from elsewhere."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from cockpit.arguments import AsJson, Overrides, RunsDir
from cockpit.naming import check_name
from cockpit.runs import DEFAULT_RUNS_DIR, Run, list_runs
from cockpit.sanitize import clean, clean_line, shown
from gpt.errors import ProfileError, RunError

if TYPE_CHECKING:
    from cockpit.doctor.evidence import Evidence


def doctor(
    source: Annotated[
        str | None, Parameter(help="A run; or a profile, a TOML file or the bare name of one that is there.")
    ] = None,
    /,
    *,
    log: Annotated[Path | None, Parameter(help="Instead: a log that nanoGPT's train.py printed.")] = None,
    profile: Annotated[str | None, Parameter(help="Its settings, as a profile.")] = None,
    overrides: Overrides = (),
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    json: AsJson = False,
) -> int:
    """What is wrong with a run, with figures and what to do: before it is begun, while it goes on, or after.

    A rule that does not apply is silenced in the profile: [doctor] silence = ["rule: reason"].
    """
    evidence, subject = _evidence(source, log, profile, overrides, runs_dir)
    from cockpit.doctor import report
    from cockpit.doctor.examination import examine

    found = examine(evidence)
    if json:
        sys.stdout.write(f"{clean(dumps(report.as_json(found), indent=1, ensure_ascii=False))}\n")
        return 0
    width = get_terminal_size().columns if sys.stdout.isatty() else report.WIDTH
    silenced = evidence.profile.doctor.silence if evidence.profile else ()
    sys.stdout.write(f"{report.as_text(found, subject, silenced, width)}\n")
    if unseen := _unseen(evidence):
        sys.stdout.write(f"Its data was not looked at: {clean_line(unseen)}\n")
    return 0


def _unseen(evidence: Evidence) -> str | None:
    """Why nothing was said of the data of a run that is not begun yet; None where it was looked at."""
    from cockpit.doctor import dataset

    if evidence.data is not None or evidence.began or evidence.profile is None:
        return None
    return dataset.unseen(evidence.profile)


def _evidence(
    source: str | None, log: Path | None, profile: str | None, overrides: tuple[str, ...], runs_dir: Path
) -> tuple[Evidence, str]:
    """The evidence of what the person named, and how to call it. Raises a UserError where there is no such thing."""
    from cockpit import profile as profiles

    if (source is None) == (log is None):
        raise ProfileError("doctor looks at one thing: give a profile, a run, or --log FILE")
    if log is None and profile is not None:
        raise ProfileError("--profile gives the settings of a log; add --log FILE, or give the profile alone")
    if log is not None:
        loaded = profiles.load(profiles.find(profile), overrides) if profile is not None else None
        if loaded is None and overrides:
            raise ProfileError("--set changes a profile; add --profile")
        from cockpit.doctor import gathering

        return gathering.of_log(log, loaded), log.name
    assert source is not None
    if run := _run(source, runs_dir):
        if overrides:
            raise RunError(f"{shown(source)} is a run, whose settings are what they are; leave --set out")
        from cockpit.doctor import gathering

        return gathering.of_run(run), f"run {run.name}"
    path = profiles.find(source, lambda: profiles.Others("run", _typed(runs_dir), "gpt-cockpit runs lists the runs"))
    loaded = profiles.load(path, overrides)
    from cockpit.doctor import gathering

    return gathering.of_profile(loaded, runs_dir), f"profile {loaded.profile.name}"


def _typed(runs_dir: Path) -> dict[str, str]:
    return {run.name: f"the run {shown(run.name)}" for run in list_runs(runs_dir)}


def _run(source: str, runs_dir: Path) -> Run | None:
    """The run that a person means, by its name or its folder; None where they mean a profile."""
    path = Path(source).expanduser()
    if (path / "events.jsonl").is_file() or (path / "run.json").is_file():
        return Run(path.absolute())
    try:
        check_name(source)
    except RunError:
        return None
    run = Run(runs_dir / source)
    return run if run.events_path.is_file() or (run.path / "run.json").is_file() else None
