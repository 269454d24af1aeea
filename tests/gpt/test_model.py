"""GPT-2's architecture, by its properties and against written-out references."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from gpt.config import ModelConfig
from gpt.flops import parameter_count
from gpt.layers import Attention, KVCache
from gpt.model import GPT

SMALL = ModelConfig(n_layer=2, n_head=4, n_embd=32, block_size=16)
VOCAB = 50


def make(config: ModelConfig = SMALL, vocab_size: int = VOCAB, spread: float = 3.0) -> GPT:
    """A model in eval mode whose weights are `spread` times as large as fresh ones, so that every part matters."""
    torch.manual_seed(0)
    model = GPT(config, vocab_size).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(spread).add_(torch.randn_like(parameter) * 0.02)
    return model


def ids(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def test_a_fresh_model_finds_every_token_equally_likely():
    torch.manual_seed(0)
    model = GPT(SMALL, VOCAB).eval()
    _, loss = model(ids(8, 16), ids(8, 16, seed=2))
    assert loss.item() == pytest.approx(math.log(VOCAB), abs=0.05)


def test_the_loss_is_the_mean_cross_entropy_of_the_logits():
    model = make()
    inputs, targets = ids(3, 16), ids(3, 16, seed=2)
    logits, no_loss = model(inputs)
    no_logits, loss = model(inputs, targets)
    assert no_loss is None and no_logits is None
    assert logits.shape == (3, 16, VOCAB)
    expected = -logits.log_softmax(-1).gather(-1, targets[..., None]).mean()
    torch.testing.assert_close(loss, expected)


def test_a_position_marked_minus_100_is_left_out_of_the_loss():
    model = make()
    inputs, targets = ids(1, 4), ids(1, 4, seed=2)
    targets[0, 1:] = -100
    _, loss = model(inputs, targets)
    _, first = model(inputs[:, :1], targets[:, :1])
    torch.testing.assert_close(loss, first)


def test_a_later_token_never_changes_an_earlier_logit():
    model = make()
    before = ids(2, 16)
    after = before.clone()
    after[:, 9] = (after[:, 9] + 1) % VOCAB
    a, b = model(before)[0], model(after)[0]
    torch.testing.assert_close(a[:, :9], b[:, :9], rtol=0, atol=1e-6)
    assert not torch.allclose(a[:, 9:], b[:, 9:], atol=1e-3)


def test_attention_is_what_the_formula_says():
    torch.manual_seed(0)
    attention = Attention(SMALL)
    x = torch.randn(2, 7, 32)
    heads = [part.view(2, 7, 4, 8).transpose(1, 2) for part in attention.c_attn(x).split(32, dim=-1)]
    query, key, value = heads
    scores = query @ key.transpose(-2, -1) / math.sqrt(8)
    scores = scores.masked_fill(torch.ones(7, 7).triu(1).bool(), -math.inf)
    mixed = (scores.softmax(-1) @ value).transpose(1, 2).reshape(2, 7, 32)
    torch.testing.assert_close(attention(x), attention.c_proj(mixed))


def test_the_head_is_the_token_embedding_itself():
    model = make()
    names = dict(model.named_parameters())
    assert not any("head" in name for name in names)
    model(ids(1, 4), ids(1, 4))[1].backward()
    row = 49  # of no input: its gradient can come only from the head
    assert row not in ids(1, 4) and model.transformer.wte.weight.grad[row].abs().sum() > 0


def test_the_same_position_means_the_same_whatever_the_length():
    model = make()
    torch.testing.assert_close(model(ids(1, 16)[:, :5])[0], model(ids(1, 16))[0][:, :5], rtol=0, atol=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("layers", "heads", "width", "block", "vocab"), [(1, 1, 8, 4, 11), (3, 2, 24, 32, 65)])
def test_parameters_are_as_many_as_the_formula_counts(
    bias: bool, layers: int, heads: int, width: int, block: int, vocab: int
):
    config = ModelConfig(n_layer=layers, n_head=heads, n_embd=width, block_size=block, bias=bias)
    model = GPT(config, vocab)
    assert (model.count_parameters(), model.count_parameters(positions=False)) == parameter_count(config, vocab)


@pytest.mark.parametrize(
    ("layers", "heads", "width", "vocab_size", "printed"),
    [
        (6, 6, 384, 65, "10.65M"),
        (6, 6, 384, 50304, "29.94M"),
        (12, 12, 384, 50304, "40.56M"),
        (12, 12, 768, 50304, "123.59M"),
    ],
)
def test_real_models_are_as_large_as_nanogpt_prints(layers: int, heads: int, width: int, vocab_size: int, printed: str):
    config = ModelConfig(n_layer=layers, n_head=heads, n_embd=width, bias=False)
    with torch.device("meta"):  # shapes only
        model = GPT(config, vocab_size)
    assert f"{model.count_parameters(positions=False) / 1e6:.2f}M" == printed


def test_no_bias_means_no_bias_anywhere():
    model = GPT(ModelConfig(n_layer=1, n_head=1, n_embd=8, bias=False), VOCAB)
    assert not [name for name, _ in model.named_parameters() if name.endswith("bias")]


def test_fresh_weights_are_gpt2s():
    torch.manual_seed(0)
    config = ModelConfig(n_layer=8, n_head=4, n_embd=128, block_size=64)
    for name, weight in GPT(config, 200).named_parameters():
        if name.endswith("c_proj.weight"):
            assert weight.std().item() == pytest.approx(0.02 / math.sqrt(16), rel=0.05), name
        elif weight.dim() == 2:
            assert weight.std().item() == pytest.approx(0.02, rel=0.05), name
        else:
            assert torch.all(weight == (0 if name.endswith("bias") else 1)), name


def test_the_seed_settles_the_weights():
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in GPT(SMALL, VOCAB).parameters()])

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


def test_dropout_drops_in_training_and_rests_in_eval():
    model = make(ModelConfig(n_layer=1, n_head=2, n_embd=16, block_size=8, dropout=0.5))
    inputs = ids(1, 8)
    assert torch.equal(model(inputs)[0], model(inputs)[0])
    model.train()
    assert not torch.allclose(model(inputs)[0], model(inputs)[0])


def test_dropout_is_on_the_embedding_the_attention_and_both_residuals(monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[str, float]] = []
    dropout, attend = F.dropout, F.scaled_dot_product_attention

    def spy_dropout(x: torch.Tensor, p: float) -> torch.Tensor:
        seen.append(("dropout", p))
        return dropout(x, p)

    def spy_attention(*args, dropout_p: float, **kwargs) -> torch.Tensor:
        seen.append(("attention", dropout_p))
        return attend(*args, dropout_p=dropout_p, **kwargs)

    monkeypatch.setattr(F, "dropout", spy_dropout)
    monkeypatch.setattr(F, "scaled_dot_product_attention", spy_attention)
    GPT(ModelConfig(n_layer=2, n_head=1, n_embd=8, block_size=8, dropout=0.25), VOCAB).train()(ids(1, 8))
    layer = [("attention", 0.25), ("dropout", 0.25), ("dropout", 0.25)]
    assert seen == [("dropout", 0.25), *layer, *layer]


@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_in_bfloat16_the_loss_is_still_taken_in_float32(how: str):
    expected = make()(ids(2, 16), ids(2, 16, seed=2))[1]
    model = make() if how == "autocast" else make().bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        logits, _ = model(ids(2, 16))
        _, loss = model(ids(2, 16), ids(2, 16, seed=2))
    assert (logits.dtype, loss.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(loss, expected, rtol=0.03, atol=0.03)


# -- the key-value cache -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("portions", [[16], [1] * 16, [5, 1, 1, 9], [3, 4, 8, 1]])
def test_cached_logits_are_the_uncached_ones(portions: list[int]):
    model = make()
    inputs = ids(2, 16)
    expected = model(inputs)[0]
    cache = KVCache(model, batch=2)
    end = 0
    for portion in portions:
        logits = model.forward_cached(inputs[:, end : end + portion], cache)
        end += portion
        assert logits.shape == (2, VOCAB)
        torch.testing.assert_close(logits, expected[:, end - 1], rtol=0, atol=1e-5)
    assert cache.length == end


def test_a_cleared_cache_remembers_nothing():
    model = make()
    cache = KVCache(model)
    model.forward_cached(ids(1, 10, seed=5), cache)
    cache.clear()
    logits = model.forward_cached(ids(1, 4), cache)
    torch.testing.assert_close(logits, model(ids(1, 4))[0][:, -1], rtol=0, atol=1e-5)


def test_a_full_cache_refuses_with_the_numbers_and_stays_as_it_was():
    model = make()
    cache = KVCache(model)
    model.forward_cached(ids(1, 15), cache)
    with pytest.raises(ValueError, match="2 tokens after 15 exceed the cache's 16"):
        model.forward_cached(ids(1, 2), cache)
    assert cache.length == 15


def test_cached_reading_never_drops_out_and_leaves_the_mode_alone():
    model = make(ModelConfig(n_layer=1, n_head=2, n_embd=16, block_size=8, dropout=0.5))
    expected = model(ids(1, 8))[0][:, -1]
    model.train()
    torch.testing.assert_close(model.forward_cached(ids(1, 8), KVCache(model)), expected, rtol=0, atol=1e-5)
    assert model.training


def test_cached_reading_keeps_no_graph():
    model = make()
    cache = KVCache(model)
    assert model.forward_cached(ids(1, 4), cache).is_inference()
    assert not cache.keys.requires_grad


def test_under_autocast_the_cache_is_kept_in_the_lower_precision():
    model = make()
    with torch.autocast("cpu", torch.bfloat16):
        cache = KVCache(model)
        logits = model.forward_cached(ids(1, 16), cache)
        expected = model(ids(1, 16))[0][:, -1]
    assert cache.keys.dtype == torch.bfloat16
    torch.testing.assert_close(logits, expected, rtol=0.03, atol=0.03)


# -- shape -------------------------------------------------------------------------------------------------------------


def test_a_cropped_model_is_the_old_one_on_shorter_texts():
    model = make()
    expected = model(ids(2, 6))[0]
    model.crop_block_size(6)
    assert model.config.block_size == 6
    torch.testing.assert_close(model(ids(2, 6))[0], expected)
    assert model.count_parameters() == parameter_count(model.config, VOCAB)[0]
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("size", [0, 17])
def test_a_block_size_cannot_grow_or_vanish(size: int):
    with pytest.raises(ValueError, match=f"block size {size} is not within 1…16"):
        make().crop_block_size(size)


def test_parameters_have_nanogpts_names():
    config = ModelConfig(n_layer=1, n_head=1, n_embd=4, block_size=4)
    names = [name for name, _ in GPT(config, 5).named_parameters()]
    assert names == [
        "transformer.wte.weight",
        "transformer.wpe.weight",
        *(
            f"transformer.h.0.{part}.{kind}"
            for part in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
            for kind in ("weight", "bias")
        ),
        "transformer.ln_f.weight",
        "transformer.ln_f.bias",
    ]


def test_it_compiles_in_one_graph():
    model = make()
    graphs: list[object] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(model, backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(ids(2, 16), ids(2, 16))[1], model(ids(2, 16), ids(2, 16))[1])
    assert len(graphs) == 1
