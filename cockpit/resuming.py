"""What a sitting goes on with: the run, its newest whole checkpoint, and the settings in force there."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any, Literal

import msgspec

from cockpit import launched
from cockpit import profile as profiles
from cockpit.naming import check_name
from cockpit.profile import Loaded
from cockpit.runs import Run, latest
from cockpit.sanitize import clean_line
from gpt import checkpoint
from gpt.config import Profile, flatten, replace
from gpt.errors import CheckpointError, ProfileError, RunError

Resume = bool | Literal["auto"]
"""False: a new run. True: go on with one. `auto`: go on where there is something to go on with, else a new run."""


class Sitting(msgspec.Struct, frozen=True):
    """A run that is gone on with."""

    folder: Run
    checkpoint: Path
    profile: Profile
    """What it goes on with."""
    at_checkpoint: Profile
    file_then: dict[str, Any]
    """What the profile's file said when the run was last started or resumed, by dotted key."""


def sitting_for(loaded: Loaded, run_name: str | None, runs_dir: Path, resume: Resume) -> Sitting | None:
    """The run to go on with; None where a new one is to be made, whose name is free then.

    Raises UserErrors, CheckpointError also where there are checkpoints and none is whole: nobody wants weeks of
    training to begin anew unasked.
    """
    folder = run_for(loaded, run_name, runs_dir, resume)
    return _go_on_with(loaded, folder) if folder else None


def run_for(loaded: Loaded, run_name: str | None, runs_dir: Path, resume: Resume) -> Run | None:
    """The run alone, its checkpoints not yet looked into. Raises RunError where there is none, unless `auto`."""
    if not resume:
        return None
    if resume == "auto" and run_name:
        check_name(run_name)
        folder = Run(runs_dir / run_name)
        if not folder.path.exists():
            return None
        if not checkpoint.list_newest_first(folder.checkpoints_path):
            _make_room(folder)
            return None
        return folder
    folder = Run.open(runs_dir, run_name) if run_name else latest(runs_dir, loaded.profile.name)
    if folder is None and resume != "auto":
        raise RunError(f"no run of {loaded.profile.name} with a checkpoint under {runs_dir}; start without --resume")
    return folder


def resumed_profile(loaded: Loaded, file_then: dict[str, Any], at_checkpoint: Profile) -> Profile:
    """The settings in force at the checkpoint, with what its pilot has since edited in the file or asks for by --set.

    So a run started or changed with other settings than the file's goes on with those, without naming them again.
    """
    file_now, asked = file_settings(loaded), flatten(loaded.profile)
    named = {override.split("=", 1)[0].strip() for override in loaded.overrides}
    overridden = {key for key in asked if key in named or asked[key] != file_now.get(key)}
    changes = {key: value for key, value in file_now.items() if key in file_then and value != file_then[key]}
    return replace(at_checkpoint, changes | {key: asked[key] for key in overridden})


def file_settings(loaded: Loaded) -> dict[str, Any]:
    """What the file alone says, without --set; what cannot stand without it counts as said with it."""
    try:
        return flatten(profiles.load(loaded.path).profile)
    except ProfileError:
        return flatten(loaded.profile)


def _go_on_with(loaded: Loaded, folder: Run) -> Sitting:
    path, state, complaints = checkpoint.newest(folder.checkpoints_path)
    for complaint in complaints:
        sys.stderr.write(f"gpt-cockpit: passed over {clean_line(complaint)}\n")
    try:
        at_checkpoint = msgspec.convert(state["profile"], Profile)
    except msgspec.ValidationError as error:
        raise CheckpointError(
            f"{path}: its settings are not readable ({error}); use the program that wrote it"
        ) from None
    file_then: dict[str, Any] = folder.read_facts().get("file_settings", {})
    profile = resumed_profile(loaded, file_then, at_checkpoint)
    if launched.read().has_saved(folder.read_facts(), state["step"]):
        profile = at_checkpoint
    wanted = {key: getattr(profile.model, key) for key in state["model"]}
    difference = checkpoint.shape_difference(state["model"], {k: v for k, v in wanted.items() if v is not None})
    if difference:
        raise CheckpointError(
            f"{path} holds another shape: {difference}; resume with its own profile, or start a new run"
        )
    return Sitting(folder, path, profile, at_checkpoint, file_then)


def _make_room(folder: Run) -> None:
    """Frees the name of a run that ended before its first checkpoint: removes it, or, once it took a step, puts it
    aside under another name. Raises RunError where it is in use or not what a run leaves."""
    with folder.lock():
        if not folder.read_facts():  # another starter has just made the folder, or it is no run's
            raise RunError(f"{folder.path} is being made, or no run's; wait a moment, or give another name to --run")
        if folder.discard():
            return
        names = (folder.path.with_name(f"{folder.name}-lost-{number}") for number in itertools.count(1))
        folder.path.rename(next(path for path in names if not path.exists()))
