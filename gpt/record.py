"""What a run's checkpoints say, when one is written, and how training goes on from one.

How they are written beside training is gpt.saver's; what the weights and their optimizer need is gpt.snapshot's.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import msgspec

from gpt import events as ev
from gpt.errors import CheckpointError
from gpt.exactness import environment, reasons_against
from gpt.run import Run
from gpt.saver import Saver

_BESIDE_ALL = ("failed", "change", "safety", "rewind")
"""Reasons of saves that no other checkpoint is deleted for: what a run goes back to may be the oldest."""


class Record:
    """The checkpoints of one run."""

    def __init__(self, run: Run, saver: Saver) -> None:
        self._run, self.saver = run, saver
        self.first_step = 0
        """Newest step that was restored: what this sitting, or a rewind, began with."""

    def maybe_save(self) -> None:
        """Saves where the interval says so, or a save that was put off is due."""
        if self._run.is_stopping or not self.has_new_steps:
            return
        self._maybe_make_room()
        reason = "interval" if self._run.due(self._run.profile.checkpoint.interval) else self.saver.overdue
        if reason:
            self.save(reason)

    def save(self, reason: str, *, best: bool = False) -> bool:
        """Writes a checkpoint of the last whole step, behind training; that goes on, too, if the disk refuses."""
        run = self._run
        with run.ledger.during("checkpoint"):
            if self.saver.postpones(run.step, reason):
                return True
        with run.doing("saving", "checkpoint"):
            # Only beside what is proven to be sound are older ones deleted.
            proven = run.reporter.is_sound and run.watch.is_calm and reason not in _BESIDE_ALL
            return self.saver.save(
                run.step, run.snapshot.tensors, self._document(),
                keep=run.profile.checkpoint.keep if proven else None, reason=reason, best=best,
            )  # fmt: skip

    def keep_this_step(self) -> None:
        """Before a risky change: saves this step, unless a checkpoint of it is there, or on its way, already."""
        if self.has_new_steps and not self.saver.has(self._run.step):
            self.save("change")

    @property
    def has_new_steps(self) -> bool:
        """Whether a step was taken since the state that was restored, or made."""
        return self._run.step > self.first_step

    def rescue(self) -> None:
        """After an error: saves the last whole step, if it is new and its weights are whole."""
        self.saver.close()
        if self.has_new_steps and not self._run.snapshot.stepper.is_updating:
            with contextlib.suppress(Exception):  # the error that brought us here is the one to be told
                self.save("failed")

    def load(self, path: Path, state: dict[str, Any]) -> ev.Resumed:
        """Goes on from a checkpoint; says whether what follows is bit-identical to never having stopped.

        Args:
            state: its state.json.

        Raises CheckpointError where it does not fit the run.
        """
        run = self._run
        if state["tokenizer"] != run.data.tokenizer.to_dict():
            raise CheckpointError(
                f"{path} was trained with other symbols than the data has now; resume with its own data"
            )
        self.restore(path, state)
        run.samples = state["samples"]
        run.agenda.restore(state)
        if not run.ledger.carries_over:  # whoever made it knows of the seconds after this checkpoint too
            for phase, seconds in state["ledger"].items():
                run.ledger.seconds[phase if phase in run.ledger.seconds else "other"] += seconds
        stepper = run.snapshot.stepper
        why = reasons_against(state, run.profile, run.device, stepper, run.data.fingerprint, run.ranks)
        return ev.Resumed(step=run.step, exact=not why, why="; ".join(why))

    def restore(self, path: Path, state: dict[str, Any]) -> None:
        """Puts everything back that training depends on. Raises CheckpointError where it does not fit."""
        run = self._run
        run.snapshot.restore(path, state)
        run.step = self.first_step = state["step"]
        run.evaluator.restore(state["evaluation"])
        run.watch.restore(state)
        self.saver.resumed_at(run.step, {key: state.get(key) for key in self._document()})

    def _maybe_make_room(self) -> None:
        """After the first step: from here on the optimizer's state has its size, and a copy of it needs room."""
        is_first_step = self._run.step == self.first_step + 1
        if is_first_step and self._run.ranks.size == 1:
            with self._run.ledger.during("startup"):
                self.saver.make_room(self._run.snapshot.tensors())

    def _document(self) -> dict[str, Any]:
        """What goes into a checkpoint's state.json besides the tensors' own facts."""
        run = self._run
        return {
            "tokens": run.tokens,
            "evaluation": run.evaluator.facts(),
            "samples": run.samples,
            "profile": msgspec.to_builtins(run.profile), "config_log": run.config_log,
            "ledger": dict(run.ledger.seconds), "data_fingerprint": run.data.fingerprint,
            "tokenizer": run.data.tokenizer.to_dict(),
            "environment": environment(run.device, run.snapshot.stepper, run.ranks),
            **run.snapshot.facts(),
            **run.watch.facts(), **run.agenda.facts(),
        }  # fmt: skip
