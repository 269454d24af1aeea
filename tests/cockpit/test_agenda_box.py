"""The box for what is to be done later: what it understands, lists, sends and cancels."""

from __future__ import annotations

from played_runs import FakeLink, still_app, story
from test_settings import Typed, app_with, shown_by

from gpt import events as ev
from gpt.commands import At, Cancel, Save, Stop, StopWhen

WAITS = [
    ev.CommandScheduled(item=3, step=900, what="save", when="at step 1,500", at_step=1500),
    ev.CommandScheduled(item=4, step=900, what="save and stop", when="when val_loss ≤ 1.2"),
]


async def test_what_can_be_typed_and_what_waits_is_listed() -> None:
    app, _ = app_with(*WAITS)
    shown = await shown_by(app, ["a"])
    assert "stop when val < 3.28" in shown and "stop in 2h 30m" in shown
    assert "3 at step 1,500: save in 600 steps" in shown and "4 when val_loss ≤ 1.2: save and stop" in shown


async def test_a_line_is_repeated_in_full_with_its_effect_before_it_is_sent() -> None:
    app, link = app_with()
    shown = await shown_by(app, ["a", Typed("at 1200 set lr=1e-3")])
    assert "at step 1,200: set optim.learning_rate = 0.001 in about 23 s" in shown
    assert "rate at step 1,201" in shown and "a checkpoint is made first: the learning rate rises" in shown
    assert link.sent == []
    app, link = app_with()
    assert "the run ends before, at step 2,000" in await shown_by(app, ["a", Typed("at 9k save")])


async def test_enter_sends_and_the_box_stays_for_the_next() -> None:
    app, link = app_with(*WAITS)
    lines = ["at 1200 save", "stop at 1300", "stop when val < 1.1", "cancel 3"]
    await shown_by(app, ["a", *[key for line in lines for key in (Typed(line), "enter")], "escape"])
    assert link.sent == [
        At(step=1200, what=Save()), At(step=1300, what=Stop()), StopWhen(val_loss=1.1), Cancel(item=3)
    ]  # fmt: skip


async def test_what_is_not_understood_is_not_sent() -> None:
    app, link = app_with()
    shown = await shown_by(app, ["a", Typed("at 1200 dance"), "enter"])
    assert "say what to do" in shown and "To be done later" in shown
    assert link.sent == []


async def test_the_log_tells_what_was_scheduled_done_and_refused() -> None:
    gone = ev.CommandUnscheduled(item=3, step=1500, why="due", what="save")
    refused = ev.CommandUnscheduled(item=9, step=1500, why="refused", what="save", reason="step 5 has passed")
    link = FakeLink([*story(), *WAITS, gone, refused])
    shown = await shown_by(still_app(link), [])
    assert "scheduled at step 1,500: save" in shown and "due at step 1,500: save" in shown
    assert "not scheduled: save: step 5 has passed" in shown
