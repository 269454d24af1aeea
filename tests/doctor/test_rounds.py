"""The doctor beside a run: when it looks, what it tells, and that a mistake of ours costs no run."""

from __future__ import annotations

import itertools
import json
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import stories

from cockpit.doctor import dataset, rounds
from cockpit.doctor.diagnosis import Diagnosis, Rule
from cockpit.doctor.evidence import DataFacts, Evidence
from cockpit.doctor.host import read_host
from cockpit.doctor.resuming import RULE as CANNOT_RESUME
from cockpit.doctor.rounds import Consultation, Rounds, look
from cockpit.doctor.vocabulary import RULES as OF_DATA
from cockpit.reducer import reduce
from cockpit.runs import Run
from cockpit.state import RunState
from gpt import checkpoint
from gpt import events as ev
from gpt.config import Profile

SETTINGS = stories.profile("shakespeare_char_cpu")


def finds(evidence: Evidence) -> Iterator[Diagnosis]:
    yield Diagnosis("always", "warning", f"step {evidence.state.step}", {}, "why", "what to do")


ALWAYS = Rule("always", "finds something always", finds)


NO_TIME = itertools.repeat(0.0)


class Desk:
    """A run, its doctor, and what is told."""

    def __init__(
        self, folder: Path, *rules: Rule, cpu: Iterator[float] = NO_TIME, settings: Profile = SETTINGS
    ) -> None:
        self.told: list[ev.Event] = []
        self.changes: deque[ev.ConfigChanged] = deque()
        self.now = 1000.0
        self.rounds = Rounds(
            self.told.append,
            settings,
            folder,
            self.changes,
            rules or (ALWAYS,),
            wall=lambda: self.now,
            cpu=lambda: next(cpu),
        )
        self.state = stories.played(settings, steps=1, rows=65)

    def look(self) -> bool:
        """Lets a while pass and the doctor look."""
        self.now += 10
        return self.rounds.look(self.state)

    def steps(self, count: int) -> bool:
        """Takes so many steps; whether the doctor looked then."""
        last = self.state.last
        assert last is not None
        after = msgspec.structs.replace(last, step=self.state.step + count)
        self.state = reduce(self.state, after)
        return self.rounds.look(self.state)


def test_it_looks_at_the_start_then_every_hundred_steps_or_half_a_minute(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert not desk.rounds.look(RunState()), "not before the run has begun"
    assert desk.rounds.look(desk.state)
    desk.now += 20
    assert not desk.steps(50)
    assert desk.steps(50), "a hundred"
    desk.now += 29
    assert not desk.steps(1)
    desk.now += 1
    assert desk.steps(1), "half a minute"
    desk.now += 3600
    assert not desk.rounds.look(desk.state), "nothing new while it stands still"


def test_it_looks_at_every_evaluation_and_change_but_never_without_a_pause(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.rounds.look(desk.state)
    desk.state = reduce(desk.state, ev.EvalDone(step=7, train_loss=2.0, val_loss=2.0, seconds=1.0, best=True))
    desk.now += rounds.LEAST_GAP / 2
    assert not desk.rounds.look(desk.state)
    desk.now += rounds.LEAST_GAP
    assert desk.rounds.look(desk.state)
    desk.now += 2
    desk.changes.append(ev.ConfigChanged(step=7, key="optim.grad_clip", old="1.0", new="0.5"))
    assert desk.rounds.look(desk.state)
    desk.now += 2
    assert not desk.rounds.look(desk.state)
    desk.state = reduce(desk.state, ev.StateChanged(state="finished"))
    assert desk.rounds.look(desk.state), "and once more at the end"


def test_looking_takes_a_bounded_share_of_the_time(tmp_path: Path) -> None:
    desk = Desk(tmp_path, cpu=itertools.count(0.0, 0.1))  # each examination takes a tenth of a second
    looks = 0
    for _ in range(1000):
        desk.now += 1.0
        looks += desk.steps(100)
    assert looks == pytest.approx(1000 * rounds.SHARE / 0.1, abs=1.1)


def test_what_it_finds_twice_is_told_with_its_step_and_what_is_silenced_ends(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    assert desk.look() and not desk.told
    desk.now += 10
    desk.steps(100)
    (made,) = desk.told
    assert isinstance(made, ev.DiagnosisMade) and (made.rule, made.severity, made.title) == (
        "always",
        "warning",
        "step 101",
    )
    desk.changes.append(ev.ConfigChanged(step=101, key="doctor.silence", old="[]", new='["always: it is a test"]'))
    assert desk.look()
    assert isinstance(desk.told[-1], ev.DiagnosisEnded)


def test_at_the_end_once_is_enough(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.state = reduce(desk.state, ev.StateChanged(state="finished"))
    assert desk.look() and isinstance(desk.told[-1], ev.DiagnosisMade)


def test_a_resumed_run_tells_only_what_is_new(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.state = reduce(desk.state, ev.DiagnosisMade(step=1, rule="always", severity="warning", title="step 1"))
    for _ in range(5):
        desk.now += 10
        desk.steps(100)
    assert [event.title for event in desk.told if isinstance(event, ev.DiagnosisMade)] == [
        "step 101",
        "step 201",
        "step 301",
        "step 401",
    ]


def test_a_rule_that_fails_is_left_out_with_one_warning(tmp_path: Path) -> None:
    def fails(evidence: Evidence) -> Iterator[Diagnosis]:
        yield from ()
        raise ZeroDivisionError("no steps")

    desk = Desk(tmp_path, Rule("broken", "fails", fails), ALWAYS)
    desk.look()
    for _ in range(3):
        desk.now += 10
        desk.steps(100)
    (warning,) = [event for event in desk.told if isinstance(event, ev.LogLine)]
    assert "rule broken failed and is left out: ZeroDivisionError: no steps" in warning.text
    assert any(isinstance(event, ev.DiagnosisMade) for event in desk.told), "the others go on"
    found, broken = look(stories.evidence(SETTINGS, desk.state), [Rule("broken", "fails", fails), ALWAYS])
    assert [each.rule for each in found] == ["always"] and "broken" in broken


def test_a_change_that_holds_only_with_the_next_one_waits_for_it(tmp_path: Path) -> None:
    seen: list[float | None] = []

    def notes(evidence: Evidence) -> Iterator[Diagnosis]:
        seen.append(evidence.profile.optim.learning_rate if evidence.profile else None)
        yield from ()

    desk = Desk(tmp_path, Rule("notes", "takes notes", notes))
    desk.changes.append(ev.ConfigChanged(step=1, key="optim.min_lr", old="1e-5", new="0.5"))  # above the highest rate
    desk.look()
    assert seen == [SETTINGS.optim.learning_rate]
    desk.changes.append(ev.ConfigChanged(step=1, key="optim.learning_rate", old="1e-3", new="0.6"))
    desk.look()
    assert seen[-1] == 0.6


def test_a_consultation_answers_later_on_a_thread_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "profile.toml").write_text("# ~124M parameters\n")
    asked = Consultation(tmp_path)
    asked.ask(SETTINGS, stories.played(SETTINGS, steps=1, rows=65))
    assert threading.current_thread().name != "doctor asked"
    while asked.is_busy:
        pass
    assert asked.opinion is not None and asked.opinion.evidence.source == "# ~124M parameters\n"
    assert not asked.opinion.broken


def test_the_machine_is_read_for_folders_that_are_not_there_yet(tmp_path: Path) -> None:
    host = read_host(tmp_path / "runs" / "none")
    assert host.cores and host.memory_bytes and host.disk_free_bytes


def copied(folder: Path) -> Profile:
    """A profile whose validation tokens are its training tokens; random ones, so that no two stretches are alike."""
    tokens = np.random.default_rng(0).integers(0, 50_000, 20_000).astype("<u2")
    for split in ("train", "val"):
        tokens.tofile(folder / f"{split}.bin")
    return stories.profile("fineweb_124m", data__dir=str(folder), data__tokenizer="gpt2")


def titles(desk: Desk, rule: str) -> list[str]:
    return [event.title for event in desk.told if isinstance(event, ev.DiagnosisMade) and event.rule == rule]


def test_beside_a_run_the_data_is_looked_at_once_and_told_of_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    real = dataset.look

    def look_at(*given: Any) -> DataFacts | None:
        threads.append(threading.current_thread().name)
        return real(*given)

    monkeypatch.setattr(dataset, "look", look_at)
    settings = copied(tmp_path)
    desk = Desk(tmp_path, *OF_DATA, settings=settings)
    assert desk.rounds.look(desk.state) and not titles(desk, "same_data"), "the first look does not wait for the data"
    assert desk.rounds.reading is not None
    desk.rounds.reading.join()
    assert desk.look(), "there is something new, though no step was taken"
    desk.now += 10
    desk.steps(100)
    assert titles(desk, "same_data") == ["100 % of validation stands in training too"]
    asked = Consultation(tmp_path)
    asked.ask(settings, desk.state)
    while asked.is_busy:
        pass
    assert asked.opinion is not None and asked.opinion.evidence.data is not None
    assert threads == ["doctor reading"], "who asks on the screen does not look again"


def test_files_that_stay_what_they_are_are_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Profile] = []
    monkeypatch.setattr(dataset, "look", lambda profile, breathe: looks.append(profile))
    settings, remembered = copied(tmp_path), dataset.Remembered()
    for _ in range(3):
        remembered.look(settings, lambda: None)
    assert len(looks) == 1
    np.zeros(10, "<u2").tofile(tmp_path / "val.bin")
    remembered.look(settings, lambda: None)
    assert len(looks) == 2


def test_data_that_cannot_be_looked_at_is_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*given: Any) -> DataFacts | None:
        raise ZeroDivisionError("no tokens")

    monkeypatch.setattr(dataset, "look", fails)
    desk = Desk(tmp_path, settings=copied(tmp_path))
    desk.look()
    assert desk.rounds.reading is not None
    desk.rounds.reading.join()
    desk.look()
    (warning,) = [event for event in desk.told if isinstance(event, ev.LogLine)]
    assert warning.text == "doctor: the data could not be looked at: ZeroDivisionError: no tokens"


def test_a_profile_that_is_edited_while_it_trains_is_held_against_the_checkpoint(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    saved = run.checkpoints_path / "step-00000001"
    saved.mkdir(parents=True)
    state = {"format": checkpoint.FORMAT, "step": 1, "files": {}, "model": {"n_layer": SETTINGS.model.n_layer}}
    (saved / "state.json").write_text(json.dumps({**state, "sha256": checkpoint._document_hash(state)}))
    file = tmp_path / "mine.toml"
    text = f'extends = "{stories.PROFILES / "shakespeare_char_cpu.toml"}"\n'
    file.write_text(text)
    run.write_facts({"profile_path": str(file), "overrides": []})
    desk = Desk(run.path, CANNOT_RESUME)
    assert desk.look()
    desk.now += 10
    desk.steps(100)
    assert not titles(desk, "cannot_resume")
    file.write_text(f"{text}[model]\nn_layer = 7\n")
    for _ in range(2):
        desk.now += 10
        desk.steps(100)
    assert titles(desk, "cannot_resume") == ["cannot go on with run at step 1: its shape changed"]
