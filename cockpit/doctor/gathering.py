"""The evidence of a profile, a run or a log from elsewhere, read from disk and from the machine. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from cockpit import nanogpt_log
from cockpit import profile as profiles
from cockpit.doctor import dataset
from cockpit.doctor.evidence import DataFacts, Evidence, Saved
from cockpit.doctor.host import read_host
from cockpit.pilotage import from_toml
from cockpit.planning import here
from cockpit.profile import Loaded
from cockpit.reducer import reduce_all
from cockpit.runs import Run, latest
from cockpit.state import Past, RunState
from cockpit.stretch import Stretch
from gpt import checkpoint
from gpt import events as ev
from gpt.config import Profile, flatten, replace
from gpt.errors import UserError

Told = ev.Event | Stretch | Past


def of_profile(loaded: Loaded, runs_dir: Path) -> Evidence:
    """Before a run is begun: the profile, its data, and the run that it would go on with."""
    run = latest(runs_dir, loaded.profile.name)
    return Evidence(
        loaded.profile, RunState(), source=loaded.text, vocab_size=_rows(loaded.profile), host=read_host(runs_dir),
        saved=_saved(run) if run else None, data=dataset.look(loaded.profile),
    )  # fmt: skip


def of_run(run: Run) -> Evidence:
    """While a run goes on or after it: its log, and the settings in force at its newest step."""
    changes: list[ev.ConfigChanged] = []
    state = reduce_all(RunState(), _noting(run.read_past(), changes))
    loaded = _kept(run)
    profile = in_force(run, loaded.profile if loaded else None, changes)
    return Evidence(
        profile, state, source=loaded.text if loaded else "", vocab_size=_rows(profile) if profile else None,
        host=read_host(run.path), asked=_asked(run), saved=_saved(run, state),
        data=dataset.look(profile) if profile else None,
    )  # fmt: skip


def in_force(run: Run, begun: Profile | None, changes: Iterable[ev.ConfigChanged]) -> Profile | None:
    """A run's settings at its newest step: those of its newest checkpoint, and what has changed since.

    Args:
        begun: what it was begun with, where it has no checkpoint yet.
        changes: those that still hold, oldest first.
    """
    at_checkpoint, since = _at_checkpoint(run)
    profile = at_checkpoint or begun
    if profile is not None:
        known = flatten(profile)
        for change in changes:
            if change.step >= since and change.key in known:
                with suppress(UserError):
                    profile = replace(profile, {change.key: from_toml(change.new)})
    return profile


def beside(run: Run, profile: Profile, state: RunState, source: str, data: DataFacts | None) -> Evidence:
    """Of a run that is in view, whose log nobody needs to read again. A few milliseconds.

    Args:
        profile: the settings in force, what changed while it went on included.
        source: the text of its profile, comments kept.
        data: what its data is found to be; None while nobody has looked.
    """
    return Evidence(
        profile, state, source=source, host=read_host(run.path), asked=_asked(run), saved=_saved(run, state), data=data
    )


def of_log(path: Path, loaded: Loaded | None) -> Evidence:
    """Of a log that nanoGPT's train.py printed, with its settings where somebody knows them. Raises DataError."""
    profile = loaded.profile if loaded else None
    rows = _rows(profile) if profile else None
    data = dataset.look(profile) if profile else None
    log = nanogpt_log.read(path, profile, rows, data.train_tokens if data else None)
    printed = log.facts.parameters
    return Evidence(
        profile, log.state, source=loaded.text if loaded else "", vocab_size=log.facts.vocab_size or rows,
        printed_parameters=round(printed) if printed else None, printed_tokens_per_step=log.facts.tokens_per_step,
        data=data,
    )  # fmt: skip


def _rows(profile: Profile) -> int | None:
    with suppress(UserError):
        rows, certain = here.rows_of_embedding(profile)
        return rows if certain else None
    return None


def _noting(events: Iterator[Told], changes: list[ev.ConfigChanged]) -> Iterator[Told]:
    """The events as they are; the changes of settings that still hold gather in a list."""
    for event in events:
        if isinstance(event, Past):
            changes[:] = event.held
        elif isinstance(event, ev.ConfigChanged):
            changes.append(event)
        elif isinstance(event, ev.Resumed):
            changes[:] = [change for change in changes if change.step <= event.step]
        yield event


def _kept(run: Run) -> Loaded | None:
    """The profile that a run was begun with; None where it cannot be read any more."""
    with suppress(UserError, OSError):
        return profiles.load(run.path / "profile.toml")
    return None


def _asked(run: Run) -> Profile | None:
    """What the file that a run was begun from says now."""
    facts = run.read_facts()
    with suppress(UserError, OSError, KeyError, TypeError):
        return profiles.load(Path(facts["profile_path"]), tuple(facts.get("overrides") or ())).profile
    return None


def _newest_state(run: Run) -> dict[str, object] | None:
    """state.json of the newest checkpoint that has one; its files are not verified."""
    for path in checkpoint.list_newest_first(run.checkpoints_path):
        with suppress(UserError):
            return checkpoint.read_state(path)
    return None


def _at_checkpoint(run: Run) -> tuple[Profile | None, int]:
    """(settings at the newest checkpoint, its step)."""
    state = _newest_state(run)
    if state:
        with suppress(msgspec.ValidationError, KeyError):
            return msgspec.convert(state["profile"], Profile), int(str(state["step"]))
    return None, 0


def _saved(run: Run, state: RunState | None = None) -> Saved | None:
    saved = _newest_state(run)
    if not saved or not isinstance(saved.get("model"), dict):
        return None
    known = state or reduce_all(RunState(), run.read_past())
    settings = saved.get("profile")
    optimizer = settings.get("optim", {}).get("name") if isinstance(settings, dict) else None
    is_finished = known.finished is not None and known.finished.reason == "max_steps"
    model: dict[str, object] = saved["model"]  # pyright: ignore[reportAssignmentType]
    return Saved(run.name, int(str(saved["step"])), model, optimizer, is_finished)
