"""A diagnosis: what a rule has found, the figures it rests on, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from cockpit.doctor.evidence import Evidence

Severity = Literal["note", "warning", "critical"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "critical")
"""From the least to the worst."""

Scalar = bool | int | float | str | None


@dataclass(frozen=True)
class Treatment:
    """What would mend it, ready to be done on one key."""

    kind: Literal["live", "profile", "fork", "command"]
    """`live`: settings that change while the run goes on. `profile`: for a run begun anew. `fork`: for one that goes on
    from a checkpoint of this. `command`: something a pilot can do, an id of cockpit.actions."""
    label: str
    """In a few words, in the imperative."""
    changes: Mapping[str, Scalar] = field(default_factory=dict)
    """Dotted key to new value; of a command nothing."""
    action: str | None = None
    """Of a command: its id in cockpit.actions."""


@dataclass(frozen=True)
class Diagnosis:
    """One thing that is wrong, or worth knowing."""

    rule: str
    """Id of the rule, as it is silenced by."""
    severity: Severity
    title: str
    """One line, with its main figure in it."""
    evidence: Mapping[str, Scalar]
    """The figures it rests on, by name; units are in the names or follow from them (nats/token, tokens, steps, 0…1)."""
    why: str
    """What is going on, in a sentence or two."""
    advice: str
    """What to do, in a sentence or two, with the numbers to put in."""
    treatment: Treatment | None = None
    reference: str = ""
    """Where the knowledge is from: paper and section, datasheet, or what was measured."""


@dataclass(frozen=True)
class Rule:
    """A thing that can be wrong."""

    id: str
    about: str
    """What it looks for, in one line."""
    find: Callable[[Evidence], Iterable[Diagnosis]]
    """Pure; gives nothing where the evidence does not suffice."""
