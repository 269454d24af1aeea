"""What the pilot's commands do to a run: stand still, go on, change, end. What each means is said in gpt.commands."""

from __future__ import annotations

from typing import Any

from gpt import commands
from gpt import events as ev
from gpt.commands import Command
from gpt.config import flatten
from gpt.live import apply_changes, risk
from gpt.reporter import TICK_SECONDS
from gpt.run import Run
from gpt.steering import cooldown_changes, extension_changes

PAUSED_TICK_SECONDS = 2.0
"""Time between two reports of the ledger while nothing goes on."""


class Helm:
    """Obeys one run's pilot, at step boundaries and, where that is safe, between micro-steps."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._single_steps = 0
        self.is_paused = False
        """Whether the run stands still, or will once a single step is done."""
        self.stop: commands.Stop | None = None
        """The command that ends the run, once there is one."""

    def obey(self) -> None:
        """Takes up all waiting commands; while paused, waits here for more."""
        run = self._run
        while True:
            for command in run.inbox.take():
                self._carry_out(command)
            if not self.is_paused or self._single_steps or self.stop or run.inbox.wants_boundary:
                return
            if reason := run.record.saver.overdue:
                run.record.save(reason)
            with run.ledger.during("paused"):
                run.inbox.wait(TICK_SECONDS)
            run.reporter.tick(every=PAUSED_TICK_SECONDS)

    def obey_inside_step(self) -> bool:
        """What can be obeyed between two micro-steps is; False where the step is to be given up.

        That is while it stands still half-way, for a Stop or for what needs a step boundary.
        """
        self._run.inbox.enter_step()
        if self._run.ranks.size == 1:  # several hear their pilot at step boundaries only
            self.obey()
        self._run.reporter.tick()
        return not (self.is_paused and (self.stop or self._run.inbox.wants_boundary))

    def turn_down(self) -> None:
        """Answers what has come too late to be obeyed: the run is at its end."""
        for command in self._run.inbox.take():
            if not isinstance(
                command, commands.Leave | commands.Stop | commands.StopSampling
            ):  # they have what they want
                name = type(command).__name__
                self._run.reporter.log("warning", f"{name} came too late: the run has ended; resume it for more steps")

    def count_step(self) -> None:
        """Notes that a step is done; the one that was asked for while paused ends in the pause again."""
        if self._single_steps:
            self._single_steps -= 1
            self.pause()

    def pause(self) -> None:
        """Stands still from here on, until it is told otherwise."""
        self._run.drain()
        if not self.is_paused:
            self.is_paused = True
            self._run.emit(ev.Paused(step=self._run.step))
        self._run.reporter.tick(now=True)
        self._run.state("paused")

    def heed_agenda(self) -> None:
        """At a step boundary: does what was scheduled for it. What comes after a Stop waits for the next sitting."""
        run, agenda = self._run, self._run.agenda
        wall, val_loss = 0.0, None
        if agenda.watches_run:
            run.ledger.update()
            wall, val_loss = run.ranks.agree((run.ledger.wall, run.evaluator.val_loss))
        for item in agenda.due(run.step, wall=wall, val_loss=val_loss):
            if self.stop:
                return
            if changes := self._changes(item.command):
                self._make_safe(changes)  # while it still waits: whoever goes back there has it before him again
            run.emit(agenda.done(item, run.step))
            self._carry_out(item.command)

    def set_config(self, changes: dict[str, Any]) -> None:
        """Applies what can change live, from the next step on; refuses the rest with the reason.

        Before what is risky, this step is saved.
        """
        run = self._run
        self._make_safe(changes)
        before = flatten(run.profile)
        run.profile, said = apply_changes(run.profile, changes, run.step)
        for event in said:
            if isinstance(event, ev.ConfigChanged):
                key = event.key
                run.config_log.append({"step": run.step, "key": key, "old": before[key], "new": changes[key]})
            run.emit(event)

    def _carry_out(self, command: Command) -> None:
        run = self._run
        run.emit(ev.CommandReceived(command=type(command).__name__, step=run.step))
        match command:
            case commands.Pause():
                run.drain()
                self.pause()
            case commands.Continue():
                self._go_on()
            case commands.StepOnce():
                if not self._steps_left:
                    self._say_none_is_left()
                elif self.is_paused:
                    self._single_steps = 1
                    run.state("running", "one step")
            case commands.Sample():
                run.beside.sample(command)
            case commands.StopSampling():
                pass  # what it was to end looked for it in the inbox
            case commands.Evaluate():
                run.beside.evaluate(whole=command.whole)
            case commands.Save():
                run.record.save("asked")
            case commands.Cooldown(steps=None) if not self._steps_left:
                self._say_none_is_left()
            case commands.SetConfig() | commands.Cooldown() | commands.Extend():
                self.set_config(self._changes(command))
            case commands.At() | commands.StopWhen():
                run.emit(run.agenda.add(command, run.step))
            case commands.Cancel():
                run.emit(run.agenda.cancel(command.item, run.step))
            case commands.Rewind():
                run.way_back.for_pilot(command)
            case commands.RangeTest():
                run.beside.range_test(command)
            case commands.Stop():
                self.stop = command
                run.recovery.forgive()
                run.state("stopping")
            case commands.Leave():
                run.recovery.be_left()

    @property
    def _steps_left(self) -> int:
        return max(0, self._run.profile.train.max_steps - self._run.step)

    def _say_none_is_left(self) -> None:
        self._run.reporter.log("warning", "no step is left; extend the run, or let it end")

    def _changes(self, command: Command) -> dict[str, Any]:
        """The settings that a command changes now; none where it does something else."""
        run = self._run
        match command:
            case commands.SetConfig():
                return dict(command.changes)
            case commands.Cooldown():
                return cooldown_changes(run.profile, run.step, command.steps)
            case commands.Extend():
                return extension_changes(run.profile, run.step, command.steps)
        return {}

    def _make_safe(self, changes: dict[str, Any]) -> None:
        """Saves this step before a risky change, so that it can be gone back to."""
        run = self._run
        if risk(run.profile, apply_changes(run.profile, changes, run.step)[0]):
            run.record.keep_this_step()

    def _go_on(self) -> None:
        if self.is_paused:
            self.is_paused, self._single_steps = False, 0
            self._run.recovery.forgive()
            self._run.emit(ev.Continued(step=self._run.step))
            self._run.state("running")
