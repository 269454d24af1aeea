"""What a recording has written is gone at its next replay: nothing of ours may still lie there. On a CPU, a model that
keeps its results in one place stands for the recording."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gpt.config import Profile
from gpt.cudagraphs import Replayed
from gpt.data import open_dataset
from gpt.device import choose
from gpt.errors import DeviceError
from gpt.ledger import TimeLedger
from gpt.model import GPT
from gpt.snapshot import build

Tiny = Callable[..., Profile]

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # where torch imports its own parts


class Recording(nn.Module):
    """Computes what the model does, into the same memory at every call."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model
        self.loss = torch.zeros(())
        self.gradients = [torch.zeros_like(p) for p in model.parameters()]

    def forward(self, ids: Tensor, targets: Tensor) -> tuple[None, Tensor]:
        return None, _Replay.apply(self, ids, targets, *self.model.parameters())  # pyright: ignore[reportReturnType]


class _Replay(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, recording: Recording, ids: Tensor, targets: Tensor, *parameters: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        with torch.enable_grad():
            loss = recording.model(ids, targets)[1]
            gradients = torch.autograd.grad(loss, parameters)
        recording.loss.copy_(loss.detach())
        for place, gradient in zip(recording.gradients, gradients, strict=True):
            place.copy_(gradient)
        ctx.recording = recording
        return recording.loss.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return None, None, None, *(place.mul_(gradient).detach() for place in ctx.recording.gradients)


def train(profile: Profile, forward: Callable[[GPT], nn.Module]) -> tuple[list[float], list[float], list[Tensor]]:
    """Losses and gradient norms of six steps, the noise scale's part measured in each, and the weights after them."""
    device = choose(profile)
    stepper = build(profile, device, open_dataset(profile.data, profile.model), TimeLedger("other")).stepper
    stepper.forward = forward(stepper.model)
    results = [
        stepper.take(step + 1, step * 4, lr=1e-2, weight_decay=0.1, grad_clip=1.0, between=lambda: True, probe=True)
        for step in range(6)
    ]
    known = [result for result in results if result]
    return [r.loss for r in known], [r.grad_norm for r in known], [p.detach() for p in stepper.parameters]


@pytest.mark.parametrize("accum", [1, 2, 4])
def test_replayed_steps_have_the_bits_of_others(tiny: Tiny, accum: int) -> None:
    profile = tiny(train__micro_batch_size=4 // accum, train__grad_accum_steps=accum, train__threads=1)
    losses, norms, weights = train(profile, lambda model: model)
    replayed = train(profile, lambda model: Replayed(model, Recording(model)))
    assert replayed[:2] == (losses, norms) and len(losses) == 6
    assert all(torch.equal(a, b) for a, b in zip(weights, replayed[2], strict=True))


def test_without_being_copied_out_gradients_would_be_written_over(tiny: Tiny) -> None:
    """So the recording of these tests does what a real one does."""
    profile = tiny(train__micro_batch_size=2, train__grad_accum_steps=2, train__threads=1)
    assert train(profile, Recording)[1] != train(profile, lambda model: model)[1]


def test_a_loss_is_still_known_after_the_next_replay(tiny: Tiny) -> None:
    profile = tiny()
    model = GPT(profile.model, 11)
    forward = Replayed(model, Recording(model))
    ids = torch.arange(8).reshape(2, 4)
    first = forward(ids, ids)[1]
    before = float(first.detach())
    second = forward(ids.flip(1), ids)[1]
    assert float(first.detach()) == before != float(second.detach())


def test_the_parameters_keep_their_names(tiny: Tiny) -> None:
    model = GPT(tiny().model, 11)
    assert not [*Replayed(model, Recording(model)).named_parameters()]


def test_where_there_is_nothing_to_record_it_is_refused(tiny: Tiny) -> None:
    with pytest.raises(DeviceError, match=r"cuda_graphs needs one CUDA device and train\.compile = true"):
        choose(tiny(train__cuda_graphs=True, train__device="cpu", train__compile=True))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("accum", [1, 2])
def test_on_a_gpu_recorded_steps_have_the_losses_of_compiled_ones(tiny: Tiny, accum: int) -> None:
    def losses(**train: Any) -> list[float]:
        profile = tiny(
            train__device="cuda", train__compile=True, train__micro_batch_size=4 // accum,
            train__grad_accum_steps=accum, train__dtype="float32", **train,
        )  # fmt: skip
        stepper = build(
            profile, choose(profile), open_dataset(profile.data, profile.model), TimeLedger("other")
        ).stepper
        stepper.warm_up()
        taken = [
            stepper.take(step + 1, step * 4, lr=1e-2, weight_decay=0.1, grad_clip=1.0, between=lambda: True)
            for step in range(6)
        ]
        return [result.loss for result in (*taken, stepper.drain()) if result]

    assert losses(train__cuda_graphs=True) == pytest.approx(losses(), abs=1e-4)
