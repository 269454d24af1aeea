"""A little of what `make chaos` tries, and the gates themselves: they notice what they are there for."""

from __future__ import annotations

import importlib
import os
import random
import select
import signal
from pathlib import Path
from unittest import mock

import pytest

from gpt import durable
from tests.chaos import __main__ as chaos
from tests.chaos import crash_states, lanes, licences, refusals, slim, victims
from tests.chaos.disk import Disk
from tests.chaos.gate import GATES, ROOT, Effort, Gate, Outcome
from tests.chaos.image import Bench
from tests.chaos.interposed import Call, Interposed
from tests.chaos.mutants import MUTANTS
from tests.terminal.harness import Cockpit

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


def test_a_victim_that_fails_is_told_from_one_that_is_killed() -> None:
    def fails(words: victims.Words) -> None:
        words.doing("save")
        os._exit(3)

    def is_killed(words: victims.Words) -> None:
        words.acknowledge("alive")
        os.kill(os.getpid(), signal.SIGKILL)

    assert "failed while doing save" in victims.live(fails).crash
    lost = victims.live(is_killed)
    assert lost.said == ["alive"] and "failed while doing start" in lost.crash
    whole = victims.live(lambda words: words.acknowledge("alive"))
    assert (whole.phase, whole.said, whole.crash) == ("end", ["alive"], "")


def test_each_module_registers_the_gates_that_are_said_to_be_in_it() -> None:
    for name, numbers in chaos.MODULES.items():
        module = importlib.import_module(f"tests.chaos.{name}")
        assert tuple(gate.number for gate in GATES if gate.run.__module__ == module.__name__) == numbers
    assert [chaos.is_meant("2b", asked) for asked in ([], ["2"], ["2b"], ["2a", "1"])] == [True, True, True, False]


def test_gates_are_told_in_their_order_and_one_that_dies_has_failed() -> None:
    def raises(effort: Effort) -> Outcome:
        raise ZeroDivisionError("on purpose")

    holds, ours = os.pipe()

    def dies(effort: Effort) -> Outcome:
        if not os.fork():  # keeps open what the outcome would have been told through
            os.close(ours)
            select.select([holds], [], [], 60)
            os._exit(0)
        os._exit(3)

    gates = [
        Gate("1", "dies", "tries", dies),
        Gate("2", "waits", "tries", lambda effort: Outcome(effort.count(10)), waits=True),
        Gate("3", "raises", "tries", raises, weight=9),
        Gate("4", "is not tried", "tries", lambda effort: Outcome(0, skipped="no such thing here")),
        Gate("5", "finds", "tries", lambda effort: Outcome(1, ["something"])),
    ]
    for count in (1, 2):
        told = list(lanes.reports(gates, Effort(scale=0.5), count))
        assert [report.gate.number for report in told] == ["1", "2", "3", "4", "5"]
        assert [report.result for report in told] == ["failed", "passed", "failed", "skipped", "failed"]
        assert told[0].seconds < 50, "not until what it has left behind ends too"
        assert told[1].outcome.count == 5 and "ZeroDivisionError" in told[2].outcome.findings[0]
    os.close(ours)
    os.close(holds)


def test_what_is_installed_has_a_licence_that_is_permitted() -> None:
    outcome = licences.licences(Effort())
    assert outcome.count > 10 and not outcome.findings


@pytest.mark.parametrize(
    ("licence", "fault"),
    [
        ("MIT", ""), ("BSD-3-Clause AND (Zlib)", ""), ("Mozilla Public License 2.0 (MPL 2.0)", ""),
        ("", "names no licence"), ("MIT AND GPL-3.0-only", "its licence is GPL-3.0-only"),
        ("Affero General Public License, MIT", "its licence is Affero General Public License"),
    ],
)  # fmt: skip
def test_a_licence_is_permitted_in_all_its_parts_or_not_at_all(licence: str, fault: str) -> None:
    assert licences.wrong_with(licence) == fault


def test_the_terminals_program_hears_what_a_script_has_its_tests_ignore(tmp_path: Path) -> None:
    before = [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT)]
    try:
        with Cockpit("profiles", cwd=tmp_path) as cockpit:
            status = Path(f"/proc/{cockpit.process.pid}/status")
            if not status.exists():
                pytest.skip("no /proc here")
            ignored = int(status.read_text().partition("SigIgn:")[2].split()[0], 16)
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGQUIT), before, strict=True):
            signal.signal(number, handler)
    assert not ignored & (1 << signal.SIGINT - 1 | 1 << signal.SIGQUIT - 1)
