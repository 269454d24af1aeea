"""A little of what `make chaos` tries, and the gates themselves: they notice what they are there for."""

from __future__ import annotations

import random
from pathlib import Path
from unittest import mock

import pytest

from gpt import durable
from tests.chaos import crash_states, refusals, slim, victims
from tests.chaos.disk import Disk
from tests.chaos.gate import Effort
from tests.chaos.image import Bench
from tests.chaos.interposed import Call, Interposed
from tests.chaos.mutants import MUTANTS, ROOT

SMOKE = Effort(scale=0.004, workers=1)


def test_no_crash_state_loses_a_checkpoint() -> None:
    outcome = crash_states.crash_states(SMOKE)
    assert outcome.count > 200 and not outcome.findings


def test_without_syncing_folders_crash_states_lose_checkpoints() -> None:
    with mock.patch.object(durable, "sync_folder", lambda folder: None):
        outcome = crash_states.crash_states(SMOKE)
    assert any("lost" in finding for finding in outcome.findings)


def test_no_kill_loses_what_a_slim_writer_has_acknowledged() -> None:
    outcome = slim.slim(SMOKE)
    assert outcome.count >= 20 and not outcome.findings


def test_no_errno_loses_anything() -> None:
    outcome = refusals.refusals(Effort(scale=0.1, workers=1))
    assert outcome.count > 50 and not outcome.findings


def test_a_mutant_still_finds_its_place() -> None:
    for mutant in MUTANTS:
        assert (ROOT / mutant.file).read_text().count(mutant.old) == 1, mutant.what


def test_what_is_not_synced_may_be_lost_torn_or_garbled(tmp_path: Path) -> None:
    calls: list[Call] = []
    with Interposed(tmp_path, after=calls.append):
        with (tmp_path / "durable").open("wb") as file:
            file.write(b"d" * 600)
            durable.flush(file)
        durable.sync_folder(tmp_path)
        (tmp_path / "loose").write_bytes(b"l" * 1500)
    disk = Disk()
    for call in calls:
        call.path = call.path.removeprefix(str(tmp_path))
        disk.apply(call)
    chance = random.Random(0)
    assert disk.now() == {"durable": b"d" * 600, "loose": b"l" * 1500}
    assert disk.crash(chance, "lost") == {"durable": b"d" * 600}
    assert disk.crash(chance, "names") == {"durable": b"d" * 600, "loose": b""}
    seen = [disk.crash(chance, "garbled") for _ in range(60)]
    assert all(image["durable"] == b"d" * 600 for image in seen)
    assert {"loose" in image for image in seen} == {True, False}
    loose = [image["loose"] for image in seen if "loose" in image]
    assert any(b"l" * 512 in each and each != b"l" * 1500 for each in loose if isinstance(each, bytes))


def test_a_bench_holds_each_image_in_turn(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for image in ({"a": None, "a/x": b"1", "l": "a"}, {"a": b"now a file", "b": None}, {"a": None, "a/x": b"2"}, {}):
        bench.hold(image)
        assert Bench(tmp_path).look() == image


@pytest.mark.parametrize("phase", [None, "save"])
def test_a_victim_dies_in_what_it_does(phase: str | None) -> None:
    def life(words: victims.Words) -> None:
        words.acknowledge("alive")
        while True:
            words.doing("save")

    death = victims.kill(life, random.Random(0), within=0.05, phase=phase)
    assert death.said in ([], ["alive"]) and not death.crash
    assert death.phase == "save" or phase is None
