"""Runs that are as they should be: the rules on machines say nothing above a note."""

from __future__ import annotations

from typing import Any

import pytest
from machines import GIB, allocator, meters, on_card, on_cpu, saved
from stories import evidence, profile

from cockpit.doctor import batch, clock, habits, memory, peak, saving, speed, throttling
from cockpit.doctor.evidence import Evidence

RULES = (
    batch.RULE, clock.RULE, habits.THREADS, habits.PRECISION, habits.COMPILE, habits.MICRO_BATCH, *memory.RULES,
    peak.RULE, saving.DISK, saving.INTERVAL, speed.RULE, speed.AUTOTUNE, throttling.RULE, throttling.NEIGHBOUR,
)  # fmt: skip

BUSY_CARD = meters(
    gpu_throttle="power cap", gpu_watts=690.0, gpu_celsius=66.0, gpu_memory_used=64 * GIB, gpu_memory_total=140 * GIB,
    cpu_percent=9.0, process_cpu_percent=110.0,
)  # fmt: skip
SMALL_CARD = {
    "device": "NVIDIA GeForce RTX 4070 Ti", "peak_flops": 80.2e12, "micro_batch_size": 8, "grad_accum_steps": 64,
}  # fmt: skip
LAPTOP = {"device": "Apple arm (MPS)", "device_type": "mps", "dtype": "float32", "peak_source": "measured"}


def gaming_card() -> Evidence:
    """124M on a 4070 Ti at 55 %: 10.3 s a step, 10.9 of 12 GiB, a checkpoint every 500 steps and the best."""
    saves = [saved(step, best=True) for step in (250, 500, 750)]
    return on_card(ms=10_300.0, steps=1000, every=5, facts=SMALL_CARD, beside=[*saves, allocator(10.9, 12.0)])


SOUND: dict[str, Any] = {
    "124M on an H200": lambda: on_card(
        steps=2000, every=5, beside=[saved(500), saved(1000), allocator(61.2), BUSY_CARD]
    ),
    "124M on a gaming card": gaming_card,
    "Shakespeare on 16 cores": lambda: on_cpu(steps=2000, every=5, beside=[meters()]),
    "the demo on a laptop": lambda: on_cpu(
        profile("demo"), facts={"device": "Intel Core, 8 threads"}, ms=20.0, data_ms=0.2
    ),
    "a small model on a laptop's GPU": lambda: on_card(
        profile("shakespeare_char"), ms=300.0, facts=LAPTOP | {"peak_flops": 12e12}
    ),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_machine_gives_nothing_above_a_note(name: str) -> None:
    about = SOUND[name]()
    assert [(each.rule, each.title) for rule in RULES for each in rule.find(about) if each.severity != "note"] == []


@pytest.mark.parametrize("file", ["demo", "fineweb_124m", "gpt2_124m", "openwebtext_30m", "shakespeare_char"])
def test_no_shipped_profile_is_faulted_before_its_run(file: str) -> None:
    assert [each.title for rule in RULES for each in rule.find(evidence(profile(file)))] == []
