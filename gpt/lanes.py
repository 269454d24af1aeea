"""A micro-batch split over threads of the CPU, each with rows of its own from the first layer to the last gradient.

Torch splits every operator over its threads, and all of them meet at the end of each: some 500 times in a step. A small
model's operators are so short that meeting costs a tenth of the time when alone on the machine, and far more beside
other work, for each meeting waits for the thread that is not running. Split by rows, the threads meet once.

It is the same arithmetic, summed in another order; the order is fixed, so that the same lanes give the same bits.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gpt.model import GPT

LARGEST_MODEL = 30_000_000
"""Parameters above which operators are long enough by themselves; each further lane needs gradients of its own."""
MOST_LANES = 4
"""More are unmeasured, and Python can hand out operators to so many only."""


def count_lanes(threads: int, rows: int, *, dropout: float, parameters: int) -> int:
    """Lanes that a micro-batch of `rows` sequences is worth splitting into; 1: leave the threads to the operators.

    Every lane has the same number of rows. Dropout draws from one generator in the order of the operators, which two
    threads would not keep, so it is never split.
    """
    if dropout or parameters > LARGEST_MODEL:
        return 1
    fitting = [lanes for lanes in range(1, min(threads, rows, MOST_LANES) + 1) if rows % lanes == 0]
    return max(fitting, key=lambda lanes: (lanes * (threads // lanes), lanes))


def replica(model: GPT) -> GPT:
    """A model with the same weights, in the same memory, but gradients of its own."""
    with torch.device("meta"):
        twin = GPT(model.config, model.vocab_size)
    owners = dict(twin.named_modules())
    for name, parameter in model.named_parameters():
        module, _, field = name.rpartition(".")
        setattr(owners[module], field, nn.Parameter(parameter.data))
    return twin


class BothPasses(Protocol):
    """Adds `share` of the gradient of the mean loss over (B, T) ids and targets to a model's; returns that share of the
    loss. Where the two are apart, tells `on_part` of `forward` and, if another forward pass follows, of `backward`."""

    def __call__(self, inputs: Tensor, targets: Tensor, share: float, on_part: Callable[[str], None]) -> Tensor: ...


def by_autograd(loss_of: Callable[[Tensor, Tensor], Tensor]) -> BothPasses:
    """Both passes of a model whose mean loss over (inputs, targets) is `loss_of`."""

    def add_gradient(inputs: Tensor, targets: Tensor, share: float, on_part: Callable[[str], None]) -> Tensor:
        loss = loss_of(inputs, targets) * share
        on_part("forward")
        loss.backward()
        return loss.detach()

    return add_gradient


class Lanes:
    """Adds up the gradient of a micro-batch, row by row, on threads of its own.

    Args:
        model: holds the gradient in the end; its first rows are the caller's thread's.
        passes: of each lane, for the model itself first, then for its replicas.
        replicas: the models behind `passes[1:]`.
        threads: threads that each lane may give an operator.
        backward: how they are made, for the record, as the bits are others: by `autograd`, `written out`
            (gpt.manual_backprop) or in a `joint graph` (gpt.joint_graph).
    """

    def __init__(
        self, model: GPT, passes: list[BothPasses], replicas: list[GPT], threads: int, *, backward: str = "autograd"
    ) -> None:
        self._passes, self._threads, self.backward = passes, threads, backward
        self._mine = [p for p in model.parameters() if p.requires_grad]
        self._theirs = [[p for p in twin.parameters() if p.requires_grad] for twin in replicas]
        before = torch.get_num_threads()
        self._workers = [_Worker(add_gradient, threads) for add_gradient in passes[1:]]
        torch.set_num_threads(before)  # the workers set theirs, and some libraries keep one number for all
        weakref.finalize(self, _end, self._workers)

    @property
    def count(self) -> int:
        """Number of lanes, the caller's own included."""
        return len(self._passes)

    @property
    def last_part(self) -> str:
        """What `on_part` has not been told of when `add_gradient` returns."""
        return "both passes" if self.backward == "joint graph" else "backward"

    def add_gradient(
        self, inputs: Tensor, targets: Tensor, share: float, on_part: Callable[[str], None] = lambda part: None
    ) -> Tensor:
        """Adds `share` of the gradient of the mean loss over (B, T) rows; returns that share of the loss.

        Args:
            on_part: told by this thread of the passes over its own rows, all but the last one (`last_part`).

        The gradient is whole only after `gather`. Raises what any lane raised, once all have ended.
        """
        share /= self.count
        rows = [*zip(inputs.chunk(self.count), targets.chunk(self.count), strict=True)]
        with self.narrow():  # before any lane begins: some libraries keep one number of threads for all
            for worker, (some_inputs, some_targets) in zip(self._workers, rows[1:], strict=True):
                worker.begin(some_inputs, some_targets, share)
            try:
                loss = self._passes[0](*rows[0], share, on_part)
            finally:
                outcomes = [worker.end() for worker in self._workers]
        losses = [loss]
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
            losses.append(outcome)
        return torch.stack(losses).sum()

    @contextlib.contextmanager
    def narrow(self) -> Iterator[None]:
        """Inside the block, operators of the caller's thread use no more threads than a lane's do."""
        before = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def gather(self) -> None:
        """Adds the other lanes' gradients to the model's own, and clears theirs."""
        for theirs in self._theirs:
            mine = [p.grad for p in self._mine if p.grad is not None]
            torch._foreach_add_(mine, [p.grad for p in theirs if p.grad is not None])  # pyright: ignore
        self.clear()

    def clear(self) -> None:
        """Lets go of gradients that were not gathered."""
        for theirs in self._theirs:
            for parameter in theirs:
                parameter.grad = None


class _Worker:
    """A thread that adds gradients when it is told to."""

    def __init__(self, add_gradient: BothPasses, threads: int) -> None:
        self._todo: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # A function of the module, so that the thread keeps nobody alive but what it computes with.
        arguments = (add_gradient, threads, self._todo, self._done)
        self._thread = threading.Thread(target=_work, args=arguments, name="lane", daemon=True)
        self._thread.start()
        self._done.get()  # it is ready

    def begin(self, inputs: Tensor, targets: Tensor, share: float) -> None:
        self._todo.put((inputs, targets, share))

    def end(self) -> Tensor | BaseException:
        return self._done.get()

    def stop(self) -> None:
        self._todo.put(None)

    def join(self) -> None:
        if self._thread is not threading.current_thread():
            self._thread.join(timeout=10)


def _work(
    add_gradient: BothPasses,
    threads: int,
    todo: queue.SimpleQueue[Any],
    done: queue.SimpleQueue[Any],
) -> None:
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)  # of this thread
    done.put(None)
    while (task := todo.get()) is not None:
        try:
            inputs, targets, share = task
            done.put(add_gradient(inputs, targets, share, _ignore))
        except BaseException as error:
            done.put(error)
        inputs = targets = task = None  # nothing is kept from step to step


def _ignore(part: str) -> None:
    """The caller's lane tells how far the step is."""


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.stop()
    for worker in workers:  # at the program's end too: a thread that is cut off inside torch aborts the process
        worker.join()
