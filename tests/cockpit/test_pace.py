"""The speed that the screen, the lists and the reports say is one: time, tokens and MFU agree."""

from __future__ import annotations

import pytest
from played_runs import run_started, step_done

from cockpit.doctor.evidence import Evidence
from cockpit.explaining.utilization import mfu
from cockpit.pace import pace, peak_flops
from cockpit.reducer import reduce_all
from cockpit.state import RunState
from cockpit.widgets import instruments

WORK = 5e6 * 1024
"""FLOPs of a step."""


def timed(*times: float, peak: float = 2e11, **facts: object) -> RunState:
    """A run whose steps took so many ms each."""
    started = run_started(flops_per_token=5e6, tokens_per_step=1024, peak_flops=peak, **facts)
    shares = [WORK / (ms / 1e3) / 2e11 for ms in times]
    steps = [
        step_done(step, 2.0, ms=ms, tokens_per_s=1024 / ms * 1e3, mfu=share if share <= 1 else None)
        for step, (ms, share) in enumerate(zip(times, shares, strict=True), 1)
    ]
    return reduce_all(RunState(), [started, *steps])


def test_uneven_steps_are_not_said_to_be_faster_than_they_are_together() -> None:
    found = pace(timed(*[50.0, 150.0, 150.0] * 10))
    assert found.ms == 150.0
    assert found.tokens_per_s == pytest.approx(1024 / 0.150), "their rates' mean would be 11,378"
    assert found.mfu == pytest.approx(WORK / 0.150 / 2e11)


def test_the_screen_says_tokens_per_second_and_mfu_of_the_time_beside_them() -> None:
    state = timed(*[50.0, 150.0, 150.0] * 10, 50.0)
    assert instruments.ms_per_iter(state).value == "150.0"
    assert instruments.tokens_per_s(state).value == "6,827" and instruments.mfu(state).value == "17.1"


def test_a_peak_that_was_measured_again_is_what_the_share_is_explained_by() -> None:
    state = timed(*[50.0] * 20, peak=0.9e11)
    assert peak_flops(state) == pytest.approx(2e11)
    told = mfu(Evidence(profile=None, state=state))
    assert told.value == "51.2 %" and "/ 2e+11 FLOP/s = 51.20 %" in told.computation


def test_a_share_above_a_measured_peak_is_not_known() -> None:
    state = timed(*[26.0, 20.0, 20.0, 26.0])  # at the peak it would be 25.6 ms
    assert pace(state).mfu is None and pace(timed(*[20.0] * 4)).mfu is None
    assert pace(timed(*[26.0, 20.0, 20.0, 26.0], peak_source="datasheet")).mfu == pytest.approx(25.6 / 23)
