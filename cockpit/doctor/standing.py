"""Which diagnoses stand: none that comes and goes with the noise of one measurement."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from cockpit.checkup import Finding
from cockpit.doctor.diagnosis import SEVERITIES, Diagnosis
from gpt.events import DiagnosisEnded, DiagnosisMade

SHOWN_AFTER = 2
"""Examinations in a row that must find it before it is told."""
ENDED_AFTER = 3
"""Examinations in a row that must not find it, or find it milder, before that is told: what hovers about a threshold
stays."""
TOLD_AGAIN = 1.25
"""Its figures are told anew once the run is so many times further: a run of a million steps tells them 60 times."""


@dataclass
class _Case:
    """One rule's."""

    severity: str
    """As it was found last."""
    times: int = 0
    """How often in a row as severe as that."""
    found: int = 0
    """How often in a row at all."""
    missed: int = 0
    told: str | None = None
    """The severity that was told; None: nothing has been."""
    title: str = ""
    step: int = 0
    """At which it was told last."""


class Standing:
    """Turns what each examination finds into the events that tell of it.

    Args:
        known: what stands already, of a run that is gone on with.
    """

    def __init__(self, known: Iterable[Finding] = ()) -> None:
        self._cases = {
            each.rule: _Case(each.severity, found=SHOWN_AFTER, told=each.severity, title=each.title, step=each.step)
            for each in known
        }

    def examined(
        self, found: Iterable[Diagnosis], step: int, *, sure: bool = False, silenced: Collection[str] = ()
    ) -> list[DiagnosisMade | DiagnosisEnded]:
        """What is to be told after one more examination.

        Args:
            found: its diagnoses, the worst first; of one rule the first counts.
            sure: nothing that will be measured can change it, so that once is enough.
            silenced: rules that shall say nothing: what they said ends at once.
        """
        by_rule = {each.rule: each for each in reversed(list(found))}
        told: list[DiagnosisMade | DiagnosisEnded] = []
        for rule in [rule for rule in self._cases if rule not in by_rule]:
            if self._missed(rule, at_once=rule in silenced):
                told.append(DiagnosisEnded(step=step, rule=rule))
        for rule, diagnosis in reversed(by_rule.items()):
            if severity := self._severity(diagnosis, step, sure):
                self._cases[rule].told = severity
                self._cases[rule].title, self._cases[rule].step = diagnosis.title, step
                told.append(DiagnosisMade(step=step, rule=rule, severity=severity, title=diagnosis.title))
        return told

    def _missed(self, rule: str, *, at_once: bool) -> bool:
        """Takes in that a rule has found nothing; True where what it said before is to be taken back."""
        case = self._cases[rule]
        case.found = case.times = 0
        case.missed += 1
        if case.told is not None and not at_once and case.missed < ENDED_AFTER:
            return False
        del self._cases[rule]
        return case.told is not None

    def _severity(self, diagnosis: Diagnosis, step: int, sure: bool) -> str | None:
        """Takes in a diagnosis; returns the severity it is to be told with, None where there is nothing to tell."""
        now = diagnosis.severity
        case = self._cases.setdefault(diagnosis.rule, _Case(now))
        before, case.severity = case.severity, now
        case.times = case.times + 1 if before == now else 1
        case.found, case.missed = case.found + 1, 0
        if case.told is None:
            if case.found < SHOWN_AFTER and not sure:
                return None
            return min(before, now, key=_weight)
        if now != case.told:
            needed = SHOWN_AFTER if _weight(now) > _weight(case.told) else ENDED_AFTER
            return now if case.times >= needed or sure else None
        return now if diagnosis.title != case.title and step > TOLD_AGAIN * case.step else None


def _weight(severity: str) -> int:
    return SEVERITIES.index(severity)  # pyright: ignore[reportArgumentType]
