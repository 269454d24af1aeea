"""The plan of a run that goes on, and its view."""

from __future__ import annotations

from typing import Any

import pytest
from played_runs import (
    START,
    FakeLink,
    demo_profile,
    run_started,
    screen_text,
    shown_by,
    still_app,
    story,
    type_together,
)

from cockpit.planning.running import best_use, running
from cockpit.planning.scaling import LAW
from cockpit.reducer import reduce_all
from cockpit.state import RunState
from gpt import events as ev
from gpt.config import replace

CARD: dict[str, Any] = dict(
    device="NVIDIA GeForce RTX 4090", device_type="cuda", dtype="bfloat16", peak_flops=165.2e12,
    peak_source="datasheet", micro_batch_size=16, tokens_per_step=4096,
)  # fmt: skip


def settings() -> Any:
    return replace(demo_profile(), {"train.micro_batch_size": 16, "model.block_size": 256, "train.max_steps": 2000})


def on_card(*more: ev.Event, ms: float = 10.0) -> RunState:
    steps = [
        ev.StepDone(time=START + step, step=step, loss=3.0, lr=1e-3, grad_norm=1.0, ms=ms, tokens=4096 * step,
                    tokens_per_s=4096 / ms * 1e3, mfu=0.25) for step in range(1, 101)
    ]  # fmt: skip
    return reduce_all(RunState(), [run_started(**CARD), *steps, *more])


def test_the_measured_speed_and_share_stand_in_place_of_the_assumed() -> None:
    found = running(settings(), on_card())
    assert found is not None and found.share == 0.25 and found.share_elsewhere == 0.25
    assert found.plan.machine.tokens_per_s == pytest.approx(409_600)
    assert found.plan.seconds == pytest.approx(2000 * 4096 / 409_600)
    assert found.achieved == pytest.approx(409_600 * 1.7e7)
    assert found.plan.machine.name not in [each.machine.name for each in found.others] and len(found.others) == 4


def test_before_a_step_is_taken_the_usual_share_is_assumed() -> None:
    found = running(settings(), reduce_all(RunState(), [run_started(**CARD)]))
    assert found is not None and found.share is None and found.plan.machine.share == 0.4
    assert found.achieved is None and found.plan.seconds is not None
    assert running(settings(), RunState()) is None


def test_memory_as_measured_stands_beside_the_estimate() -> None:
    held = ev.MemorySampled(time=START, allocated=10**9, reserved=2 * 10**9, peak=3 * 10**9, total=24 * 2**30)
    found = running(settings(), on_card(held))
    assert found is not None and found.measured_peak == 3 * 10**9
    assert found.unlike == pytest.approx(3e9 / found.plan.memory.peak)
    assert found.plan.fits and found.plan.machine.memory_bytes == 24 * 2**30


def test_a_cpus_share_is_not_taken_to_a_card() -> None:
    found = running(settings(), reduce_all(RunState(), story()))
    assert found is not None and found.share == pytest.approx(0.110, rel=0.01) and found.share_elsewhere == 0.4


def test_the_best_use_of_some_days_is_of_the_arithmetic_that_is_got() -> None:
    found = running(settings(), on_card())
    assert found is not None and found.achieved is not None
    use = best_use(found, 3.0, 256)
    assert use is not None and use.flops == pytest.approx(3 * 86_400 * found.achieved)
    assert (use.parameters, use.tokens) == pytest.approx(LAW.best(use.flops))


async def planned(*keys: str, size: tuple[int, int] = (120, 50)) -> str:
    return await shown_by(FakeLink(story(), settings()), ["p", *keys], size)


async def test_key_p_shows_it_with_other_cards_and_the_best_size() -> None:
    shown = await planned()
    assert "as measured" in shown and "of them left" in shown
    assert "the same run elsewhere at 40 % of each peak, which is usual" in shown and "H200" in shown
    assert "best use of 30 days here" in shown and "best size" in shown


async def test_of_a_small_model_the_usual_share_is_not_promised() -> None:
    small = replace(settings(), {"model.n_layer": 2, "model.n_embd": 64, "model.n_head": 2})
    app = still_app(FakeLink(story(), small))
    async with app.run_test(size=(120, 50)) as pilot:
        await pilot.press("p")
        await pilot.pause()
        assert "far more than one so small gets" in screen_text(app)
    assert "one so small" not in await planned()


async def test_digits_type_other_days() -> None:
    assert "best use of 7 days here" in await planned("7")
    assert "best use of 0.5 days here" in await planned("0", "full_stop", "full_stop", "5")
    assert "best use of 3 days here" in await planned("backspace")
    assert "type the days" in await planned("backspace", "backspace")
    assert "type the days" in await planned("0")


async def test_days_that_arrive_together_are_typed_in_their_order() -> None:
    app = still_app(FakeLink(story(), settings()))
    async with app.run_test(size=(120, 50)) as pilot:
        await pilot.press("p")
        await pilot.pause()
        type_together(app, "3 backspace 4 full_stop backspace 2")
        await pilot.pause()
        app.frame(force=True)
        await pilot.pause()
        assert "best use of 42 days here" in " ".join(screen_text(app).split())


@pytest.mark.parametrize("size", [(80, 24), (120, 35), (200, 50)])
async def test_all_of_it_is_reached_at_every_size(size: tuple[int, int]) -> None:
    shown = await planned(size=size)
    assert "parameters" in shown and "Chinchilla" in shown
    assert "best tokens" in await planned(*["pagedown"] * 6, size=size)


async def test_nothing_is_made_anew_while_the_speed_stays() -> None:
    app = still_app(FakeLink(story(), settings()))
    async with app.run_test(size=(120, 50)) as pilot:
        await pilot.press("p")
        await pilot.pause()
        rows = app.screen.figures  # type: ignore[attr-defined]
        app.frame(force=True)
        before = rows._made
        assert isinstance(app.link, FakeLink)
        app.link.deliver(ev.StepDone(step=901, loss=1.5, lr=1e-3, grad_norm=1.0, ms=76.0, tokens=1, tokens_per_s=1.0))
        app.frame(force=True)
        assert rows._made is before
