"""Checkpoints: room for them, and how far apart they are."""

from __future__ import annotations

import pytest
from machines import find_one, on_card, saved
from stories import START, evidence, profile

from cockpit.doctor import saving
from cockpit.doctor.evidence import Evidence, Host
from gpt import events as ev

SIZE = 1.5e9


def with_disk(free: float, saves: int = 1, **settings: object) -> Evidence:
    """124M after step 600 of 19,073, a checkpoint every 500 steps, the newest 3 and the best kept."""
    beside = [saved(100 * number + 100, SIZE) for number in range(saves)]
    host = Host(cores=16, disk_free_bytes=round(free), memory_bytes=2**36)
    return on_card(profile("fineweb_124m", **settings), steps=600, every=5, beside=beside, with_={"host": host})


def test_the_step_at_which_the_disk_is_full_is_foretold() -> None:
    """One of three is there; 4 GB take the saves of steps 1,000 and 1,500, not that of 2,000."""
    found = find_one(saving.DISK, with_disk(4e9))
    assert found is not None and found.severity == "warning"
    assert found.evidence["full_at_step"] == 2000 and found.title.startswith(
        "The disk will be full at about step 2,000"
    )
    assert found.treatment is not None and found.treatment.kind == "live"
    assert found.treatment.changes == {"checkpoint.keep": 1}


def test_a_disk_without_room_for_two_is_critical() -> None:
    found = find_one(saving.DISK, with_disk(1.0e9))
    assert found is not None and found.severity == "critical" and found.evidence["full_at_step"] == 1000


def test_small_checkpoints_are_told_in_mb() -> None:
    settings = profile("demo")
    found = find_one(saving.DISK, evidence(settings, vocab_size=256, host=Host(disk_free_bytes=4_600_000)))
    assert found is not None and ": 4.6 MB free, " in found.title and "GB" not in found.title + found.advice + found.why


def test_room_for_all_that_is_kept_and_the_log_is_enough() -> None:
    """Two more, the best, one being written, and 14 MB of log."""
    assert find_one(saving.DISK, with_disk(6.3e9)) is None
    assert find_one(saving.DISK, with_disk(6.0e9)) is not None


def test_what_is_kept_already_needs_no_more_room() -> None:
    """All three are there: the best, and one being written."""
    assert find_one(saving.DISK, with_disk(3.2e9, saves=3)) is None


def test_before_the_run_the_size_follows_from_the_model() -> None:
    """124M: 3 · 4 · 124.4e6 bytes; three, the best and one being written are 7.5 GB."""
    settings = profile("fineweb_124m")
    found = find_one(saving.DISK, evidence(settings, host=Host(disk_free_bytes=7 * 10**9)))
    assert found is not None and found.evidence["checkpoint_bytes"] == pytest.approx(1.49e9, rel=0.01)
    assert find_one(saving.DISK, evidence(settings, host=Host(disk_free_bytes=8 * 10**9))) is None
    assert find_one(saving.DISK, evidence(settings, host=Host())) is None


def test_hours_that_a_failure_would_undo_are_told() -> None:
    """500 steps of 30 s, and nothing saved for being the best."""
    slow = on_card(profile("fineweb_124m", checkpoint__best=False), ms=30_000.0, beside=[saved(150)])
    found = find_one(saving.INTERVAL, slow)
    assert found is not None and found.severity == "warning" and "4 h 10 m" in found.title
    assert found.treatment is not None and found.treatment.kind == "live"
    assert found.treatment.changes == {"checkpoint.interval": 50}


def test_the_best_ones_count_as_checkpoints() -> None:
    """Every 100 steps of 30 s the validation loss was better."""
    saves = [saved(step, best=True) for step in (100, 200, 300)]
    assert find_one(saving.INTERVAL, on_card(ms=30_000.0, steps=300, beside=saves)) is None


def test_a_run_that_saves_only_at_its_end_is_told_once_much_is_at_risk() -> None:
    never = profile("fineweb_124m", checkpoint__interval=0, checkpoint__best=False)
    assert find_one(saving.INTERVAL, on_card(never, ms=30_000.0)) is not None
    short = profile("fineweb_124m", checkpoint__interval=0, checkpoint__best=False, train__max_steps=250)
    assert find_one(saving.INTERVAL, on_card(short, ms=30_000.0)) is None


def test_saving_all_the_time_is_told_with_its_share() -> None:
    """Every 10 steps: 40 s of 240."""
    busy = profile("fineweb_124m", checkpoint__interval=10)
    ledger = {"train": 200.0, "checkpoint": 40.0}
    saves: list[ev.Event] = [saved(step) for step in range(10, 201, 10)]
    clock = ev.LedgerUpdated(time=START + 5000, seconds=ledger, wall=240.0)
    found = find_one(saving.INTERVAL, on_card(busy, beside=[*saves, clock]))
    assert found is not None and found.title.startswith("Saving takes 16.7 % of the time: a checkpoint every 10 s")
    assert found.treatment is not None and found.treatment.changes == {"checkpoint.interval": 200}


def test_an_interval_as_it_should_be() -> None:
    assert find_one(saving.INTERVAL, on_card(ms=1000.0, beside=[saved(100)])) is None
    assert find_one(saving.INTERVAL, on_card(ms=20_000.0, beside=[saved(100)])) is None  # 2 h 47 m
