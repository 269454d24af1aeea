"""What is computed twice instead of kept: the same numbers, in less memory."""

from __future__ import annotations

import pytest
import torch
from meter import SavedBytes
from torch import Tensor

from gpt.config import ModelConfig
from gpt.model import GPT

CONFIG = ModelConfig(n_layer=2, n_head=2, n_embd=32, block_size=24, dropout=0.2)
VOCAB = 500


def loss_gradients_and_saved(
    mode: str = "off", chunk: int = 0, *, compiled: bool = False, config: ModelConfig = CONFIG
) -> tuple[Tensor, list[Tensor], int]:
    """One forward and backward pass of the same model on the same batch, and the bytes kept between the two."""
    torch.manual_seed(1)
    model = GPT(config, VOCAB)
    model.save_memory(mode, chunk)
    ids, targets = torch.randint(VOCAB, (2, 4, 24)).unbind()
    targets = targets.clone()
    targets[0, :5] = -100
    forward = torch.compile(model, backend="aot_eager") if compiled else model
    with SavedBytes(model.parameters()) as saved:
        _, loss = forward(ids, targets)
    torch.rand(3)  # what draws between the passes must not change what is drawn again
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert len(gradients) == len(list(model.parameters()))
    return loss.detach(), gradients, saved.total


@pytest.mark.parametrize("mode", ["selective", "full"])
def test_recomputing_gives_the_same_bits_dropout_included(mode: str) -> None:
    loss, gradients, _ = loss_gradients_and_saved()
    again, gradients_again, _ = loss_gradients_and_saved(mode)
    assert torch.equal(loss, again)
    assert all(map(torch.equal, gradients, gradients_again))


def test_recomputing_keeps_less() -> None:
    off, selective, full = (loss_gradients_and_saved(mode, 16)[2] for mode in ("off", "selective", "full"))
    assert selective < 0.7 * off
    assert full < 0.4 * selective


@pytest.mark.parametrize("chunk", [1, 16, 40, 1000])
def test_a_loss_in_chunks_has_the_same_value_and_gradient(chunk: int) -> None:
    """96 tokens: in single ones, evenly, with a rest, all at once; five of them are left out."""
    loss, gradients, _ = loss_gradients_and_saved()
    chunked, gradients_chunked, _ = loss_gradients_and_saved(chunk=chunk)
    assert chunked.item() == pytest.approx(loss.item(), abs=1e-5)
    for one, other in zip(gradients, gradients_chunked, strict=True):
        assert (one - other).abs().max() < 1e-5


def test_a_loss_in_chunks_never_keeps_the_logits() -> None:
    logits = 4 * 24 * VOCAB * 4
    plain, chunked = (loss_gradients_and_saved(chunk=chunk)[2] for chunk in (0, 16))
    assert plain - chunked > logits


def test_chunks_add_up_the_gradient_of_the_head_in_float32() -> None:
    """Under autocast one bfloat16 copy of the matrix for all chunks would lose what each of many adds."""
    torch.manual_seed(0)
    x, targets = torch.randn(1, 512, 16), torch.randint(50, (1, 512))

    def gradient(chunk: int, lower: bool) -> Tensor:
        from gpt.recompute import chunked_loss

        weight = torch.randn(50, 16, generator=torch.Generator().manual_seed(2)).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=lower):
            chunked_loss(lambda part: torch.nn.functional.linear(part, weight), x, targets, chunk).backward()
        assert weight.grad is not None
        return weight.grad

    exact = gradient(512, False)
    error = [(gradient(chunk, True) - exact).norm() / exact.norm() for chunk in (512, 2)]
    assert error[1] < 1.5 * error[0]


def test_evaluation_and_sampling_recompute_nothing() -> None:
    torch.manual_seed(1)
    model = GPT(CONFIG, VOCAB).eval()
    ids = torch.randint(VOCAB, (2, 24))
    with torch.no_grad():
        logits, loss = model(ids)[0], model(ids, ids)[1]
        model.save_memory("full", 16)
        assert torch.equal(model(ids)[0], logits)
        assert model(ids, ids)[1].item() == pytest.approx(loss.item(), abs=1e-5)


@pytest.mark.parametrize("mode", ["selective", "full"])
def test_a_compiled_model_recomputes_too(mode: str) -> None:
    plain = ModelConfig(n_layer=1, n_head=2, n_embd=32, block_size=24)
    loss, gradients, _ = loss_gradients_and_saved(config=plain)
    compiled, gradients_compiled, _ = loss_gradients_and_saved(mode, 48, compiled=True, config=plain)
    assert compiled.item() == pytest.approx(loss.item(), abs=1e-5)
    for one, other in zip(gradients, gradients_compiled, strict=True):
        assert (one - other).abs().max() < 1e-5
