"""When a diagnosis is told, told again and taken back: never because of the noise of one examination."""

from __future__ import annotations

from cockpit.checkup import Finding
from cockpit.doctor.diagnosis import Diagnosis, Severity
from cockpit.doctor.standing import Standing
from gpt.events import DiagnosisEnded, DiagnosisMade


def said(severity: Severity = "warning", title: str = "3 of 4", rule: str = "a") -> Diagnosis:
    return Diagnosis(rule, severity, title, {}, "why", "what to do")


def told(standing: Standing, *examinations: list[Diagnosis], first: int = 100) -> list[str]:
    """What each examination, 100 steps apart, leads to: `+warning`, `-` for an end, empty for nothing."""
    words = []
    for number, found in enumerate(examinations):
        events = standing.examined(found, first + 100 * number)
        words.append(" ".join(f"+{e.severity}" if isinstance(e, DiagnosisMade) else "-" for e in events))
    return words


def test_two_examinations_in_a_row_must_find_it() -> None:
    assert told(Standing(), [said()], [said()], [said()]) == ["", "+warning", ""]
    assert told(Standing(), [said()], [], [said()], [], [said()]) == ["", "", "", "", ""]


def test_three_in_a_row_must_not_find_it_before_it_is_taken_back() -> None:
    standing = Standing()
    assert told(standing, [said()], [said()], [], [], [said()], [], []) == ["", "+warning", "", "", "", "", ""]
    assert told(standing, [], []) == ["-", ""]
    assert told(standing, [said()]) == [""], "afterwards it is as new"


def test_it_is_told_worse_sooner_than_milder() -> None:
    warned = [[said()], [said()]]
    worse, milder = [said("critical")], [said("note")]
    assert told(Standing(), *warned, worse, worse) == ["", "+warning", "", "+critical"]
    assert told(Standing(), *warned, milder, milder, milder) == ["", "+warning", "", "", "+note"]
    assert told(Standing(), *warned, worse, [said()], worse, [said()])[2:] == ["", "", "", ""], "hovering says nothing"
    assert told(Standing(), [said("note")], worse) == ["", "+note"], "the milder of the first two"


def test_what_nothing_measured_is_in_needs_to_be_found_once_only() -> None:
    events = Standing().examined([said()], 0, sure=True)
    assert events[0].rule == "a" and isinstance(events[0], DiagnosisMade)


def test_figures_that_move_are_told_anew_ever_more_rarely() -> None:
    standing = Standing()
    titles = []
    for step in range(1, 100_001, 100):
        titles += [event.step for event in standing.examined([said(title=f"{step} tokens")], step)]
    assert 10 < len(titles) < 40 and titles[-1] > 75_000
    assert told(Standing(), *[[said()]] * 50).count("+warning") == 1, "the same words are not said again"


def test_what_is_silenced_ends_at_once() -> None:
    standing = Standing()
    told(standing, [said()], [said()])
    (end,) = standing.examined([], 300, silenced={"a"})
    assert isinstance(end, DiagnosisEnded) and (end.rule, end.step) == ("a", 300)


def test_a_run_that_is_gone_on_with_tells_only_what_is_new() -> None:
    standing = Standing([Finding("a", "warning", "3 of 4", 50), Finding("b", "note", "5", 50)])
    assert told(standing, [said()], [said()]) == ["", ""]
    assert told(standing, [said()]) == ["-"], "b was last found before"


def test_of_two_by_one_rule_the_worse_counts() -> None:
    standing = Standing()
    both = [said("critical", "first"), said("warning", "second")]
    standing.examined(both, 1)
    (event,) = standing.examined(both, 2)
    assert isinstance(event, DiagnosisMade) and (event.severity, event.title) == ("critical", "first")
