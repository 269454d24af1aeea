"""What the doctor has found in a run, built from events as all that the screen knows is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from gpt import events as ev

if TYPE_CHECKING:
    from cockpit.state import Marker

MARK = "diagnosis"
"""Kind of the chart's markers."""
MOST_MARKS = 60
"""Markers of diagnoses that are kept, the newest: a run of months must not fill up with them."""
LEVELS = {"note": "info", "warning": "warning", "critical": "error"}
"""Of the log's lines, by severity."""

_WEIGHT = {"critical": 0, "warning": 1, "note": 2}


class Finding(msgspec.Struct, frozen=True):
    """A diagnosis that stands."""

    rule: str
    severity: str
    title: str
    step: int
    """Since when it stands."""


class Checkup(msgspec.Struct, frozen=True):
    """All that stands."""

    findings: tuple[Finding, ...] = ()
    """The worst first, of those that weigh as much the oldest."""

    @property
    def counts(self) -> Counter[str]:
        """How many there are of each severity."""
        return Counter(finding.severity for finding in self.findings)

    @property
    def worst(self) -> str | None:
        """The worst severity; None where nothing was found."""
        return self.findings[0].severity if self.findings else None

    @property
    def pressing(self) -> tuple[Finding, ...]:
        """Those that somebody should look at: warnings and worse."""
        return tuple(finding for finding in self.findings if finding.severity != "note")

    def of(self, rule: str) -> Finding | None:
        """What a rule has found."""
        return next((finding for finding in self.findings if finding.rule == rule), None)

    def until(self, step: int) -> Checkup:
        """What stood at a step that the run has gone back to: what was found later is looked for anew."""
        return Checkup(tuple(finding for finding in self.findings if finding.step <= step))


def made(known: Checkup, event: ev.DiagnosisMade) -> Checkup:
    """What is known once a diagnosis was made, or told again."""
    before = known.of(event.rule)
    finding = Finding(event.rule, event.severity, event.title, before.step if before else event.step)
    others = [each for each in known.findings if each.rule != event.rule]
    return Checkup(tuple(sorted([*others, finding], key=lambda one: (_WEIGHT.get(one.severity, 2), one.step))))


def ended(known: Checkup, event: ev.DiagnosisEnded) -> Checkup:
    """What is known once a diagnosis was taken back."""
    return Checkup(tuple(finding for finding in known.findings if finding.rule != event.rule))


def followed(known: Checkup, events: Iterable[ev.AnyEvent]) -> Checkup:
    """What stands after more events of a log; those that tell of no diagnosis may be left out."""
    for event in events:
        match event:
            case ev.DiagnosisMade():
                known = made(known, event)
            case ev.DiagnosisEnded():
                known = ended(known, event)
            case ev.Resumed():
                known = known.until(event.step)
            case _:
                pass
    return known


def is_news(known: Checkup, event: ev.DiagnosisMade) -> bool:
    """Whether it was not known, or has another severity; else only its figures have moved on."""
    before = known.of(event.rule)
    return before is None or before.severity != event.severity


def with_room(markers: tuple[Marker, ...]) -> tuple[Marker, ...]:
    """The chart's markers, without the oldest diagnosis where there are as many as are kept."""
    ours = [marker for marker in markers if marker.kind == MARK]
    return tuple(marker for marker in markers if marker is not ours[0]) if len(ours) >= MOST_MARKS else markers
