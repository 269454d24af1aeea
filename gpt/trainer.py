"""The trainer: one loop that obeys, trains, evaluates, saves and samples, and says what happened.

It runs on a thread of its own. Commands come in by `send`, events go out by `emit`; neither ever waits for the other
side. Whatever is done beside training has generators and batches of its own, so that it cannot change the weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from gpt import checkpoint, commands
from gpt import events as ev
from gpt.agenda import Agenda
from gpt.beside import Beside
from gpt.commands import Command
from gpt.config import Profile
from gpt.data import Dataset, open_dataset
from gpt.device import Device, choose
from gpt.errors import CheckpointError, DivergedError, UserError
from gpt.evaluate import Evaluator, finite
from gpt.fit import Fit
from gpt.helm import Helm
from gpt.inbox import Inbox
from gpt.ledger import TimeLedger
from gpt.ranks import ALONE, Ranks, check_share
from gpt.record import Record
from gpt.recovery import Recovery
from gpt.reporter import Reporter
from gpt.rewind import WayBack
from gpt.rollcall import RollCall
from gpt.saver import Saver
from gpt.schedule import learning_rate
from gpt.snapshot import Snapshot, build
from gpt.stepclock import StepResult
from gpt.stepper import Abandoned
from gpt.watch import Watch
from gpt.watchdog import Watchdog


class Trainer:
    """Trains one run from a profile, from scratch or from a checkpoint, until its last step or a Stop.

    Args:
        run_dir: the run's folder; checkpoints go to `checkpoints` in it.
        emit: takes each event, from more than one thread; must not block.
        resume: the checkpoint's folder to go on from, or None.
        ledger: a clock that was started before this module, and torch with it, was imported; None: it starts now.
        attended: whether somebody watches, and can be asked what to do.
        ranks: those that train the run together; the first one's trainer speaks and writes for all.
        forked_from: the run and the step that it was forked from, if it was.
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
        forked_from: ev.Origin | None = None,
    ) -> None:
        self.profile = profile
        self.run_dir = run_dir
        self.watchdog = Watchdog(self, emit if ranks.is_first else _say_nothing)
        self.emit = self.watchdog.hear
        self.ranks = ranks.sharing(profile.train)
        self.resume, self._forked_from = resume, forked_from
        self.step = 0
        self.samples = 0
        self.config_log: list[dict[str, Any]] = []
        self.ledger = ledger or TimeLedger("startup")
        self.reporter = Reporter(self.emit, self.ledger, self.ranks)
        self.roll_call = RollCall(self.emit, self.ranks)
        saver = Saver(run_dir / "checkpoints", self.emit, self.ranks)
        self._threads = contextlib.ExitStack()  # ends those that the run has beside its own
        self._threads.callback(saver.close)
        self.fit = Fit(self, self.reporter)
        self.inbox = Inbox(self.ranks)
        self.agenda = Agenda()
        self.record = Record(self, saver)
        self.beside = Beside(self)
        self.helm = Helm(self)
        self.way_back = WayBack(self)
        self.recovery = Recovery(self, attended=attended)
        self.failure: ev.Failed | None = None
        """What ended the run, if it was an error."""

    # -- the pilot's side -------------------------------------------------------------------------------------------

    def send(self, command: Command) -> None:
        """Hands over a command; taken up between micro-steps. From any thread, never blocks."""
        self.inbox.put(command)

    # -- the trainer's side -----------------------------------------------------------------------------------------

    def run(self) -> None:
        """Trains to the end. Never raises: what goes wrong is the event Failed."""
        try:
            self.watchdog.start()
            self._threads.callback(self.watchdog.close)
            self._set_up()
            self.helm.heed_agenda()
            self.helm.obey()
            self.beside.maybe_sample()
            self.beside.maybe_evaluate()
            self.helm.obey()
            self._train()
            while self._conclude():
                self._train()
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

    def _train(self) -> None:
        """Takes the steps that are left."""
        while not self._done():
            if self._take_step():
                self.roll_call.maybe_call(self.step, self.profile.train.log_interval)
                self.recovery.heed_guard()
                self.beside.maybe_sample()
                self.beside.maybe_evaluate()
                self.record.maybe_save()
                self.helm.heed_agenda()
            self.helm.obey()

    def _fail(self, text: str, *, user_error: bool = False, alike: bool = False) -> None:
        """Saves what can be saved and says why the run ends; `alike`: all ranks have come here, and save together."""
        self.ledger.update()
        phase = self.ledger.phase
        if not alike:
            self.ranks.part()
        self.record.rescue()
        self.failure = ev.Failed(
            step=self.step, phase=phase, error=self.ranks.attributed(text), user_error=user_error,
            rank_lost=self.ranks.is_of_another(text),
        )  # fmt: skip
        self.emit(self.failure)
        self.state("failed", self.failure.error)

    def _set_up(self) -> None:
        self.state("starting", "looking at the device")
        check_share(self.profile, self.ranks.size)
        saved = checkpoint.verify(self.resume) if self.resume else None
        self.device: Device = choose(self.profile, self.ranks, begun=saved["environment"] if saved else None)
        self.reporter.device_chosen(self.device)
        self.state("starting", "opening the data")
        with self.ledger.during("data"), self.ranks.first_before_the_others():
            self.data: Dataset = open_dataset(self.profile.data, self.profile.model)
        self.state("starting", "building the model")
        self.fit.begin(saved)
        self.snapshot: Snapshot = build(self.profile, self.device, self.data, self.ledger, saved, ranks=self.ranks)
        self.fit.settle(self.snapshot)
        self.evaluator = Evaluator(self.data, self.device, self.emit, self.fit.evaluation_batch, self.ranks)
        self.watch = Watch(self.snapshot.stepper, self.emit)
        resumed = self.record.load(self.resume, saved) if self.resume and saved else None
        self.snapshot.capture_generators()
        reader = self.snapshot.stepper.reader
        self._threads.callback(reader.close)
        self.reporter.log("info", f"reading ahead {'on' if reader.ahead else 'off'}: {reader.why}")
        self.reporter.started(
            self.run_dir.name, self.step, self.profile, self.data, self.snapshot.vocab_size,
            tokens_per_epoch=self.snapshot.stepper.order.tokens_per_epoch, forked_from=self._forked_from,
        )  # fmt: skip
        if resumed:
            self.emit(resumed)
        for item in self.agenda.items:
            self.emit(item.scheduled())
        if self.device.compile:
            self.state("compiling")
            with self.ledger.during("compile"):
                self.fit.within_memory(self.snapshot, self.snapshot.stepper.warm_up)
        self.ledger.switch("train")
        self.reporter.tick(now=True)
        self.state("running")

    def _done(self) -> bool:
        return self.is_stopping or self.step >= self.profile.train.max_steps

    def _take_step(self) -> bool:
        """One optimizer step; False where it was given up as it stood paused half-way, weights untouched."""
        optim, snapshot = self.profile.optim, self.snapshot
        lr = learning_rate(self.step, optim, self.profile.train.max_steps)
        try:
            result = self.fit.within_memory(snapshot, lambda: snapshot.stepper.take(
                self.step + 1, snapshot.position,
                lr=lr, weight_decay=optim.weight_decay, grad_clip=optim.grad_clip, between=self.helm.obey_inside_step,
                interrupted=lambda: not self.inbox.is_empty,
                limits=self.watch.limits(self.profile), probe=self.watch.measures_noise(self.step + 1, self.profile),
            ))  # fmt: skip
        except Abandoned:
            return False
        finally:
            self.inbox.leave_step()
        self.step += 1
        snapshot.sequences += self.profile.sequences_per_step
        snapshot.capture_generators()
        self._report(result)
        if self.step == self.record.first_step + 1:  # from here on the optimizer's state has its size
            self.reporter.state_measured(*self.snapshot.state_bytes())
        self.reporter.tick()
        self.helm.count_step()
        return True

    def _report(self, result: StepResult | None) -> None:
        if result is not None:
            behind = self.step - result.step
            tokens = self.tokens - behind * self.profile.tokens_per_step
            self.reporter.step_done(result, self.profile, tokens=tokens)
            self.watch.take_in(result, self.profile)
            self.roll_call.take_in(result)

    def _conclude(self) -> bool:
        """The last evaluation and sample, unless a Stop leaves them out; True where there are more steps to take."""
        self.drain()
        self.recovery.heed_guard()  # where the device lags, only now is the last step known
        self.helm.obey()
        if self.is_stopping or not self._done():
            return not self.is_stopping
        self.beside.evaluate()
        if self.profile.sample.interval and not self.due(self.profile.sample.interval):
            self.beside.sample(commands.Sample())
        self.helm.obey()
        return not self._done()

    def _finish(self) -> None:
        """The last checkpoint, and an answer to what came after all was done."""
        saver = self.record.saver
        save, reason = True, "max_steps"
        if stop := self.helm.stop:
            save, reason = stop.save, "stopped" if stop.save else "discarded"
        save = save or saver.waiting == "asked"
        if save and not self.record.save("stop" if stop else "end"):
            raise CheckpointError(
                f"the last checkpoint could not be written ({saver.refusal}); mend that and resume the run"
            )
        saver.wait()
        self.helm.turn_down()
        self.reporter.tick(now=True)
        evaluator = self.evaluator
        self.emit(ev.Finished(
            step=self.step, reason=reason, train_loss=finite(evaluator.train_loss), val_loss=finite(evaluator.val_loss),
            best_val_loss=evaluator.best_val_loss, best_step=evaluator.best_step,
        ))  # fmt: skip
        self.state("stopped" if stop else "finished")

    # -- what its rooms share ---------------------------------------------------------------------------------------

    @property
    def tokens(self) -> int:
        """Tokens seen since step 0."""
        return self.snapshot.sequences * self.profile.model.block_size

    @property
    def is_stopping(self) -> bool:
        """Whether the pilot has ended the run."""
        return self.helm.stop is not None

    def due(self, interval: int) -> bool:
        """Whether what is done every `interval` steps is to be done now; 0: never."""
        return not self.is_stopping and interval > 0 and self.step % interval == 0

    @contextlib.contextmanager
    def doing(self, state: str, phase: str) -> Iterator[None]:
        """Another state and another phase of the clock inside the block; the newest step is reported first."""
        self.drain()
        before = self.state(state)
        with self.ledger.during(phase):
            yield
        self.reporter.tick(now=True)
        self.state(before)

    def drain(self) -> None:
        """Waits for the newest step and reports it; on a CPU there is never one waiting."""
        self._report(self.snapshot.stepper.drain())

    def state(self, state: str, detail: str = "") -> str:
        """Says what is being done now; returns what was being done before."""
        return self.reporter.state(state, step=self.step, detail=detail)


def _say_nothing(event: ev.Event) -> None:
    """What a rank that is not the first says."""
