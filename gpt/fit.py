"""Keeps a run's micro-batch within the memory there is: the most that fits at the start, less where it runs out later.

A step is a number of sequences in the order of gpt.order. In what portions they pass the device changes neither them
nor the tokens in a step: so a step that did not fit is taken again on the same data, in smaller portions and more of
them. The profile is made to say what is done, so that events and checkpoints do; a checkpoint's `config_log` says what
was asked for before, and a run that is resumed goes on with what it came to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypeVar

import psutil
import torch

from gpt.config import Profile, TrainConfig, as_toml, replace
from gpt.device import Device
from gpt.errors import DeviceError
from gpt.events import ConfigChanged
from gpt.memory import MARGIN, estimate, optimizer_bytes, portions
from gpt.ranks import Ranks
from gpt.reporter import Reporter
from gpt.snapshot import Snapshot

CPU_TOKENS = 4096
"""Tokens of a micro-step above which `auto` does not go on a CPU: more were not faster, and memory is shared there."""

_KEY = "train.micro_batch_size"
_PORTION_KEYS = (_KEY, "train.grad_accum_steps", "train.tokens_per_step")

Result = TypeVar("Result")


class Run(Protocol):
    """What is settled here of a run."""

    profile: Profile
    step: int
    config_log: list[dict[str, Any]]
    ranks: Ranks


class Fit:
    """Settles the micro-batch of one run, and lowers it where memory runs out.

    Args:
        run: the trainer; its profile is replaced by one with other portions of the same step.
    """

    def __init__(self, run: Run, reporter: Reporter) -> None:
        self._run, self._reporter = run, reporter
        self._is_open = False
        self._first_step = 0

    @property
    def evaluation_batch(self) -> int:
        """Sequences that a batch of an evaluation stands for: those asked for at first, so losses stay comparable."""
        asked: int | Literal["auto"] = self._run.profile.micro_batch_size
        for change in reversed(self._run.config_log):
            if change["key"] == _KEY and change["new"] == asked:
                asked = change["old"]
        default = TrainConfig().micro_batch_size
        return asked if isinstance(asked, int) else default if isinstance(default, int) else 1

    def begin(self, saved: dict[str, Any] | None) -> None:
        """Makes the profile one that a model can be built with, before `settle`.

        Args:
            saved: a checkpoint's state.json. Where its run came from what the profile asks for now to something else,
                that is taken up; a profile that asks for a third thing gets it.
        """
        profile = self._run.profile
        asked = profile.train.micro_batch_size
        if saved:
            self._run.config_log, self._first_step = list(saved["config_log"]), saved["step"]
            came_from = [change["old"] for change in self._run.config_log if change["key"] == _KEY]
            there = replace(profile, {key: saved["profile"]["train"][key.partition(".")[2]] for key in _PORTION_KEYS})
            if asked in came_from and _is_same_step(profile, there):
                self._run.profile = there
                self._reporter.log("info", f"{_portion(there)}: what this run came to from {_KEY} = {as_toml(asked)}")
                return
        if asked == "auto":
            self._is_open = True
            self._run.profile = _portioned(profile, 1)

    def settle(self, snapshot: Snapshot) -> None:
        """Finds the micro-batch where the profile leaves it open: by estimate, on CUDA also by trying."""
        if not self._is_open:
            return
        profile, device = self._run.profile, snapshot.device
        sizes = portions(profile.sequences_per_step)
        if device.type == "cpu":
            sizes = [size for size in sizes if size * profile.model.block_size <= CPU_TOKENS] or sizes[:1]
        free = free_memory(device)

        def seems_to_fit(size: int) -> bool:
            return _needed(profile, snapshot, size) <= MARGIN * free

        guess = largest_that_fits(sizes, seems_to_fit, sizes[-1]) or sizes[0]
        size = guess
        if device.type == "cuda":
            size = largest_that_fits(sizes, lambda size: self._really_fits(snapshot, size), guess)
            if size is None:
                raise DeviceError(f"not even one sequence at a time fits into the device's memory; {_ADVICE}")
        self._adopt(snapshot, "auto", size)
        needed = _needed(profile, snapshot, size)
        self._reporter.log(
            "info" if needed <= free else "warning",
            f"{_portion(self._run.profile)}: {needed / 1e9:.2g} GB by estimate of {free / 1e9:.3g} GB free",
        )

    def within_memory(self, snapshot: Snapshot, action: Callable[[], Result]) -> Result:
        """What `action` returns; where memory does not suffice, the step is begun again in portions that are smaller.

        Raises DeviceError where a single sequence is too much, or where the weights have begun to change. Of several
        ranks one cannot begin a step again while the others go on: there the error is raised on.
        """
        while True:
            try:
                return action()
            except torch.OutOfMemoryError as error:
                if self._run.ranks.size > 1:
                    raise
                why = str(error).partition("\n")[0]
            # Only here: the error's frames hold on to the tensors that filled the memory.
            self._make_smaller(snapshot, why)

    def _make_smaller(self, snapshot: Snapshot, why: str) -> None:
        profile, device = self._run.profile, snapshot.device
        if snapshot.stepper.is_updating:
            raise DeviceError(
                f"out of memory inside the update of step {self._run.step + 1}, when some weights may have changed and "
                f"others not: {why}; resume the newest checkpoint with a lower {_KEY}"
            )
        snapshot.begin_step_again()
        device.release_memory()
        smaller = [size for size in portions(profile.sequences_per_step) if size <= profile.micro_batch_size // 2]
        if not smaller:
            raise DeviceError(f"out of memory with one sequence at a time: {why}; {_ADVICE}")
        old, new = profile.micro_batch_size, smaller[-1]
        self._adopt(snapshot, old, new)
        self._reporter.emit(ConfigChanged(step=self._run.step, key=_KEY, old=as_toml(old), new=as_toml(new)))
        self._reporter.log(
            "warning",
            f"out of memory at step {self._run.step + 1}, which is taken again in smaller portions: "
            f"{_portion(self._run.profile)}, the same {profile.tokens_per_step:,} tokens ({why})",
        )
        if device.compile:
            with self._reporter.ledger.during("compile"):
                self.within_memory(snapshot, snapshot.stepper.warm_up)

    def _adopt(self, snapshot: Snapshot, old: int | str, size: int) -> None:
        """Portions the steps that follow, and notes what was changed."""
        run = self._run
        step = max(run.step, self._first_step)
        run.config_log.append({"step": step, "key": _KEY, "old": old, "new": size})
        run.profile = _portioned(run.profile, size)
        snapshot.portion(run.profile)

    def _really_fits(self, snapshot: Snapshot, size: int) -> bool:
        """Whether forward and backward passes fit beside what the optimizer will keep; nothing of them remains."""
        profile, stepper = _portioned(self._run.profile, size), snapshot.stepper
        state = 0 if stepper.optimizer.state else optimizer_bytes(profile, snapshot.vocab_size)
        kept_free = int((1 - MARGIN) / 2 * free_memory(snapshot.device))
        before, stepper.forward = stepper.forward, snapshot.model  # compiling for each size would take minutes
        snapshot.portion(profile)
        try:
            reserved = torch.empty(state + kept_free, dtype=torch.uint8, device=snapshot.device.torch_device)
            stepper.warm_up(passes=min(2, profile.grad_accum_steps))
            del reserved
            return True
        except torch.OutOfMemoryError:
            return False
        finally:
            stepper.forward = before
            stepper.forget_gradient()
            torch.cuda.empty_cache()


_ADVICE = 'set train.activation_checkpointing = "full" or train.loss_chunk = 1024, or use a smaller model or block_size'


def largest_that_fits(sizes: Sequence[int], fits: Callable[[int], bool], guess: int) -> int | None:
    """The largest of ascending sizes that fits, asked as few times as a good guess allows; None: not one.

    Goes from the guess in strides that double, then bisects between what fits and what does not.
    """
    at, stride = sizes.index(guess), 1
    fit, unfit = -1, len(sizes)  # the last known to fit, the first known not to
    while unfit - fit > 1:
        if fits(sizes[at]):
            fit = at
        else:
            unfit = at
        if fit < 0:
            at = max(unfit - stride, 0)
        elif unfit == len(sizes):
            at = min(fit + stride, unfit - 1)
        else:
            at = (fit + unfit) // 2
        stride *= 2
    return sizes[fit] if fit >= 0 else None


def free_memory(device: Device) -> int:
    """Bytes that this process could still take, what it has taken on the device already included."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device.torch_device)
        return free + torch.cuda.memory_reserved(device.torch_device)
    if device.type == "mps":
        return torch.mps.recommended_max_memory()
    return psutil.virtual_memory().available


def _needed(profile: Profile, snapshot: Snapshot, size: int) -> int:
    device = snapshot.device
    return estimate(
        profile, snapshot.vocab_size, dtype=device.dtype, device_type=device.type, micro_batch_size=size
    ).peak  # fmt: skip


def _portioned(profile: Profile, size: int) -> Profile:
    """The same step in micro-steps of `size` sequences."""
    accum = None if profile.train.tokens_per_step is not None else profile.sequences_per_step // size
    return replace(profile, {_KEY: size, "train.grad_accum_steps": accum})


def _is_same_step(asked: Profile, there: Profile) -> bool:
    """True for as many tokens in a step, and where a micro-batch alone was asked for beside a checkpoint's settings."""
    accum = asked.train.grad_accum_steps
    return asked.tokens_per_step == there.tokens_per_step or (
        accum is not None and accum == there.train.grad_accum_steps
    )


def _portion(profile: Profile) -> str:
    return f"micro-batch {profile.micro_batch_size} × {profile.grad_accum_steps} micro-steps"
