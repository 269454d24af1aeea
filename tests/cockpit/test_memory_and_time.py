"""Where memory and time go: estimate against measurement, what would free most, and the clock at a glance."""

from __future__ import annotations

from typing import Any

import pytest
from played_runs import START, FakeLink, demo_profile, run_started, screen_text, still_app, story
from textual.strip import Strip

from cockpit.holdings import holdings
from cockpit.reducer import reduce_all
from cockpit.screens.memory import Body, measured
from cockpit.screens.time import Ledger
from cockpit.state import RunState
from gpt import events as ev
from gpt.config import Profile, replace
from gpt.memory import estimate, sampling_bytes

GIB = 2**30
LARGE = replace(demo_profile(), {"train.micro_batch_size": 16, "train.tokens_per_step": 16 * 1024 * 4})


def on_gpu(**memory: int) -> RunState:
    started = run_started(
        device_type="cuda", dtype="bfloat16", vocab_size=50304, micro_batch_size=16, grad_accum_steps=4, block_size=1024
    )
    held = {"allocated": 4 * GIB, "reserved": 22 * GIB, "peak": 20 * GIB, "total": 140 * GIB} | memory
    return reduce_all(RunState(), [
        started, ev.MemorySampled(**held), ev.StateMeasured(weights=GIB // 2, optimizer=GIB),
    ])  # fmt: skip


def text(strips: list[Strip]) -> str:
    return "\n".join(strip.text for strip in strips)


def drawn(profile: Profile, state: RunState, size: tuple[int, int] = (120, 40)) -> str:
    body = Body()
    body.profile = profile
    return text(body.rows(state, *size))


def test_what_would_free_most_comes_first_and_is_what_the_estimate_says() -> None:
    state = on_gpu()
    found = holdings(LARGE, state)
    assert found and [s.freed for s in found.savings] == sorted((s.freed for s in found.savings), reverse=True)
    by_key = {next(iter(saving.changes)): saving for saving in found.savings}
    half = by_key["train.micro_batch_size"]
    assert half.changes == {"train.micro_batch_size": 8} and half.text == "--set train.micro_batch_size=8"
    after = estimate(replace(LARGE, half.changes), 50304, dtype="bfloat16")
    assert half.peak == after.peak == found.memory.peak - half.freed
    assert {"train.activation_checkpointing", "train.loss_chunk", "train.micro_batch_size"} <= by_key.keys()
    assert found.largest and found.largest >= 16


def test_the_tokens_in_a_step_stay_whatever_is_proposed() -> None:
    plain = replace(demo_profile(), {"train.micro_batch_size": 6, "train.grad_accum_steps": 2})
    found = holdings(plain, reduce_all(RunState(), [run_started(micro_batch_size=6, grad_accum_steps=2)]))
    assert found and found.savings
    for saving in found.savings:
        assert replace(plain, saving.changes).tokens_per_step == plain.tokens_per_step


def test_the_portions_that_the_run_came_to_count_and_not_those_it_was_asked_for() -> None:
    auto = replace(LARGE, {"train.micro_batch_size": "auto"})
    assert holdings(auto, on_gpu()) == holdings(LARGE, on_gpu())
    assert holdings(LARGE, RunState()) is None


def test_on_a_gpu_the_peak_is_what_is_measured_and_the_cache_stands_beside_it() -> None:
    state = on_gpu()
    found = holdings(LARGE, state)
    assert found
    figures = {figure.name: figure for figure in measured(state, found)}
    assert figures["peak"].size == 20 * GIB
    assert figures["peak"].parts == {"weights": GIB // 2, "optimizer": GIB, "rest": 20 * GIB - 3 * GIB // 2}
    shown = drawn(LARGE, state)
    assert "20.00 GiB" in shown and "2.00 GiB of it kept by the allocator for later, of 140.00 GiB on the card" in shown
    assert "512.0 MiB" in shown and "what would free most" in shown and "would fit; it is 16" in shown


async def test_i_shows_a_process_on_a_cpu_and_what_of_it_is_the_model() -> None:
    measured_state = ev.StateMeasured(weights=10 * 2**20, optimizer=20 * 2**20)
    app = still_app(FakeLink([*story(), measured_state]))
    async with app.run_test(size=(120, 35)) as pilot:
        await pilot.press("i")
        await pilot.pause()
        shown = screen_text(app)
    assert "process        1.21 GiB" in shown and "resident; the rest is Python" in shown
    assert "10.0 MiB  the parameters" in shown and "20.0 MiB  its moments" in shown


@pytest.mark.parametrize("size", [(20, 5), (60, 18), (80, 24), (200, 50)])
def test_rows_fit_any_size(size: tuple[int, int]) -> None:
    width, height = size
    body, ledger = Body(), Ledger()
    body.profile = LARGE
    for strips in (body.rows(on_gpu(), width, height), ledger.rows(clocked(), width, height)):
        assert strips and all(strip.cell_length == width for strip in strips)
    assert "nothing is known" in text(body.rows(RunState(), 80, height))
    assert text(ledger.rows(RunState(), width, height)).strip().startswith("nothing has")


def test_a_second_model_that_only_speaks_needs_its_weights_and_its_cache() -> None:
    model = LARGE.model
    one, two = (sampling_bytes(model, 50304, texts) for texts in (1, 2))
    cache = 2 * model.n_layer * model.n_embd * model.block_size * 4
    assert two - one == cache + 4 * 50304
    assert one > 4 * 124_000_000 > one - 2 * (cache + 4 * 50304)


def clocked(**last: float) -> RunState:
    """Ten minutes of training, each of them with six seconds of evaluation; then what `last` says."""
    seconds, events = dict.fromkeys(ev.PHASES, 0.0), []

    def tick() -> None:
        events.append(ev.LedgerUpdated(time=START, seconds=dict(seconds), wall=sum(seconds.values())))

    for second in range(600):
        seconds["evaluate" if second % 60 >= 54 else "train"] += 1.0
        tick()
    for phase, spent in last.items():
        seconds[phase] += spent
        tick()
    return reduce_all(RunState(), events)


def test_the_ledger_tells_the_run_and_its_last_minutes_apart() -> None:
    lines = text(Ledger().rows(clocked(paused=300.0), 120, 35)).splitlines()
    rows: dict[str, Any] = {line.split()[1]: line for line in lines[2:6]}
    assert "9 m 00 s  60.0 %" in rows["train"] and "0.0 s   0.0 %" in rows["train"]
    assert "5 m 00 s  33.3 %" in rows["paused"] and "5 m 00 s 100.0 %" in rows["paused"]
    assert any("goodput 60.0 %, of late 0.0 %" in line for line in lines)


def test_the_strip_shows_when_each_phase_was_on() -> None:
    lines = text(Ledger().rows(clocked(paused=600.0), 102, 35)).splitlines()
    at = next(n for n, line in enumerate(lines) if "the whole run" in line and n > 2)
    bottom = lines[at + 1 : next(n for n in range(at + 1, len(lines)) if "0:00:00" in lines[n])][-1]
    assert bottom[60:100] == "‖" * 40 and "‖" not in bottom[:45] and bottom[2:40].count("█") > 30
    strip = "".join(lines[at + 1 : at + 6])
    assert "▓" in strip


async def test_capital_t_opens_the_time_and_arrows_look_back_over_more_or_less() -> None:
    seconds = dict.fromkeys(ev.PHASES, 0.0) | {"train": 5000.0}
    app = still_app(FakeLink([*story(), ev.LedgerUpdated(time=START, seconds=seconds, wall=5000.0)]))
    async with app.run_test(size=(120, 35)) as pilot:
        await pilot.press("T")
        await pilot.pause()
        assert "last 5 m 00 s" in screen_text(app)
        await pilot.press("right")
        await pilot.pause()
        assert "last 15 m 00 s" in screen_text(app)
        await pilot.press("left", "left", "left")
        await pilot.pause()
        assert "last 1 m 00 s" in screen_text(app)
