"""The trainer: one loop that obeys, trains, evaluates, saves and samples, and says what happened.

It runs on a thread of its own. Commands come in by `send`, events go out by `emit`; neither ever waits for the other
side. Whatever is done beside training has generators and batches of its own, so that it cannot change the weights.
"""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from gpt import checkpoint, commands
from gpt import events as ev
from gpt.commands import Command
from gpt.config import Profile, flatten
from gpt.data import Dataset, open_dataset
from gpt.device import Device, choose
from gpt.errors import CheckpointError, DivergedError, UserError
from gpt.evaluate import Evaluator, finite
from gpt.exactness import environment, reasons_against
from gpt.fit import Fit
from gpt.guard import describe
from gpt.ledger import TimeLedger
from gpt.live import apply_changes
from gpt.ranks import ALONE, Ranks, check_share
from gpt.reporter import TICK_SECONDS, Reporter
from gpt.rewind import gentler, last_good
from gpt.sampler import draw_samples
from gpt.saver import Saver
from gpt.schedule import learning_rate
from gpt.snapshot import Snapshot, build
from gpt.steering import cooldown_changes, extension_changes
from gpt.stepper import Abandoned, StepResult
from gpt.watch import Watch

PAUSED_TICK_SECONDS = 2.0
"""Time between two reports of the ledger while nothing goes on."""


class Trainer:
    """Trains one run from a profile, from scratch or from a checkpoint, until its last step or a Stop.

    Args:
        run_dir: the run's folder; checkpoints go to `checkpoints` in it.
        emit: takes each event, from more than one thread; must not block.
        resume: the checkpoint's folder to go on from, or None.
        ledger: a clock that was started before this module, and torch with it, was imported; None: it starts now.
        attended: whether somebody watches, and can be asked what to do.
        ranks: those that train the run together; the first one's trainer speaks and writes for all.
    """

    def __init__(
        self,
        profile: Profile,
        run_dir: Path,
        emit: Callable[[ev.Event], None],
        *,
        resume: Path | None = None,
        ledger: TimeLedger | None = None,
        attended: bool = False,
        ranks: Ranks = ALONE,
    ) -> None:
        self.profile = profile
        self.run_dir = run_dir
        self.emit = emit if ranks.is_first else _say_nothing
        self.ranks = ranks.sharing(profile.train.parallel)
        self.resume = resume
        self.step = 0
        self._first_step = 0
        self.samples = 0
        self.config_log: list[dict[str, Any]] = []
        self.ledger = ledger or TimeLedger("startup")
        self.reporter = Reporter(self.emit, self.ledger, self.ranks)
        self.saver = Saver(run_dir / "checkpoints", self.emit, self.ranks)
        self._threads = contextlib.ExitStack()  # ends those that the run has beside its own
        self._threads.callback(self.saver.close)
        self.fit = Fit(self, self.reporter)
        self._commands: collections.deque[Command] = collections.deque()
        self._held_back: list[Command] = []  # until the step under way is done
        self._inside_step = False
        self._wake = threading.Event()
        self._paused = False
        self._single_steps = 0
        self._attended = attended
        self._asking: ev.SpikeDetected | None = None  # what it stands paused for
        self._stop: commands.Stop | None = None
        self.failure: ev.Failed | None = None
        """What ended the run, if it was an error."""

    # -- the pilot's side -------------------------------------------------------------------------------------------

    def send(self, command: Command) -> None:
        """Hands over a command; taken up between micro-steps. From any thread, never blocks."""
        self._commands.append(command)
        self._wake.set()

    # -- the trainer's side -----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Trains to the end. Never raises: what goes wrong is the event Failed."""
        try:
            self._set_up()
            self._obey()
            self._maybe_sample()
            self._maybe_evaluate()
            while not self._done():
                self._obey()
                self._take_step()
                self._heed_guard()
                self._maybe_sample()
                self._maybe_evaluate()
                self._maybe_save()
            self._finish()
        except DivergedError as error:
            self._fail(str(error), user_error=True, alike=True)
        except UserError as error:
            self._fail(str(error), user_error=True)
        except torch.OutOfMemoryError as error:
            self._fail(f"out of memory: {error}; lower train.micro_batch_size".replace("\n", " "), user_error=True)
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}".splitlines()[0])
            raise
        finally:
            self._threads.close()

    def _rescue(self) -> None:
        """Saves the last whole step, if one was taken in this sitting and its weights are whole."""
        self.saver.close()
        if self.step > self._first_step and not self.snapshot.stepper.is_updating:
            with contextlib.suppress(Exception):  # the error that brought us here is the one to be told
                self._save("failed")

    def _fail(self, text: str, *, user_error: bool = False, alike: bool = False) -> None:
        """Saves what can be saved and says why the run ends; `alike`: all ranks have come here, and save together."""
        self.ledger.update()
        phase = self.ledger.phase
        if not alike:
            self.ranks.part()
        self._rescue()
        self.failure = ev.Failed(step=self.step, phase=phase, error=self.ranks.attributed(text), user_error=user_error)
        self.emit(self.failure)
        self._state("failed", self.failure.error)

    def _set_up(self) -> None:
        self._state("starting", "looking at the device")
        check_share(self.profile, self.ranks.size)
        self.device: Device = choose(self.profile, self.ranks)
        self.reporter.device_chosen(self.device)
        self._state("starting", "opening the data")
        with self.ledger.during("data"), self.ranks.first_before_the_others():
            self.data: Dataset = open_dataset(self.profile.data, self.profile.model)
        self._state("starting", "building the model")
        saved = checkpoint.verify(self.resume) if self.resume else None
        self.fit.begin(saved)
        self.snapshot: Snapshot = build(self.profile, self.device, self.data, self.ledger, saved, ranks=self.ranks)
        self.fit.settle(self.snapshot)
        self.evaluator = Evaluator(self.data, self.device, self.emit, self.fit.evaluation_batch, self.ranks)
        self.watch = Watch(self.snapshot.stepper, self.emit)
        resumed = self._load(self.resume, saved) if self.resume and saved else None
        self.snapshot.capture_generators()
        reader = self.snapshot.stepper.reader
        self._threads.callback(reader.close)
        self.reporter.log("info", f"reading ahead {'on' if reader.ahead else 'off'}: {reader.why}")
        self.reporter.started(
            self.run_dir.name, self.step, self.profile, self.data, self.snapshot.vocab_size,
            tokens_per_epoch=self.snapshot.stepper.order.tokens_per_epoch,
        )  # fmt: skip
        if resumed:
            self.emit(resumed)
        if self.device.compile:
            self._state("compiling")
            with self.ledger.during("compile"):
                self.fit.within_memory(self.snapshot, self.snapshot.stepper.warm_up)
        self.ledger.switch("train")
        self.reporter.tick(now=True)
        self._state("running")

    def _done(self) -> bool:
        return self._stop is not None or self.step >= self.profile.train.max_steps

    def _take_step(self) -> None:
        """One optimizer step; a Stop while it stands paused half-way gives it up, weights untouched."""
        if self._stop:
            return
        optim, snapshot = self.profile.optim, self.snapshot
        lr = learning_rate(self.step, optim, self.profile.train.max_steps)
        try:
            result = self.fit.within_memory(snapshot, lambda: snapshot.stepper.take(
                self.step + 1, snapshot.position,
                lr=lr, weight_decay=optim.weight_decay, grad_clip=optim.grad_clip, between=self._between_micro_steps,
                interrupted=lambda: bool(self._commands),
                limits=self.watch.limits(self.profile), probe=self.watch.measures_noise(self.step + 1, self.profile),
            ))  # fmt: skip
        except Abandoned:
            return
        finally:
            self._inside_step = False
            self._commands.extendleft(reversed(self._held_back))
            self._held_back.clear()
        self.step += 1
        snapshot.sequences += self.profile.sequences_per_step
        snapshot.capture_generators()
        self._report(result)
        self.reporter.tick()
        if self._single_steps:
            self._single_steps -= 1
            self._pause()

    def _report(self, result: StepResult | None) -> None:
        if result is not None:
            behind = self.step - result.step
            tokens = self._tokens - behind * self.profile.tokens_per_step
            self.reporter.step_done(result, self.profile, tokens=tokens)
            self.watch.take_in(result, self.profile)

    @property
    def _tokens(self) -> int:
        """Tokens seen since step 0."""
        return self.snapshot.sequences * self.profile.model.block_size

    def _drain(self) -> None:
        """Waits for the newest step and reports it; on a CPU there is never one waiting."""
        self._report(self.snapshot.stepper.drain())

    # -- what the guard asks for ------------------------------------------------------------------------------------

    def _heed_guard(self) -> None:
        """Where too many steps in a row were left out: goes back, or asks the pilot."""
        fault = self.watch.take_demand()
        if fault and not (fault.action == "rewind" and self._rewind(fault)):
            self._ask(fault)

    def _rewind(self, fault: ev.SpikeDetected) -> bool:
        """Goes back to the last good checkpoint and on from there: more slowly, on other data. False: there is none."""
        with self.ledger.during("checkpoint"):
            self._drain()
            self.saver.wait()
            found = self.ranks.agree(last_good(self.saver.parent, self.watch.guard.calm_step))
            if not found:
                return False
            before, position, rewinds = self.step, self.snapshot.position, self.watch.guard.rewinds
            self._restore(*found)
            self.ranks.meet()  # all have read it: it may be replaced
            self.watch.take_demand()
            self.watch.guard.rewinds = rewinds + 1
            self.snapshot.move_on_to(position)
            self.snapshot.capture_generators()
        why = f"rewound from step {before:,}: {describe(fault)}"
        self.emit(ev.Resumed(step=self.step, exact=False, why=why))
        self._state("paused" if self._paused else "running")
        self._set_config(gentler(self.profile))
        if self._save("rewind") and self.ranks.is_first:
            checkpoint.discard_after(self.saver.parent, self.step)
        return True

    def _ask(self, fault: ev.SpikeDetected) -> None:
        """Pauses until the pilot has decided; ends the run where there is none."""
        self._asking = fault
        if not self._attended:
            self._give_up()
        self._pause()

    def _give_up(self) -> None:
        assert self._asking
        self._drain()
        fault = self._asking
        self._forgive()  # whoever resumes has decided to go on
        raise DivergedError(
            f"step {fault.step:,}: {describe(fault)}, and nobody is there to ask; "
            "resume with a lower optim.learning_rate"
        )

    def _forgive(self) -> None:
        if self._asking:
            self._asking = None
            self.watch.guard.forgive()

    # -- commands ---------------------------------------------------------------------------------------------------

    def _between_micro_steps(self) -> bool:
        self._inside_step = True
        if self.ranks.size == 1:  # several hear their pilot at step boundaries only
            self._obey()
        self.reporter.tick()
        return not (self._stop and self._paused)

    def _obey(self) -> None:
        """Takes up all waiting commands; while paused, waits here for more."""
        while True:
            waiting = self.ranks.exchange(self._commands)
            while waiting:
                command = waiting.popleft()
                # A setting, and a save that was asked for after it, wait for the step that began without it.
                if self._inside_step and (
                    isinstance(command, commands.SetConfig | commands.Cooldown | commands.Extend)
                    or (self._held_back and isinstance(command, commands.Save))
                ):
                    self._held_back.append(command)
                else:
                    self._carry_out(command)
            if not self._paused or self._single_steps or self._stop:
                return
            if reason := self.saver.overdue:
                self._save(reason)
            with self.ledger.during("paused"):
                if self.ranks.is_first:  # the others wait for what it has heard
                    self._wake.wait(timeout=TICK_SECONDS)
                    self._wake.clear()
            self.reporter.tick(every=PAUSED_TICK_SECONDS)

    def _carry_out(self, command: Command) -> None:
        self.emit(ev.CommandReceived(command=type(command).__name__, step=self.step))
        match command:
            case commands.Pause():
                self._drain()
                self._pause()
            case commands.Continue():
                self._continue()
            case commands.StepOnce():
                if self._paused:
                    self._single_steps = 1
                    self._state("running", "one step")
            case commands.Sample():
                self._sample(command)
            case commands.Evaluate():
                self._evaluate(whole=command.whole)
            case commands.Save():
                self._save("asked")
            case commands.SetConfig():
                self._set_config(command.changes)
            case commands.Cooldown():
                self._set_config(cooldown_changes(self.profile, self.step, command.steps))
            case commands.Extend():
                self._set_config(extension_changes(self.profile, self.step, command.steps))
            case commands.Stop():
                self._stop = command
                self._forgive()
                self._state("stopping")
            case commands.Leave():
                self._attended = False
                if self._asking:
                    self._give_up()

    def _pause(self) -> None:
        self._drain()
        if not self._paused:
            self._paused = True
            self.emit(ev.Paused(step=self.step))
        self.reporter.tick(now=True)
        self._state("paused")

    def _continue(self) -> None:
        if self._paused:
            self._paused, self._single_steps = False, 0
            self._forgive()
            self.emit(ev.Continued(step=self.step))
            self._state("running")

    def _set_config(self, changes: dict[str, Any]) -> None:
        """Applies what can change live, from the next step on; refuses the rest with the reason."""
        before = flatten(self.profile)
        self.profile, said = apply_changes(self.profile, changes, self.step)
        for event in said:
            if isinstance(event, ev.ConfigChanged):
                key = event.key
                self.config_log.append({"step": self.step, "key": key, "old": before[key], "new": changes[key]})
            self.emit(event)

    # -- beside training --------------------------------------------------------------------------------------------

    def _every(self, interval: int) -> bool:
        return self._stop is None and interval > 0 and self.step % interval == 0

    def _maybe_evaluate(self) -> None:
        if self._every(self.profile.train.eval_interval):
            self._evaluate()

    def _maybe_sample(self) -> None:
        drawn_before = self.step == self._first_step > 0  # by the sitting that saved this step
        if self._every(self.profile.sample.interval) and not drawn_before:
            self._sample(commands.Sample(), self.profile.sample.prompts)

    def _maybe_save(self) -> None:
        if self._stop or self.step == self._first_step:
            return
        if (
            self.step == self._first_step + 1 and self.ranks.size == 1
        ):  # from here on the optimizer's state has its size
            with self.ledger.during("startup"):
                self.saver.make_room(self.snapshot.tensors())
        reason = "interval" if self._every(self.profile.checkpoint.interval) else self.saver.overdue
        if reason:
            self._save(reason)

    def _evaluate(self, *, whole: bool = False) -> None:
        """Estimates both losses with dropout off; saves when the validation loss is the lowest so far."""
        if self.evaluator.knows(self.step, whole=whole):
            return  # nothing has changed since
        with self._doing("evaluating", "evaluate"):
            self.reporter.maybe_measure_peak()
            best = self.evaluator.evaluate(
                self.step, self.snapshot.forward, self.profile, whole=whole, go_on=self._goes_on
            )
        if best and self.step and self.profile.checkpoint.best:
            self._save("best", best=True)

    def _sample(self, command: commands.Sample, prompts: Sequence[str] | None = None) -> None:
        """Continues a prompt, or several, with generators of their own; the first rank does, the others wait."""
        with self._doing("sampling", "sample"), self.ranks.whole(self.snapshot.model):
            drawn = self.ranks.is_first and draw_samples(
                self.snapshot.model, self.data.tokenizer, self.device, self.profile.sample, command, prompts=prompts,
                number=self.samples + 1, step=self.step, emit=self.emit, go_on=self._goes_on,
            )  # fmt: skip
            self.samples += self.ranks.agree(drawn)

    def _goes_on(self) -> bool:
        """Asked while something is done beside training; False where a Stop waits, which breaks it off."""
        self.reporter.tick()
        return not any(isinstance(command, commands.Stop) for command in tuple(self._commands))

    def _save(self, reason: str, *, best: bool = False) -> bool:
        """Writes a checkpoint of the last whole step, behind training; that goes on, too, if the disk refuses."""
        with self.ledger.during("checkpoint"):
            if self.saver.postpones(self.step, reason):
                return True
        with self._doing("saving", "checkpoint"):
            # Only beside what is proven to be sound are older ones deleted.
            proven = self.reporter.is_sound and self.watch.is_calm and reason != "failed"
            return self.saver.save(
                self.step, self.snapshot.tensors, self._document(),
                keep=self.profile.checkpoint.keep if proven else None, reason=reason, best=best,
            )  # fmt: skip

    @contextlib.contextmanager
    def _doing(self, state: str, phase: str) -> Iterator[None]:
        """Another state and another phase of the clock inside the block; the newest step is reported first."""
        self._drain()
        before = self._state(state)
        with self.ledger.during(phase):
            yield
        self.reporter.tick(now=True)
        self._state(before)

    # -- beginning and end ------------------------------------------------------------------------------------------

    def _document(self) -> dict[str, Any]:
        """What goes into a checkpoint's state.json besides the tensors' own facts."""
        return {
            "tokens": self._tokens,
            "evaluation": self.evaluator.facts(),
            "samples": self.samples,
            "profile": msgspec.to_builtins(self.profile), "config_log": self.config_log,
            "ledger": dict(self.ledger.seconds), "data_fingerprint": self.data.fingerprint,
            "tokenizer": self.data.tokenizer.to_dict(),
            "environment": environment(self.device, self.snapshot.stepper.lane_count, self.ranks),
            **self.snapshot.facts(),
            **self.watch.facts(),
        }  # fmt: skip

    def _load(self, path: Path, state: dict[str, Any]) -> ev.Resumed:
        """Restores a checkpoint; says whether what follows is bit-identical to never having stopped."""
        if state["tokenizer"] != self.data.tokenizer.to_dict():
            raise CheckpointError(
                f"{path} was trained with other symbols than the data has now; resume with its own data"
            )
        self._restore(path, state)
        self.samples = state["samples"]
        if not self.ledger.carries_over:  # whoever made it knows of the seconds after this checkpoint too
            for phase, seconds in state["ledger"].items():
                self.ledger.seconds[phase if phase in self.ledger.seconds else "other"] += seconds
        lanes = self.snapshot.stepper.lane_count
        why = reasons_against(state, self.profile, self.device, lanes, self.data.fingerprint, self.ranks)
        return ev.Resumed(step=self.step, exact=not why, why="; ".join(why))

    def _restore(self, path: Path, state: dict[str, Any]) -> None:
        """Puts everything back that training depends on."""
        self.snapshot.restore(path, state)
        self.step = self._first_step = state["step"]
        self.evaluator.restore(state["evaluation"])
        self.watch.restore(state)
        self.saver.resumed_at(self.step, {key: state.get(key) for key in self._document()})

    def _finish(self) -> None:
        """The last evaluation, sample and checkpoint; what a Stop leaves out is left out."""
        self._drain()
        save, reason = True, "max_steps"
        if self._stop:
            save, reason = self._stop.save, "stopped" if self._stop.save else "discarded"
        else:
            self._evaluate()
            if self.profile.sample.interval and not self._every(self.profile.sample.interval):
                self._sample(commands.Sample())
        save = save or self.saver.waiting == "asked"
        if save and not self._save("stop" if self._stop else "end"):
            raise CheckpointError(
                f"the last checkpoint could not be written ({self.saver.refusal}); mend that and resume the run"
            )
        self.saver.wait()
        self.reporter.tick(now=True)
        evaluator = self.evaluator
        self.emit(ev.Finished(
            step=self.step, reason=reason, train_loss=finite(evaluator.train_loss), val_loss=finite(evaluator.val_loss),
            best_val_loss=evaluator.best_val_loss, best_step=evaluator.best_step,
        ))  # fmt: skip
        self._state("stopped" if self._stop else "finished")

    def _state(self, state: str, detail: str = "") -> str:
        """Says what is being done now; returns what was being done before."""
        return self.reporter.state(state, step=self.step, detail=detail)


def _say_nothing(event: ev.Event) -> None:
    """What a rank that is not the first says."""
