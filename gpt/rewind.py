"""Going back to a checkpoint and on from there: which one, with what settings, and what becomes of the way one leaves.

The guard goes back by itself where a run has gone wrong: to the last checkpoint that proved good, more slowly and on
other data. A pilot chooses the checkpoint: all is then as it was there, the order of the data and the settings that
steer training included, so that without a change the same steps follow again. Either way the checkpoints of the way
that is left are kept aside, and of the present one is made first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from gpt import checkpoint
from gpt import events as ev
from gpt.commands import Rewind
from gpt.config import Profile
from gpt.errors import CheckpointError
from gpt.exactness import reasons_against
from gpt.guard import describe
from gpt.live import apply_changes
from gpt.run import Run
from gpt.steering import rate_changes, settings_then


class WayBack:
    """Takes one run back to one of its checkpoints."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def for_guard(self, fault: ev.SpikeDetected) -> bool:
        """Back to the last good checkpoint, and on more slowly, on other data. False: there is none."""
        run, guard = self._run, self._run.watch.guard
        with run.ledger.during("checkpoint"):
            run.drain()
            run.record.saver.wait()
            found = run.ranks.agree(last_good(run.record.saver.parent, guard.calm_step))
            if not found:
                return False
            before, position, rewinds = run.step, run.snapshot.position, guard.rewinds
            self._restore(*found)
            guard.rewinds = rewinds + 1
            run.snapshot.move_on_to(position)
        why = f"rewound from step {before:,}: {describe(fault)}"
        self._go_on(ev.Resumed(step=run.step, exact=False, why=why, left=before), gentler(run.profile))
        return True

    def for_pilot(self, command: Rewind) -> None:
        """Back to the checkpoint that was chosen, with the settings of then and the changes asked for.

        Where there is no such checkpoint, or the present cannot be saved first, says so and changes nothing.
        """
        run, saver = self._run, self._run.record.saver
        run.drain()
        run.snapshot.begin_step_again()  # a step that was given up for this has drawn from the generators
        saver.wait()
        found, why = run.ranks.agree(find(saver.parent, command.step))
        if found and not run.record.save("safety") and not saver.is_sick:  # what is not finite is not worth keeping
            found, why = None, f"the present could not be saved first: {saver.refusal}"
        if not found:
            run.reporter.log("warning", f"not rewound: {why}")
            return
        before, then = run.step, msgspec.convert(found[1]["profile"], Profile)
        run.recovery.forgive()  # what stood waiting for a decision has it
        with run.ledger.during("checkpoint"):
            self._restore(*found)
        changes = (settings_then(run.profile, then, run.step) if command.as_then else {}) | command.changes
        why = self._reasons_against(found[1], changes)
        self._go_on(ev.Resumed(step=run.step, exact=not why, why="; ".join(why), left=before), changes)

    def _reasons_against(self, state: dict[str, Any], changes: dict[str, Any]) -> list[str]:
        """Why what follows is not what followed then; empty where it is, bit for bit."""
        run = self._run
        profile, _ = apply_changes(run.profile, changes, run.step)
        stepper = run.snapshot.stepper
        return reasons_against(state, profile, run.device, stepper, run.data.fingerprint, run.ranks)

    def _restore(self, path: Path, state: dict[str, Any]) -> None:
        run = self._run
        run.record.restore(path, state)
        run.ranks.meet()  # all have read it: it may be replaced
        run.watch.take_demand()

    def _go_on(self, resumed: ev.Resumed, changes: dict[str, Any]) -> None:
        """From what was restored on, with changed settings; what was saved of the way that is left goes aside."""
        run = self._run
        run.snapshot.capture_generators()
        run.emit(resumed)
        run.state("paused" if run.helm.is_paused else "running")
        run.helm.set_config(changes)
        parent = run.record.saver.parent
        if run.record.save("rewind") and run.ranks.is_first:
            try:
                aside = checkpoint.set_aside(parent, run.step, run.evaluator.best_step)
            except OSError as error:
                run.reporter.log("error", f"what was saved after step {run.step:,} could not be set aside "
                                 f"({error.strerror}): a resume would go on from that; go back once more")  # fmt: skip
                return
            if aside:
                where = aside.relative_to(parent.parent)
                run.reporter.log("info", f"what was saved after step {run.step:,} is kept in {where}")


def find(parent: Path, step: int) -> tuple[tuple[Path, dict[str, Any]] | None, str]:
    """The folder and state.json of a run's checkpoint of a step, verified; or None, and why."""
    whole = [path for path in checkpoint.list_newest_first(parent) if checkpoint.step_of(path) == step]
    why = f"there is no checkpoint of step {step:,}"
    for path in whole:
        try:
            return (path, checkpoint.verify(path)), ""
        except CheckpointError as error:
            why = str(error)
    return None, why


def last_good(parent: Path, calm_step: int) -> tuple[Path, dict[str, Any]] | None:
    """The folder and state.json of the newest checkpoint that verifies and has proved good, or None.

    A checkpoint proves good by the step after it: that is where its weights are used first. So one before `calm_step`,
    the newest step without fault, goes before one of that very step, and later ones do not count.
    """
    paths = [path for path in checkpoint.list_newest_first(parent) if checkpoint.step_of(path) <= calm_step]
    for path in sorted(paths, key=lambda path: checkpoint.step_of(path) == calm_step):  # stable: newest first
        try:
            return path, checkpoint.verify(path)
        except CheckpointError:
            continue
    return None


def gentler(profile: Profile) -> dict[str, Any]:
    """Settings to go on with: the learning rate, and its floor where one is set, times guard.rate_factor."""
    return rate_changes(profile, profile.guard.rate_factor)
