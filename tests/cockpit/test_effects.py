"""What a change will do, foretold from the two profiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from played_runs import run_started, story

from cockpit.effects import forecast, rates
from cockpit.reducer import reduce_all
from cockpit.state import RunState
from cockpit.widgets.schedule import schedule_rows
from gpt.config import Profile, decode, replace
from gpt.schedule import learning_rate


def profile(**changes: Any) -> Profile:
    base = decode({"data": {"name": "python-stdlib"}, "train": {"max_steps": 2000}})
    return replace(base, {key.replace("__", "."): value for key, value in changes.items()})


def figures(
    changes: dict[str, Any], state: RunState | None = None, step: int | None = None
) -> dict[str, tuple[str, str]]:
    before = profile()
    known = state or reduce_all(RunState(), story())
    return {one.label: (one.old, one.new) for one in forecast(before, replace(before, changes), known, step).effects}


def test_a_rate_is_foretold_for_the_next_step_and_the_last() -> None:
    told = figures({"optim.learning_rate": 3e-4})
    assert told == {"rate at step 901": ("3.72e-4", "1.86e-4"), "rate at the end": ("6.00e-5", "3.00e-5")}
    assert figures({"optim.learning_rate": 3e-4}, step=1999)["rate at step 2,000"] == ("6.00e-5", "3.00e-5")


def test_a_longer_run_is_foretold_in_steps_time_and_tokens() -> None:
    told = figures({"train.max_steps": 4000})
    assert told["last step"] == ("2,000", "4,000")
    assert told["tokens in all"] == ("24.6 M", "49.2 M")
    old, new = told["training left"]
    assert old == "1 m 25 s" and new == "3 m 59 s"


def test_a_larger_batch_is_foretold_in_tokens_and_memory() -> None:
    told = figures({"train.micro_batch_size": 24})
    assert told["tokens per step"] == ("12,288", "24,576")
    old, new = (float(size) for size in told["memory, estimated"])
    assert 1.3 * old < new < 2.2 * old
    told = figures({"train.micro_batch_size": 6, "train.grad_accum_steps": 2})
    assert "tokens per step" not in told and told["memory, estimated"][1] < told["memory, estimated"][0]


def test_what_is_done_beside_training_is_counted_to_the_end() -> None:
    assert figures({"train.eval_interval": 100}) == {"evaluations to come": ("5", "11")}
    assert figures({"checkpoint.interval": 0}) == {"checkpoints to come": ("2", "0")}
    assert figures({"sample.temperature": 0.5}) == {}


def test_a_forecast_says_whether_the_rate_moves_and_what_is_risky() -> None:
    before = profile()
    state = reduce_all(RunState(), [run_started()])
    clip = forecast(before, profile(optim__grad_clip=0.5), state)
    assert not clip.moves_rate and clip.risk and "grad_clip" in clip.risk
    assert forecast(before, profile(optim__learning_rate=7e-4), state).moves_rate
    assert forecast(before, profile(train__eval_steps=3), state).risk is None


def test_the_drawn_rates_are_the_schedules_own_and_end_with_the_run() -> None:
    one = profile(optim__warmup_steps=100)
    drawn = rates(one, 0, 4000, 401)
    assert drawn[150] == learning_rate(1500, one.optim, 2000)
    assert np.isnan(drawn[201:]).all() and np.isfinite(drawn[:201]).all()


@pytest.mark.parametrize(("width", "height"), [(20, 2), (60, 4), (150, 10)])
def test_before_and_after_are_drawn_in_rows_of_one_width(width: int, height: int) -> None:
    before, after = profile(), profile(optim__learning_rate=2e-3, train__max_steps=3000)
    rows = schedule_rows(before, after, 900, width, height)
    assert [sum(len(text) for text, _ in row) for row in rows] == [width] * height
    text = ["".join(text for text, _ in row) for row in rows]
    assert "3,000" in text[-1] and any("⠀" < char <= "⣿" for char in text[0])
    assert schedule_rows(before, after, 900, 15, 4) == []
