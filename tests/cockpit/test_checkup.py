"""What the screen knows of the doctor's findings: from events alone, bounded, the same when it is played again."""

from __future__ import annotations

from played_runs import run_started, step_done

from cockpit.checkup import MARK, MOST_MARKS
from cockpit.reducer import reduce_all
from cockpit.state import RunState
from gpt import events as ev


def made(rule: str, severity: str = "warning", step: int = 100, title: str = "61 tokens per parameter") -> ev.Event:
    return ev.DiagnosisMade(step=step, rule=rule, severity=severity, title=title)


def test_the_worst_comes_first_and_of_those_that_weigh_as_much_the_oldest() -> None:
    state = reduce_all(
        RunState(), [made("a", "note", 1), made("b", step=5), made("c", step=3), made("d", "critical", 9)]
    )
    assert [finding.rule for finding in state.checkup.findings] == ["d", "c", "b", "a"]
    assert state.checkup.worst == "critical" and [each.rule for each in state.checkup.pressing] == ["d", "c", "b"]
    assert dict(state.checkup.counts) == {"critical": 1, "warning": 2, "note": 1}


def test_each_is_logged_and_marked_once_and_its_figures_move_on_quietly() -> None:
    state = reduce_all(RunState(), [made("a"), made("a", step=125, title="76 tokens per parameter")])
    (finding,) = state.checkup.findings
    assert (finding.title, finding.step) == ("76 tokens per parameter", 100)
    assert [record.text for record in state.log] == ["doctor: 61 tokens per parameter"]
    assert [(marker.step, marker.text) for marker in state.markers] == [(100, "61 tokens per parameter")]
    worse = reduce_all(state, [made("a", "critical", step=200)])
    assert [record.level for record in worse.log] == ["warning", "error"] and len(worse.markers) == 2


def test_a_note_is_no_mark_on_the_chart() -> None:
    state = reduce_all(RunState(), [made("a", "note")])
    assert not state.markers and state.log[-1].level == "info"


def test_what_ended_is_gone_and_its_mark_stays() -> None:
    state = reduce_all(RunState(), [made("a"), ev.DiagnosisEnded(step=200, rule="a")])
    assert not state.checkup.findings and state.checkup.worst is None
    assert "a no longer stands" in state.log[-1].text and len(state.markers) == 1


def test_going_back_drops_what_was_found_later() -> None:
    state = reduce_all(RunState(), [run_started(), step_done(500, 2.0), made("a", step=100), made("b", step=400)])
    back = reduce_all(state, [ev.Resumed(step=200, exact=True)])
    assert [finding.rule for finding in back.checkup.findings] == ["a"]
    assert [marker.step for marker in back.markers if marker.kind == MARK] == [100]


def test_marks_of_a_run_of_months_are_bounded() -> None:
    events = []
    for step in range(1, 500):
        events += [made("a", step=step), ev.DiagnosisEnded(step=step, rule="a")]
    state = reduce_all(RunState(), [*events, made("b", step=600)])
    steps = [marker.step for marker in state.markers if marker.kind == MARK]
    assert len(steps) == MOST_MARKS and steps[-1] == 600 and steps == sorted(steps)


def test_a_log_that_is_played_again_leads_to_the_same() -> None:
    events = [run_started(), step_done(1, 3.0), made("a"), made("b", "critical"), ev.DiagnosisEnded(step=9, rule="a")]
    again = [ev.decode(ev.encode(event)) for event in events]
    assert reduce_all(RunState(), again).checkup == reduce_all(RunState(), events).checkup
