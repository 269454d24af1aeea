"""The ranks that train one run together, seen from one of them; here in the form of a process that trains alone.

A rank is a process with a device of its own. torchrun starts them and tells each its number by the environment. What
the engine asks of the others it asks of a `Ranks`; alone every answer is the question. No torch is loaded here:
`gpt.distributed` has the forms that talk to other processes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from gpt.coherence import nearest_multiples
from gpt.commands import Command
from gpt.config import Profile, TrainConfig
from gpt.errors import ProfileError

if TYPE_CHECKING:
    import collections

    import torch
    from torch import nn

    from gpt.model import GPT

_T = TypeVar("_T")


def launched_ranks() -> int:
    """Processes that were started together with this one, itself included: torchrun's WORLD_SIZE, or 1.

    A machine may say WORLD_SIZE for its own ends; without a RANK nobody has numbered us.
    """
    return _number("WORLD_SIZE", 1) if "RANK" in os.environ else 1


def launched_rank() -> int:
    """This process's number among them, from 0."""
    return _number("RANK", 0)


def check_share(profile: Profile, size: int) -> None:
    """Raises ProfileError where `size` ranks cannot share the work: above all a step's micro-steps, evenly."""
    if size == 1:
        return
    train = profile.train
    if train.micro_batch_size == "auto":
        raise ProfileError('train.micro_batch_size = "auto" looks at one device; for several ranks set a number')
    accum = profile.grad_accum_steps
    if train.parallel != "ddp" and profile.optim.name != "adamw":
        raise ProfileError(f"optim.name {profile.optim.name} needs whole matrices; use train.parallel ddp, or adamw")
    if train.parallel == "hsdp" and train.shard_ranks:
        check_groups(size, train.shard_ranks)
    if accum % size == 0:
        return
    if train.tokens_per_step is None:
        near = nearest_multiples(accum, size)
        raise ProfileError(
            f"train.grad_accum_steps {accum} counts the micro-steps of all ranks and cannot be shared among {size}; "
            f"the nearest are {near}"
        )
    near = nearest_multiples(train.tokens_per_step, size * profile.tokens_per_micro_step)
    raise ProfileError(
        f"train.tokens_per_step {train.tokens_per_step} makes {accum} micro-steps, which cannot be shared among {size} "
        f"ranks; the nearest are {near}"
    )


def check_groups(size: int, shard_ranks: int) -> None:
    """Raises ProfileError where `size` ranks do not make whole groups of `shard_ranks`."""
    if size % shard_ranks:
        fitting = ", ".join(str(count) for count in range(1, size + 1) if size % count == 0)
        raise ProfileError(f"{size} ranks do not make groups of train.shard_ranks {shard_ranks}; it can be {fitting}")


class Ranks:
    """A process that trains alone: it is the first rank, and the only one."""

    rank = 0
    """This rank's number, from 0."""
    size = 1
    """Ranks that train the run together."""
    local_size = 1
    """Ranks of this run on this machine."""
    parallel: str | None = None
    """How the ranks share the work: `ddp`, `fsdp`, or `hsdp 2×4` for 2 groups of 4; None alone."""
    meets_early = False
    """Whether a rank waits for the others already before its last backward pass: its own time cannot be told apart."""

    @property
    def is_first(self) -> bool:
        """True for the one rank that speaks, samples, and writes into the run's folder."""
        return self.rank == 0

    def sharing(self, train: TrainConfig) -> Ranks:
        """The same ranks, sharing the work as `train.parallel` says. Raises ProfileError where they cannot."""
        return self

    # -- what all have to know alike --------------------------------------------------------------------------------

    def exchange(self, inbox: collections.deque[Command]) -> collections.deque[Command]:
        """The commands that all ranks take up now, in the same order everywhere; empties the inbox.

        Alone that is the inbox itself: what comes in meanwhile is taken up too.
        """
        return inbox

    def agree(self, value: _T) -> _T:
        """The first rank's value, on every rank."""
        return value

    def collect(self, figures: Sequence[float]) -> list[list[float]]:
        """Every rank's figures, equally many on each, by rank; on every rank."""
        return [list(figures)]

    def meet(self) -> None:
        """Waits until all ranks have come here."""

    @contextlib.contextmanager
    def first_before_the_others(self) -> Iterator[None]:
        """Lets the first rank through the block before the others: what it makes there, they find made."""
        yield

    def part(self) -> None:
        """Notes that the others may be gone or stuck: from here on nothing is asked of them any more."""

    def close(self) -> None:
        """Leaves the group. A second call does nothing."""

    def is_of_another(self, error: str) -> bool:
        """Whether an error, by its text, only says that another rank is gone."""
        return False

    def attributed(self, error: str) -> str:
        """The text of an error, with the rank it befell where that is not plain."""
        return error

    # -- the device and the model -----------------------------------------------------------------------------------

    def device(self, asked: str) -> str:
        """This rank's device for what `train.device` asks for. Raises DeviceError where it has none."""
        return asked

    def check_precision(self, dtype: str) -> None:
        """Raises DeviceError where the ranks cannot train in `dtype`."""

    def place(self, model: GPT, options: dict[str, Any] | None) -> nn.Module | None:
        """Spreads a model's parameters over the ranks, in place.

        Args:
            options: for the compiler; None: nothing is compiled.

        Returns the model as it is to be called, where spreading settles how it is compiled; else None.
        """
        return None

    def wrap(self, forward: nn.Module) -> nn.Module:
        """What to call for a loss whose gradient is to be shared."""
        return forward

    @contextlib.contextmanager
    def whole(self, model: GPT) -> Iterator[None]:
        """Holds all of the model on each rank inside the block. Every rank has to come here."""
        yield

    def gathered(self, tensor: torch.Tensor) -> torch.Tensor:
        """All of a parameter or moment, detached; an empty tensor on the other ranks. All come here."""
        return tensor.detach()

    def like(self, parameter: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
        """A whole tensor of a parameter's shape, laid out over the ranks as the parameter is."""
        return tensor

    # -- the step ---------------------------------------------------------------------------------------------------

    def share(self, micro_steps: int) -> int:
        """Of a step's micro-steps, those of one rank. Their numbers are rank, rank + size, …"""
        return micro_steps // self.size

    def begin_step(self, seed: int, sequence: int) -> None:
        """Sets torch's global generators for the step that begins at a sequence, where ranks must draw apart."""

    def share_gradient(self, forward: nn.Module, now: bool) -> None:
        """Whether the next backward pass ends in the mean over all ranks, or only adds to this rank's own sum."""

    def own_parts(self, gradients: list[torch.Tensor]) -> list[torch.Tensor]:
        """The part of each gradient that lies on this rank, as plain tensors."""
        return gradients

    def whole_norm(self, norm: torch.Tensor) -> torch.Tensor:
        """The norm of all gradients from that of `own_parts`, a scalar on the device."""
        return norm

    def mean(self, tensor: torch.Tensor) -> torch.Tensor:
        """Mean over the ranks; the tensor may be overwritten."""
        return tensor

    # -- jobs beside training ---------------------------------------------------------------------------------------

    def turns(self, count: int) -> Iterator[tuple[int, bool]]:
        """(number, whether it counts) of the jobs out of `count` that this rank does.

        All ranks do equally many, so that each may talk to the others: what is left over is done twice, counted once.
        """
        for first in range(0, count, self.size):
            yield min(first + self.rank, count - 1), first + self.rank < count

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum over the ranks; the tensor may be overwritten."""
        return tensor


ALONE = Ranks()
"""The one rank of a run that is not shared."""


def _number(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdigit() else default
