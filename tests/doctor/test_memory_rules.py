"""Memory close to what there is."""

from __future__ import annotations

from typing import Any

import pytest
from machines import GIB, allocator, find_one, meters, on_card, on_cpu
from stories import evidence, profile

from cockpit.doctor import memory
from cockpit.doctor.evidence import Host
from gpt import events as ev
from gpt.config import replace

CARD, SHARED, HOST = memory.RULES


def test_a_peak_at_the_cards_limit_halves_the_micro_batch() -> None:
    """11.6 of 12 GiB."""
    found = find_one(CARD, on_card(beside=[allocator(11.6, 12.0)]))
    assert found is not None and found.severity == "warning"
    assert found.title == "97 % of the card's memory at its peak: 410 MiB are left"
    assert found.treatment is not None
    better = replace(profile("fineweb_124m"), dict(found.treatment.changes))
    assert (better.micro_batch_size, better.tokens_per_step) == (4, 524288)


def test_what_the_allocator_merely_keeps_is_not_in_need() -> None:
    assert find_one(CARD, on_card(beside=[allocator(9.0, 12.0, reserved=11.9)])) is None


def test_another_programs_share_of_the_card_is_told() -> None:
    used = {"gpu_memory_used": 30 * GIB, "gpu_memory_total": 80 * GIB}
    found = find_one(SHARED, on_card(beside=[allocator(10.0, 80.0), meters(**used)]))
    assert found is not None and found.severity == "note" and "Another program holds about 18.6 GiB" in found.title
    own = {"gpu_memory_used": 11 * GIB, "gpu_memory_total": 80 * GIB}
    assert find_one(SHARED, on_card(beside=[allocator(10.0, 80.0), meters(**own)])) is None


def test_a_machine_without_memory_left_asks_for_a_save() -> None:
    full = meters(host_memory_used=round(63.5 * GIB), host_memory_total=64 * GIB)
    found = find_one(HOST, on_cpu(beside=[full]))
    assert found is not None and found.severity == "critical" and found.title.endswith("512 MiB of memory left")
    assert found.treatment is not None and found.treatment.action == "checkpoint"


@pytest.mark.parametrize("beside", [[], [allocator(11.0, 12.0)], [meters(host_memory_used=58 * GIB)]])
def test_memory_that_is_used_but_not_up(beside: list[ev.Event]) -> None:
    assert [each.title for rule in memory.RULES for each in rule.find(on_card(beside=beside))] == []


def test_before_the_run_it_is_foretold_for_the_card_here() -> None:
    """60 sequences of 124M at once on 12 GiB."""
    small = Host(card="NVIDIA GeForce RTX 4070 Ti")
    settings = profile("fineweb_124m", train__micro_batch_size=64)
    found = find_one(CARD, evidence(settings, host=small))
    assert found is not None and found.severity == "critical" and "the card has 12.0" in found.title
    assert found.treatment is not None and found.treatment.changes["train.micro_batch_size"] == 8
    assert find_one(CARD, evidence(profile("fineweb_124m"), host=small)) is None


@pytest.mark.parametrize("host", [Host(), Host(memory_bytes=8 * GIB)])
def test_a_card_that_is_not_known_is_not_judged(host: Any) -> None:
    assert find_one(CARD, evidence(profile("fineweb_124m", train__micro_batch_size=64), host=host)) is None
