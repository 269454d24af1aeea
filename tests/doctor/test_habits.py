"""Habits on a CPU, and compiling for a short run."""

from __future__ import annotations

from typing import Any

import pytest
from machines import find_one, on_card, on_cpu
from stories import START, evidence, profile

from cockpit.doctor import habits
from cockpit.doctor.evidence import Host
from gpt import events as ev
from gpt.config import replace


def threads(count: int, **settings: Any) -> dict[str, Any]:
    return {"facts": {"device": f"AMD EPYC, {count} threads"}, "settings": profile("shakespeare_char_cpu", **settings)}


def test_more_threads_than_cores_are_a_warning() -> None:
    found = find_one(habits.THREADS, on_cpu(**threads(32, train__threads=32)))
    assert found is not None and found.severity == "warning" and found.title == "32 threads on 16 cores"
    assert found.treatment is not None and found.treatment.changes == {"train.threads": None}


def test_cores_left_idle_by_the_profile_are_a_note() -> None:
    found = find_one(habits.THREADS, on_cpu(**threads(2, train__threads=2)))
    assert found is not None and found.severity == "note" and found.title == "2 of 16 cores train"


@pytest.mark.parametrize(
    "case",
    [
        threads(16),
        threads(8),  # of eight cores with two threads each, chosen by itself
        threads(8, train__threads=8),
        {"facts": {"device": "2 × AMD EPYC, 8 threads (ddp)"}},
    ],
)
def test_threads_that_suit_the_cores(case: dict[str, Any]) -> None:
    assert find_one(habits.THREADS, on_cpu(**case)) is None


def test_threads_beside_a_card_are_not_looked_at() -> None:
    assert find_one(habits.THREADS, on_card(profile("fineweb_124m", train__threads=64))) is None


def test_bfloat16_without_amx_is_told_before_the_run_refuses() -> None:
    settings = profile("shakespeare_char_cpu", train__dtype="bfloat16", train__device="cpu")
    found = find_one(habits.PRECISION, evidence(settings, host=Host(has_amx=False)))
    assert found is not None and found.severity == "critical"
    assert find_one(habits.PRECISION, evidence(settings, host=Host(has_amx=True))) is None
    assert find_one(habits.PRECISION, evidence(settings, host=Host())) is None


def test_float32_asked_for_where_bfloat16_is_fast_is_a_note() -> None:
    settings = profile("shakespeare_char_cpu", train__dtype="float32")
    found = find_one(habits.PRECISION, on_cpu(settings, with_={"host": Host(has_amx=True)}))
    assert found is not None and found.severity == "note"
    assert find_one(habits.PRECISION, on_cpu(with_={"host": Host(has_amx=True)})) is None  # chosen by itself


def compiled(seconds: float, steps: int) -> list[ev.Event]:
    """How long compiling took, in the ledger."""
    ledger = {"train": 0.04 * steps, "compile": seconds}
    return [ev.LedgerUpdated(time=START + 5000, seconds=ledger, wall=sum(ledger.values()))]


def test_compiling_that_is_not_won_back_is_told_with_both_times() -> None:
    """2,000 steps of 40 ms on a CPU win 8 s; compiling took 60."""
    found = find_one(habits.COMPILE, on_cpu(facts={"compiled": True}, beside=compiled(60.0, 200)))
    assert found is not None and found.severity == "note"
    assert found.title == "Compiling took 1 m 00 s, and all 2,000 steps win back about 8.0 s"


def test_compiling_before_a_long_run_on_a_card_is_right() -> None:
    assert find_one(habits.COMPILE, on_card(beside=compiled(90.0, 200))) is None
    assert find_one(habits.COMPILE, on_cpu()) is None


@pytest.mark.parametrize(
    ("changes", "fires"),
    [
        ({"train.max_steps": 200, "train.device": "cuda", "train.compile": True}, True),
        ({"train.max_steps": 600, "train.device": "cuda", "train.compile": True}, False),
        ({"train.max_steps": 200, "train.device": "cuda"}, False),
        ({"train.device": "cpu", "train.compile": True}, True),
    ],
)
def test_compiling_that_is_asked_for_is_looked_at_before_the_run(changes: dict[str, Any], fires: bool) -> None:
    settings = replace(profile("shakespeare_char"), changes)
    assert (find_one(habits.COMPILE, evidence(settings)) is not None) == fires


def accumulating(micro: int, accum: int) -> Any:
    settings = profile("shakespeare_char_cpu", train__micro_batch_size=micro, train__grad_accum_steps=accum)
    return on_cpu(settings, facts={"micro_batch_size": micro, "grad_accum_steps": accum})


def test_short_micro_steps_are_joined_on_a_cpu() -> None:
    """Eight of 12 × 64, as measured: two of 48 × 64 are the same step in a tenth less time."""
    about = accumulating(12, 8)
    found = find_one(habits.MICRO_BATCH, about)
    assert found is not None and found.severity == "note" and found.treatment is not None and about.profile
    better = replace(about.profile, dict(found.treatment.changes))
    assert (better.micro_batch_size, better.grad_accum_steps) == (48, 2)
    assert better.tokens_per_step == about.profile.tokens_per_step


@pytest.mark.parametrize(("micro", "accum"), [(12, 1), (16, 8), (12, 3)])
def test_micro_steps_that_cannot_or_need_not_be_joined(micro: int, accum: int) -> None:
    assert find_one(habits.MICRO_BATCH, accumulating(micro, accum)) is None
