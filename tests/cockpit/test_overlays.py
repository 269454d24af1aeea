"""What stands behind a run: earlier ones, and what others have published."""

from __future__ import annotations

import typing
from pathlib import Path

import pytest
from played_runs import START, FakeLink, demo_profile, run_started, screen_text, step_done, still_app, story

from cockpit.lens import Lens
from cockpit.overlays import Ghost, Overlays, earlier_runs
from cockpit.reducer import reduce_all
from cockpit.references import REFERENCES
from cockpit.state import RunState
from cockpit.widgets import chart
from cockpit.widgets.drawing import Outlook, draw
from gpt import events as ev
from gpt.config import ReferenceName, replace
from gpt.errors import ProfileError


def run_at(loss: float, steps: int, seconds: float = 1.0) -> RunState:
    """A run whose loss stands still."""
    steps_done = [step_done(step, loss, time=START + seconds * step) for step in range(1, steps + 1)]
    return reduce_all(RunState(), [run_started(max_steps=500), *steps_done])


def shown(state: RunState, look: Outlook, width: int = 120) -> str:
    rows = [chart.legend(state, width, look), *draw(state, width, 16, look)]
    assert all(row.cell_length == width for row in rows)
    return "\n".join(row.text for row in rows)


def test_a_profile_names_references_strictly_and_the_screen_knows_them_all() -> None:
    assert set(typing.get_args(ReferenceName)) == set(REFERENCES)
    assert replace(demo_profile(), {"screen.references": ["gpt2-124m"]}).screen.references == ["gpt2-124m"]
    with pytest.raises(ProfileError, match="references"):
        replace(demo_profile(), {"screen.references": ["gpt3"]})


def test_a_reference_is_a_level_with_its_name_or_an_arrow_where_it_is_off_the_scale() -> None:
    state = reduce_all(RunState(), [run_started(), *(step_done(s, 3.5 - 0.005 * s) for s in range(1, 201))])
    text = shown(state, Outlook(overlays=Overlays(references=["gpt2-124m", "shakespeare-char"])))
    (level,) = [row for row in text.splitlines() if "gpt2-124m 3.12" in row]
    assert "╌╌╌" in level and "↓ shakespeare-char 1.47" in text


@pytest.mark.parametrize(("ours", "theirs", "words"), [(2.0, 2.25, "ahead 0.250"), (2.5, 2.25, "behind 0.250")])
def test_a_ghost_tells_how_far_ahead_of_it_the_run_is(ours: float, theirs: float, words: str) -> None:
    look = Outlook(overlays=Overlays([Ghost("early", run_at(theirs, 300))]))
    assert f"━1 early {words}" in shown(run_at(ours, 100), look)


def test_the_lead_is_taken_at_the_same_place_of_the_axis_and_not_the_same_step() -> None:
    fast = reduce_all(RunState(), [run_started(), *(step_done(s, 4 - s / 100, time=START + s) for s in range(1, 301))])
    slow = reduce_all(
        RunState(), [run_started(), *(step_done(s, 4 - s / 100, time=START + 2 * s) for s in range(1, 101))]
    )
    ghost = Ghost("fast", fast)
    by_step = chart.lead_over(slow, ghost, Outlook(Lens(smoothing=0)))
    by_time = chart.lead_over(slow, ghost, Outlook(Lens(axis="time", smoothing=0)))
    assert by_step == pytest.approx(0.0, abs=1e-6)
    assert by_time == pytest.approx(-1.0, abs=0.02), "after as many seconds the ghost had done twice the steps"


def test_where_there_is_no_room_a_ghost_goes_by_its_number() -> None:
    look = Outlook(overlays=Overlays([Ghost("a-name-of-some-length", run_at(2.25, 300))]))
    assert "━1 ahead 0.250" in shown(run_at(2.0, 100), look, width=80)


def test_the_lead_is_told_along_the_axis_too() -> None:
    """4 - s/100 against 4 - s/50: the ghost comes to 3.0 at step 50, we at step 100; and the other way round."""

    def falling(per_step: float, steps: int) -> RunState:
        told = [step_done(s, 4 - s * per_step, time=START + 2 * s) for s in range(1, steps + 1)]
        return reduce_all(RunState(), [run_started(max_steps=500), *told])

    def words(ours: RunState, theirs: RunState, axis: str = "step") -> str:
        look = Outlook(Lens(axis=axis, smoothing=0), Overlays([Ghost("early", theirs)]))
        return "".join(text for text, *_ in chart.ghost_words(ours, look.overlays.ghosts[0], 0, look))

    slow, fast = falling(1 / 100, 100), falling(1 / 50, 50)
    assert words(slow, falling(1 / 50, 150)).endswith("behind 1.000 50 steps")
    assert words(fast, falling(1 / 100, 150)).endswith("ahead 0.500 50 steps")
    assert words(fast, falling(1 / 100, 150), "time").endswith("ahead 0.500 1 m 40 s")
    per_step = run_started().tokens_per_step
    assert words(fast, falling(1 / 100, 150), "tokens").endswith(f"ahead 0.500 {50 * per_step / 1e3:.0f} k tokens")
    assert words(fast, falling(1 / 100, 60)).endswith("ahead 0.500"), "it never came as low"


def test_a_ghost_that_ended_earlier_says_where() -> None:
    look = Outlook(overlays=Overlays([Ghost("early", run_at(2.0, 50))]))
    assert "early ended at 50" in shown(run_at(2.0, 100), look)


def test_lines_of_ghosts_carry_their_numbers() -> None:
    look = Outlook(overlays=Overlays([Ghost("one", run_at(2.2, 80)), Ghost("two", run_at(2.4, 90))]))
    rows = [row.text for row in draw(run_at(2.0, 100), 100, 14, look)]
    assert any("1" in row[8:] for row in rows[:-1]) and any("2" in row[8:] for row in rows[:-1])


def write_run(path: Path, events: list[ev.Event]) -> None:
    path.mkdir(parents=True)
    (path / "run.json").write_text("{}")
    (path / "events.jsonl").write_bytes(b"".join(map(ev.encode, events)))


async def test_o_lists_earlier_runs_and_references_and_what_is_ticked_is_drawn(tmp_path: Path) -> None:
    write_run(tmp_path / "early", story(400))
    write_run(tmp_path / "empty", [run_started()])
    write_run(tmp_path / "now", [])
    link = FakeLink(story())
    link.run_dir = tmp_path / "now"
    assert {run.name for run in earlier_runs(link.run_dir)} == {"early", "empty"}
    app = still_app(link)
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("o")
        await pilot.pause()
        listed = screen_text(app).split("earlier runs")[1].split("published")[0]
        assert "early" in listed and "now" not in listed
        names = [name for kind, name in app.screen.query_one("_Choices").lines if kind == "run"]
        for _ in names:
            await pilot.press("space", "down")
            for _ in range(100):
                app.screen._look()
                if not app.screen.query_one("_Choices")._readings:
                    break
                await pilot.pause(0.01)
        await pilot.press("space")  # the first reference
        await pilot.pause()
        assert "has no step in its log" in screen_text(app) and "step 400" in screen_text(app)
        await pilot.press("escape")
        await pilot.pause()
        text = screen_text(app)
        assert "━1 early" in text and "gpt2-124m 3.12" in text
        await pilot.press("g")
        await pilot.pause()
        assert "━1 early" in screen_text(app)
        await pilot.press("o", *(["down"] if names[0] == "empty" else []), "space", "escape")
        await pilot.pause()
        assert "━1 early" not in screen_text(app)
