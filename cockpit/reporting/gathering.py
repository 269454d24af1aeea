"""What a report needs of a run, from its folder."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cockpit import profile as profiles
from cockpit.doctor.gathering import in_force
from cockpit.pilotage import from_toml
from cockpit.reducer import reduce_all
from cockpit.reporting.contents import Subject
from cockpit.runs import Run
from cockpit.state import RunState
from gpt.config import Profile, flatten
from gpt.errors import UserError

_LONGEST = 1 << 20


def from_log(run: Run) -> Subject:
    """A run as its log has it."""
    state = reduce_all(RunState(), run.read_past())
    profile = _profile(run.path)
    changes = state.chronicle.changes
    now = in_force(run, profile, changes)
    settings = flatten(now) if now else {change.key: from_toml(change.new) for change in changes}
    return of_state(run.name, run.path, state, profile, settings)


def of_state(
    name: str, folder: Path, state: RunState, profile: Profile | None, settings: Mapping[str, Any]
) -> Subject:  # fmt: skip
    """A run as a state has it, with what its folder says beside that.

    Args:
        profile, settings: as it was begun; by dotted key, with what has changed since.
    """
    try:
        with (folder / "profile.toml").open("rb") as file:
            source = file.read(_LONGEST).decode(errors="replace")
    except OSError:
        source = ""
    facts = Run(folder).read_facts()
    if "train.max_steps" in settings and state.max_steps is not None:  # a resume may have extended the run
        settings = {**settings, "train.max_steps": state.max_steps}
    return Subject(name, state, profile, settings, source, facts, time.time())


def _profile(folder: Path) -> Profile | None:
    try:
        return profiles.load(folder / "profile.toml").profile
    except UserError:
        return None
