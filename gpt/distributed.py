"""Several ranks: one run trained by processes that torchrun started, each on a device of its own.

Every rank runs the same loop over the same steps and reads its own micro-steps of each: of a step's A micro-steps over
N ranks, rank r takes numbers r, r + N, … The order of the data is a pure function of the sequence's number, so
N ranks read exactly what one would. The mean gradient is formed once a step, after the last micro-step. Only the first
rank hears its pilot, speaks and writes; at each step boundary all learn what it was told (one number over the network
where that is nothing).

`DataParallel` keeps the whole model on each rank (DistributedDataParallel: Li et al. 2020), `ShardedRanks` a share of
every parameter, gradient and moment (FSDP2, `fully_shard`: Zhao et al. 2023, ZeRO stage 3), `HybridRanks` a share
within a group of ranks, of which there are several.
"""

from __future__ import annotations

import collections
import contextlib
import datetime
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from gpt.commands import Command
from gpt.config import TrainConfig
from gpt.errors import CheckpointError, DeviceError
from gpt.model import GPT
from gpt.ranks import ALONE, Ranks, check_groups, launched_ranks

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

_T = TypeVar("_T")

TIMEOUT = datetime.timedelta(minutes=10)
"""How long a rank waits for the others before it gives up: longer than any sample, save or first compilation."""

_LOST = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe", "timed out", "Timed out")


def join(*, timeout: datetime.timedelta = TIMEOUT) -> Ranks:
    """Meets the other processes that torchrun started; alone where it started no other. To be closed in the end.

    Small messages go by gloo, tensors by NCCL on CUDA and by gloo on the CPU.
    """
    if launched_ranks() == 1:
        return ALONE
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(rendezvous("env://", timeout=timeout))
    store.set_timeout(timeout)
    # The launcher keeps one store over restarts: without a place of their own in it, ranks that are started anew may
    # find the addresses of those before them, and wait for the dead.
    store = PrefixStore(f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
    return DataParallel()


class _SeveralRanks(Ranks):
    """What all ways of sharing have in common."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.local_size = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))
        self._local_rank = int(os.environ.get("LOCAL_RANK", self.rank))
        self._together = True
        self._waiting = torch.zeros(1, dtype=torch.int64)

    def sharing(self, train: TrainConfig) -> Ranks:
        if train.parallel == "hsdp":
            return HybridRanks(train.shard_ranks)
        return ShardedRanks() if train.parallel == "fsdp" else DataParallel()

    def exchange(self, inbox: collections.deque[Command]) -> collections.deque[Command]:
        mine = []
        while inbox:
            mine.append(inbox.popleft())
        if not self._together:
            return collections.deque(mine)
        self._waiting.fill_(len(mine))
        dist.all_reduce(self._waiting)
        if not self._waiting.item():
            return collections.deque()
        gathered: list[list[Command]] = [[] for _ in range(self.size)]
        dist.all_gather_object(gathered, mine)
        agreed = collections.deque(gathered[0])
        for command in (command for rest in gathered[1:] for command in rest):
            if command not in agreed:  # a signal that all ranks got is one command
                agreed.append(command)
        return agreed

    def agree(self, value: _T) -> _T:
        if not self._together:
            return value
        values = [value if self.is_first else None]
        dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]  # pyright: ignore[reportReturnType]

    def collect(self, figures: Sequence[float]) -> list[list[float]]:
        if not self._together:
            return super().collect(figures)
        gathered = torch.empty(self.size, len(figures), dtype=torch.float64)
        dist.all_gather(list(gathered.unbind()), torch.tensor(figures, dtype=torch.float64))  # on hosts, by gloo
        return gathered.tolist()

    def meet(self) -> None:
        if self._together:
            dist.all_reduce(torch.zeros(1))

    @contextlib.contextmanager
    def first_before_the_others(self) -> Iterator[None]:
        if not self.is_first:
            self.agree(None)
        try:
            yield
        finally:
            if self.is_first:
                self.agree(None)

    def part(self) -> None:
        self._together = False

    def close(self) -> None:
        if dist.is_initialized():
            dist.destroy_process_group()

    def is_of_another(self, error: str) -> bool:
        return any(word in error for word in _LOST)

    def attributed(self, error: str) -> str:
        if self.is_of_another(error):
            return f"rank {self.rank} lost another rank, whose own error is the cause ({error[:160].rstrip()}…)"
        return error if self.is_first else f"rank {self.rank}: {error}"

    def device(self, asked: str) -> str:
        if asked.startswith("cuda:") or asked == "mps":
            raise DeviceError(f"train.device {asked} is one device and there are {self.size} ranks; use cuda or cpu")
        if asked == "cpu" or not torch.cuda.is_available():
            return "cpu" if asked == "auto" else asked
        cards = torch.cuda.device_count()
        if self._local_rank >= cards:
            raise DeviceError(
                f"{self.local_size} ranks on this machine and {cards} CUDA devices; use --nproc-per-node {cards}"
            )
        return f"cuda:{self._local_rank}"

    def begin_step(self, seed: int, sequence: int) -> None:
        # A step has at least one sequence for each rank, so no two ranks ever get the same number, at any step. And
        # since it depends on nothing that came before, a checkpoint need not hold the generators of all ranks.
        torch.manual_seed(seed * 2**32 + sequence + self.rank)

    def mean(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.sum(tensor) / self.size  # gloo has no mean of its own

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        dist.all_reduce(tensor)
        return tensor


class DataParallel(_SeveralRanks):
    """Each rank holds the whole model; gradients are averaged while the last backward pass is still under way."""

    parallel = "ddp"

    def wrap(self, forward: nn.Module) -> nn.Module:
        device = next(forward.parameters()).device
        return nn.parallel.DistributedDataParallel(
            forward, device_ids=[device] if device.type == "cuda" else None, gradient_as_bucket_view=True
        )

    def share_gradient(self, forward: nn.Module, now: bool) -> None:
        forward.require_backward_grad_sync = now  # pyright: ignore[reportArgumentType]  (what no_sync() sets)

    def gathered(self, tensor: torch.Tensor) -> torch.Tensor:
        if not self._together and tensor.device.type != "cpu":
            raise CheckpointError("what was queued on the device may rest on a sum that never came; resume instead")
        return super().gathered(tensor) if self.is_first else torch.empty(0)


class ShardedRanks(_SeveralRanks):
    """Each rank holds its share of every parameter and gathers a block's just before it is used."""

    parallel = "fsdp"
    meets_early = True

    def check_precision(self, dtype: str) -> None:
        if dtype == "float16":  # each rank would scale and skip by the overflows of its own share
            raise DeviceError(
                "train.dtype float16 needs a gradient scaler, which train.parallel fsdp has not; use ddp or bfloat16"
            )

    def place(self, model: GPT, options: dict[str, Any] | None) -> nn.Module | None:
        from torch.distributed.fsdp import fully_shard

        mesh = self._mesh(next(model.parameters()).device.type)
        for block in model.transformer.h:
            if options is not None:
                # Each for itself, so that gathering its weights stays outside; all keep their names.
                block.forward = torch.compile(block.forward, options=options)
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
        return model

    def _mesh(self, device_type: str) -> DeviceMesh:
        from torch.distributed.device_mesh import init_device_mesh

        return init_device_mesh(device_type, (self.size,))

    def share_gradient(self, forward: nn.Module, now: bool) -> None:
        forward.set_requires_gradient_sync(now)  # pyright: ignore[reportCallIssue]

    @contextlib.contextmanager
    def whole(self, model: GPT) -> Iterator[None]:
        parts: list[Any] = [model, *model.transformer.h]
        for part in parts:
            part.unshard()
        try:
            yield
        finally:
            for part in parts:
                part.reshard()

    def gathered(self, tensor: torch.Tensor) -> torch.Tensor:
        if not self._together:
            raise CheckpointError("a part of the weights lies on ranks that are gone; resume from the last checkpoint")
        whole = tensor.full_tensor() if _is_sharded(tensor) else tensor  # pyright: ignore[reportAttributeAccessIssue]
        return whole.detach().to("cpu") if self.is_first else torch.empty(0)  # one device could not hold them all

    def like(self, parameter: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(parameter, DTensor) or tensor.shape != parameter.shape:
            return tensor
        whole = tensor.detach().to(parameter.device)
        # Every rank has read the whole tensor: each takes its share of it, and nothing is sent.
        return distribute_tensor(whole, parameter.device_mesh, parameter.placements, src_data_rank=None)

    def own_parts(self, gradients: list[torch.Tensor]) -> list[torch.Tensor]:
        parts = [gradient.to_local() for gradient in gradients]  # pyright: ignore[reportAttributeAccessIssue]
        return [part for part in parts if part.numel()]  # of a short vector a rank may hold nothing

    def whole_norm(self, norm: torch.Tensor) -> torch.Tensor:
        return self.sum(norm * norm).sqrt()


class HybridRanks(ShardedRanks):
    """Groups of ranks, each of which holds the whole model in shares; a gradient is summed in its group, then between
    the groups (HSDP: Zhao et al. 2023, section 3.2.2). With a group to a machine, weights never cross the network."""

    def __init__(self, shard_ranks: int | None = None) -> None:
        super().__init__()
        self._shards = shard_ranks or self.local_size
        self._groups = max(1, self.size // self._shards)
        self.parallel = f"hsdp {self._groups}×{self._shards}"

    def check_precision(self, dtype: str) -> None:
        check_groups(self.size, self._shards)
        super().check_precision(dtype)

    def _mesh(self, device_type: str) -> DeviceMesh:
        from torch.distributed.device_mesh import init_device_mesh

        return init_device_mesh(device_type, (self._groups, self._shards), mesh_dim_names=("groups", "shards"))

    def whole_norm(self, norm: torch.Tensor) -> torch.Tensor:
        # Over all ranks, not over a group: every rank must come to the same number, to the last bit.
        return (self.sum(norm * norm) / self._groups).sqrt()


def _is_sharded(tensor: torch.Tensor) -> bool:
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)
