"""A clock held down, and neighbours on the processor."""

from __future__ import annotations

import pytest
from machines import find_one, meters, on_card, on_cpu, slower_steps

from cockpit.doctor import throttling


def test_heat_is_told_with_the_temperature() -> None:
    hot = meters(gpu_throttle="heat", gpu_celsius=93.0, gpu_watts=410.0)
    found = find_one(throttling.RULE, on_card(beside=[hot]))
    assert found is not None and found.severity == "warning"
    assert found.title == "The card's clock is held down: heat, 93 °C, 410 W"


def test_a_full_card_at_its_power_cap_is_as_it_should_be() -> None:
    """46 % MFU: a large card under load is held by its power, not by a fault."""
    capped = meters(gpu_throttle="power cap", gpu_watts=699.0)
    assert find_one(throttling.RULE, on_card(beside=[capped])) is None
    slow = find_one(throttling.RULE, on_card(ms=3000.0, beside=[capped]))
    assert slow is not None and slow.severity == "note"


@pytest.mark.parametrize("reading", ["", None])
def test_a_clock_that_runs_free_or_is_not_known_is_not_spoken_of(reading: str | None) -> None:
    assert find_one(throttling.RULE, on_card(ms=3000.0, beside=[meters(gpu_throttle=reading)])) is None


def test_a_neighbour_on_the_processor_is_told_with_what_it_costs() -> None:
    """Half of 16 cores gone since step 150: 40 ms became 90."""
    crowded = on_cpu(beside=[meters(cpu_percent=100.0, process_cpu_percent=800.0, others_cpu_percent=50.0)])
    found = find_one(throttling.NEIGHBOUR, crowded)
    assert found is not None and found.severity == "warning"
    assert found.title == "Other programs take 50 % of the processor's 16 cores"
    assert "train.threads = 8" in found.advice


@pytest.mark.parametrize("others", [2.0, 15.0, None])
def test_little_or_nothing_beside_training_is_no_neighbour(others: float | None) -> None:
    assert find_one(throttling.NEIGHBOUR, on_cpu(beside=[meters(others_cpu_percent=others)])) is None


def test_other_ranks_are_no_neighbours() -> None:
    """Two of 8 threads each on 16 cores: the other one takes 50 %."""
    facts = {"device": "2 × AMD EPYC, 8 threads (ddp)"}
    assert find_one(throttling.NEIGHBOUR, on_cpu(facts=facts, beside=[meters(others_cpu_percent=50.0)])) is None


def test_a_busy_processor_beside_a_card_counts_only_where_steps_became_slower() -> None:
    busy = [meters(others_cpu_percent=95.0)]
    assert find_one(throttling.NEIGHBOUR, on_card(beside=busy)) is None
    found = find_one(throttling.NEIGHBOUR, on_card(beside=[*slower_steps(1400.0), *busy]))
    assert found is not None and found.evidence["slower"] == pytest.approx(1.4)
