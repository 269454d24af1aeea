"""What the pilot has changed in a run and has put on its agenda, built from events as all that the screen knows is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import tomli

from gpt import events as ev


class Change(msgspec.Struct, frozen=True):
    """A setting that was changed while the run went on."""

    key: str
    old: str
    new: str
    """As TOML; `unset` for None."""
    step: int
    """Held from the step after it on."""


class Pilotage(msgspec.Struct, frozen=True, kw_only=True):
    """Changes in force and commands that wait."""

    changes: tuple[tuple[Change, ...], ...] = ()
    """Those that one command made together, oldest first. What has been taken back is no longer here."""
    agenda: tuple[ev.CommandScheduled, ...] = ()
    """What waits, oldest first."""
    by_pilot: bool = False
    """Whether changes that come now are a command's; else they are the guard's own."""
    is_open: bool = False
    """Whether they belong to the newest of `changes`."""

    @property
    def net(self) -> dict[str, Change]:
        """What the pilot's changes come to by key: the value before the first, the value and the step of the last."""
        found: dict[str, Change] = {}
        for change in (change for group in self.changes for change in group):
            first = found.get(change.key, change)
            found[change.key] = Change(change.key, first.old, change.new, change.step)
        return {key: change for key, change in found.items() if change.old != change.new}

    def last(self, settings: Mapping[str, Any]) -> tuple[Change, ...]:
        """The newest changes made together that are still in force; empty where there are none.

        Args:
            settings: the run's settings by dotted key. What something else has changed since is passed over.
        """
        for group in reversed(self.changes):
            held = tuple(change for change in group if settings.get(change.key) == from_toml(change.new))
            if held:
                return held
        return ()


def steered(known: Pilotage, event: ev.Event) -> Pilotage:
    """What is known after one more event. Pure."""
    match event:
        case ev.ConfigChanged():
            return _changed(known, event) if known.by_pilot else known
        case ev.CommandReceived():
            return msgspec.structs.replace(known, by_pilot=True, is_open=False)
        case ev.CommandScheduled():
            others = tuple(item for item in known.agenda if item.item != event.item)
            return msgspec.structs.replace(known, agenda=(*others, event))
        case ev.CommandUnscheduled():
            left = tuple(item for item in known.agenda if item.item != event.item)
            return msgspec.structs.replace(known, agenda=left)
        case ev.Resumed():
            return msgspec.structs.replace(known, by_pilot=False, is_open=False)
        case ev.RunStarted():  # a sitting begins with what its checkpoint held; its agenda is told anew
            groups = (tuple(change for change in group if change.step <= event.step) for group in known.changes)
            kept = tuple(group for group in groups if group)
            return msgspec.structs.replace(known, changes=kept, agenda=(), by_pilot=False, is_open=False)
    return known


def _changed(known: Pilotage, event: ev.ConfigChanged) -> Pilotage:
    """Adds a change to those that came with it; where it takes one of the newest back, that is gone."""
    change = Change(event.key, event.old, event.new, event.step)
    *earlier, newest = known.changes or ((),)
    if known.is_open:
        return msgspec.structs.replace(known, changes=(*earlier, (*newest, change)))
    left = tuple(one for one in newest if (one.key, one.old, one.new) != (event.key, event.new, event.old))
    if len(left) < len(newest):
        return msgspec.structs.replace(known, changes=(*earlier, left) if left else tuple(earlier))
    return msgspec.structs.replace(known, changes=(*known.changes, (change,)), is_open=True)


def from_toml(toml: str) -> Any:
    """The value that an event wrote as TOML; `unset` is None, and what is not TOML stays text."""
    if toml == "unset":
        return None
    try:
        return tomli.loads(f"value = {toml}")["value"]
    except (ValueError, RecursionError, KeyError):  # the log of a run may come from anywhere
        return toml
