"""Each switch of the architecture against its formula, and what must hold whichever of them are on."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gpt import products
from gpt.commands import Sample
from gpt.config import SWITCHES, ModelConfig, OptimConfig, SampleConfig
from gpt.device import Device
from gpt.flops import flops_per_token, parameter_count
from gpt.gelu import gelu
from gpt.generate import generate
from gpt.joint_graph import JointGraph
from gpt.lanes import replica
from gpt.layers import MLP, Attention, Block, KVCache, make_norm, rotate, rotation
from gpt.model import GPT
from gpt.optim import make_optimizer
from gpt.ragged import RaggedCache
from gpt.sampler import draw_samples
from gpt.tokenizer import ByteTokenizer, StreamDecoder

VOCAB, EPS = 50, 1e-5
SHAPE = {"n_layer": 2, "n_head": 4, "n_embd": 32, "block_size": 16}
EACH: dict[str, dict[str, Any]] = {
    "rotary": {"positions": "rotary"}, "rmsnorm": {"norm": "rmsnorm"}, "relu2": {"activation": "relu2"},
    "gelu_erf": {"activation": "gelu_erf"},
    "swiglu": {"activation": "swiglu"}, "qk_norm": {"qk_norm": True}, "grouped": {"n_kv_head": 2},
    "one key head": {"n_kv_head": 1}, "untied": {"tie_weights": False}, "softcap": {"logit_softcap": 0.5},
    "zero_init": {"zero_init": True},
}  # fmt: skip
ALL = {
    "positions": "rotary", "norm": "rmsnorm", "activation": "swiglu", "qk_norm": True, "n_kv_head": 2,
    "tie_weights": False, "logit_softcap": 5.0, "zero_init": True,
}  # fmt: skip
EVERY = pytest.mark.parametrize("switches", [*EACH.values(), ALL], ids=[*EACH, "all"])


def config(**switches: Any) -> ModelConfig:
    return ModelConfig(**SHAPE | switches)


def stirred(module: Any) -> Any:
    """In eval mode with random weights everywhere, norms and zeros included, so that every part matters."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1 + (parameter.dim() == 1))
    return module.eval()


def model(**switches: Any) -> GPT:
    return stirred(GPT(config(**switches), VOCAB))


def ids(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def noise(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# -- each against its formula ------------------------------------------------------------------------------------------


def turned(x: Tensor, first: int = 0) -> Tensor:
    """Rotary positions by complex numbers: channels i and i + D/2 are one, times e^(i·p·θ), θ = 10000^(-2i/D)."""
    half = x.shape[-1] // 2
    theta = 10000.0 ** (-torch.arange(half) / half)
    positions = first + torch.arange(x.shape[-2])
    complex_x = torch.complex(x[..., :half], x[..., half:]) * torch.exp(1j * positions[:, None] * theta)
    return torch.cat([complex_x.real, complex_x.imag], dim=-1)


def rms_normed(x: Tensor, weight: Tensor) -> Tensor:
    return x / (x.pow(2).mean(-1, keepdim=True) + EPS).sqrt() * weight


def test_a_head_is_turned_as_complex_numbers_are():
    x = noise(2, 3, 7, 8)
    torch.testing.assert_close(rotate(x, rotation(torch.arange(5, 12), 8)), turned(x, first=5))


def test_sequences_with_positions_of_their_own_are_turned_each_by_its_own():
    x, positions = noise(2, 3, 4, 8), torch.tensor([[0, 1, 2, 3], [9, 10, 11, 12]])
    expected = torch.cat([turned(x[:1]), turned(x[1:], first=9)])
    torch.testing.assert_close(rotate(x, rotation(positions, 8)), expected)


def test_a_rotary_score_depends_only_on_how_far_apart_query_and_key_are():
    query, key = noise(1, 1, 6, 8), noise(1, 1, 6, 8, seed=3)

    def scores(first: int) -> Tensor:
        by = rotation(torch.arange(first, first + 6), 8)
        return rotate(query, by) @ rotate(key, by).transpose(-2, -1)

    torch.testing.assert_close(scores(0), scores(100), rtol=0, atol=1e-4)
    assert not torch.allclose(scores(0), query @ key.transpose(-2, -1), atol=0.1)


def test_rmsnorm_divides_by_the_root_of_the_mean_square_and_has_no_bias():
    norm = stirred(make_norm(config(norm="rmsnorm")))
    x = noise(2, 5, 32) + 1
    torch.testing.assert_close(norm(x), rms_normed(x, norm.weight))
    assert [name for name, _ in norm.named_parameters()] == ["weight"]


@pytest.mark.parametrize("kv_heads", [None, 4, 2, 1])
@pytest.mark.parametrize("qk_norm", [False, True])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_attention_is_what_the_formula_says_with_heads_repeated(kv_heads: int | None, qk_norm: bool, positions: str):
    attention = stirred(Attention(config(n_kv_head=kv_heads, qk_norm=qk_norm, positions=positions)))
    x, heads, keys = noise(2, 7, 32), 4, kv_heads or 4
    sizes = [heads * 8, keys * 8, keys * 8]
    query, key, value = (part.view(2, 7, -1, 8).transpose(1, 2) for part in attention.c_attn(x).split(sizes, dim=-1))
    if qk_norm:
        query, key = rms_normed(query, attention.q_norm.weight), rms_normed(key, attention.k_norm.weight)
    if positions == "rotary":
        query, key = turned(query), turned(key)
    key, value = (part.repeat_interleave(heads // keys, dim=1) for part in (key, value))
    scores = (query @ key.transpose(-2, -1) / math.sqrt(8)).masked_fill(torch.ones(7, 7).triu(1).bool(), -math.inf)
    expected = attention.c_proj((scores.softmax(-1) @ value).transpose(1, 2).reshape(2, 7, 32))
    by = rotation(torch.arange(7), 8) if positions == "rotary" else None
    torch.testing.assert_close(attention(x, by), expected)


@pytest.mark.parametrize("bias", [True, False])
def test_relu2_squares_what_is_positive(bias: bool):
    mlp, x = stirred(MLP(config(activation="relu2", bias=bias))), noise(2, 3, 32)
    torch.testing.assert_close(mlp(x), mlp.c_proj(mlp.c_fc(x).clamp(min=0) ** 2))


def test_the_exact_gelu_weighs_by_the_normal_distribution():
    mlp, x = stirred(MLP(config(activation="gelu_erf"))), noise(2, 3, 32)
    hidden = mlp.c_fc(x)
    share = torch.distributions.Normal(0.0, 1.0).cdf(hidden)
    torch.testing.assert_close(mlp(x), mlp.c_proj(hidden * share))


@pytest.mark.parametrize("bias", [True, False])
def test_swiglu_is_gated_by_silu(bias: bool):
    mlp, x = stirred(MLP(config(activation="swiglu", bias=bias))), noise(2, 3, 32)
    gate = mlp.c_gate(x)
    torch.testing.assert_close(mlp(x), mlp.c_proj(gate / (1 + torch.exp(-gate)) * mlp.c_fc(x)))


@pytest.mark.parametrize(("width", "channels"), [(768, 2048), (128, 352), (1024, 2752), (8, 32)])
def test_swiglu_is_as_wide_as_gives_it_about_gelus_parameters(width: int, channels: int):
    shape = ModelConfig(n_embd=width, n_head=1, activation="swiglu")
    assert shape.mlp_width == channels
    assert 0 <= 3 * channels - 8 * width < 3 * 32


def test_capped_logits_are_the_plain_ones_through_tanh():
    plain, capped = model(), model(logit_softcap=0.5)
    logits = plain(ids(2, 16))[0]
    assert logits.abs().max() > 1
    torch.testing.assert_close(capped(ids(2, 16))[0], 0.5 * torch.tanh(logits / 0.5))
    expected = F.cross_entropy(capped(ids(2, 16))[0].flatten(0, 1), ids(2, 16, seed=3).flatten())
    torch.testing.assert_close(capped(ids(2, 16), ids(2, 16, seed=3))[1], expected)


def test_an_untied_head_is_a_matrix_of_its_own():
    untied = model(tie_weights=False)
    untied(ids(1, 4), ids(1, 4))[1].backward()
    row = 49  # of no input: a gradient could come only from the head
    assert row not in ids(1, 4)
    assert untied.lm_head is not None and untied.lm_head.weight.grad[row].abs().sum() > 0
    assert untied.transformer.wte.weight.grad[row].abs().sum() == 0


def test_zero_init_makes_each_fresh_layer_the_identity():
    torch.manual_seed(0)
    fresh = GPT(config(zero_init=True), VOCAB)
    x = noise(1, 5, 32)
    for block in fresh.transformer.h:
        assert isinstance(block, Block) and torch.equal(block(x), x)
    assert [name for name, weight in fresh.named_parameters() if weight.dim() == 2 and not weight.any()] == [
        f"transformer.h.{layer}.{part}.c_proj.weight" for layer in (0, 1) for part in ("attn", "mlp")
    ]


def test_what_is_switched_on_has_these_names():
    assert [name for name, _ in model(**ALL, bias=False).named_parameters() if ".h.1." not in name] == [
        "transformer.wte.weight",
        "transformer.h.0.ln_1.weight",
        *(f"transformer.h.0.attn.{part}.weight" for part in ("c_attn", "c_proj", "q_norm", "k_norm")),
        "transformer.h.0.ln_2.weight",
        *(f"transformer.h.0.mlp.{part}.weight" for part in ("c_fc", "c_gate", "c_proj")),
        "transformer.ln_f.weight",
        "lm_head.weight",
    ]


# -- all off: GPT-2 to the bit -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_with_all_switches_off_every_bit_is_gpt2s(bias: bool):
    gpt2 = model(bias=bias)
    weights = {name.removeprefix("transformer."): parameter for name, parameter in gpt2.named_parameters()}

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (32,), weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    x = F.embedding(ids(2, 9), weights["wte.weight"]) + weights["wpe.weight"][:9]
    for layer in range(2):
        query, key, value = (
            part.view(2, 9, 4, 8).transpose(1, 2)
            for part in linear(norm(x, f"h.{layer}.ln_1"), f"h.{layer}.attn.c_attn").split(32, dim=2)
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + linear(mixed.transpose(1, 2).reshape(2, 9, 32), f"h.{layer}.attn.c_proj")
        hidden = gelu(linear(norm(x, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc"))
        x = x + linear(hidden, f"h.{layer}.mlp.c_proj")
    assert torch.equal(gpt2(ids(2, 9))[0], norm(x, "ln_f") @ weights["wte.weight"].T)


# -- whichever are on --------------------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("portions", [[1] * 16, [5, 1, 1, 9]])
def test_cached_logits_are_the_uncached_ones(switches: dict[str, Any], portions: list[int]):
    gpt, inputs, end = model(**switches), ids(2, 16), 0
    expected, cache = gpt(inputs)[0], KVCache(gpt, batch=2)
    for portion in portions:
        logits = gpt.forward_cached(inputs[:, end : end + portion], cache)
        end += portion
        torch.testing.assert_close(logits, expected[:, end - 1], rtol=0, atol=1e-5)


@EVERY
def test_a_text_longer_than_the_context_is_read_by_the_cache_as_without_it(
    switches: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    """Each time the model is read for the next token, its logits are those of the whole window, uncached."""
    gpt, window, seen = model(**switches), [3, 1, 4], []
    read = GPT.forward_cached
    monkeypatch.setattr(
        GPT, "forward_cached", lambda self, ids, cache: seen.append(read(self, ids, cache)[0]) or seen[-1][None]
    )
    drawn = list(generate(gpt, window, max_new_tokens=40, temperature=0, generator=torch.Generator()))
    for token, logits in zip(drawn, seen, strict=True):
        torch.testing.assert_close(logits, gpt(torch.tensor([window]))[0][0, -1], rtol=0, atol=1e-5)
        window = [*window, token] if len(window) < 16 else [*window, token][-8:]


@EVERY
def test_rows_of_unequal_length_are_read_as_if_alone(switches: dict[str, Any]):
    gpt, texts, ends = model(**switches), ids(3, 16), [3, 9, 1]
    expected, cache = gpt(texts)[0], RaggedCache(gpt, 3)
    for row, end in enumerate(ends):
        cache.read_row(row, gpt, texts[row, :end].tolist())
    for _ in range(7):
        logits = gpt.forward_cached(torch.stack([texts[row, end : end + 1] for row, end in enumerate(ends)]), cache)
        ends = [end + 1 for end in ends]
        wanted = torch.stack([expected[row, end - 1] for row, end in enumerate(ends)])
        torch.testing.assert_close(logits, wanted, rtol=0, atol=1e-5)


def test_the_cache_keeps_only_the_heads_there_are():
    assert KVCache(model(n_kv_head=1), batch=3).keys.shape == (2, 3, 1, 16, 8)


@EVERY
def test_every_parameter_gets_a_gradient(switches: dict[str, Any]):
    gpt = model(**switches)
    gpt(ids(2, 16), ids(2, 16, seed=3))[1].backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in gpt.parameters())


@EVERY
def test_forward_and_backward_pass_compile_in_one_graph(switches: dict[str, Any]):
    """gpt.joint_graph's, traced as for the real compiler and run as it was traced."""
    gpt, inputs, targets = model(**switches), ids(2, 16), ids(2, 16, seed=3)
    torch.compiler.reset()
    joint = JointGraph(gpt, lambda function, options, **more: torch.compile(function, backend="eager", **more))
    loss = joint.passes(gpt)(inputs, targets, 0.5, lambda part: None)
    expected = gpt(inputs, targets)[1] * 0.5
    torch.testing.assert_close(loss, expected.detach())
    for parameter, gradient in zip(gpt.parameters(), torch.autograd.grad(expected, [*gpt.parameters()]), strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_all_of_them_compile_in_one_graph():
    gpt = model(**ALL)
    torch.compiler.reset()
    compiled: Any = torch.compile(gpt, backend="eager", fullgraph=True)
    loss = compiled(ids(2, 16), ids(2, 16, seed=3))[1]
    loss.backward()
    torch.testing.assert_close(loss, gpt(ids(2, 16), ids(2, 16, seed=3))[1])


@pytest.mark.filterwarnings("error")  # such as a norm of two dtypes that misses its fused kernel
@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_in_bfloat16_the_loss_is_still_taken_in_float32(how: str):
    expected = model(**ALL)(ids(2, 16), ids(2, 16, seed=3))[1]
    gpt = model(**ALL) if how == "autocast" else model(**ALL).bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        loss = gpt(ids(2, 16), ids(2, 16, seed=3))[1]
        cache = KVCache(gpt)
        logits = gpt.forward_cached(ids(1, 16), cache)
        torch.testing.assert_close(logits, gpt(ids(1, 16))[0][:, -1], rtol=0.05, atol=0.05)
    assert (loss.dtype, cache.keys.dtype) == (torch.float32, torch.bfloat16)
    torch.testing.assert_close(loss, expected, rtol=0.03, atol=0.03)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@EVERY
def test_on_a_gpu_the_logits_are_the_cpus(switches: dict[str, Any]):
    gpt = model(**switches)
    expected = gpt(ids(2, 16))[0]
    gpt.to("cuda")
    torch.testing.assert_close(gpt(ids(2, 16).cuda())[0].cpu(), expected, rtol=0, atol=1e-4)
    cached = gpt.forward_cached(ids(2, 16).cuda(), KVCache(gpt, batch=2))
    torch.testing.assert_close(cached.cpu(), expected[:, -1], rtol=0, atol=1e-4)


def test_a_replica_for_another_thread_has_the_same_weights_and_bits():
    gpt = model(**ALL)
    twin = replica(gpt).eval()
    assert [name for name, _ in twin.named_parameters()] == [name for name, _ in gpt.named_parameters()]
    assert torch.equal(twin(ids(2, 16))[0], gpt(ids(2, 16))[0])


def test_a_cropped_rotary_model_is_the_old_one_on_shorter_texts():
    gpt = model(positions="rotary")
    expected = gpt(ids(2, 6))[0]
    gpt.crop_block_size(6)
    assert gpt.config.block_size == KVCache(gpt).capacity == 6
    torch.testing.assert_close(gpt(ids(2, 6))[0], expected)


def any_combination(seed: int) -> ModelConfig:
    """A shape and a setting of each switch, drawn by the seed."""
    pick = random.Random(seed).choice
    heads, width = pick([1, 2, 4, 6]), pick([2, 4, 10])
    return ModelConfig(
        n_layer=pick([1, 2, 3]), n_head=heads, n_embd=heads * width, block_size=pick([4, 24]), bias=pick([True, False]),
        positions=pick(["learned", "rotary"]), norm=pick(["layernorm", "rmsnorm"]),
        activation=pick(["gelu", "gelu_erf", "relu2", "swiglu"]), qk_norm=pick([True, False]),
        n_kv_head=pick([None, *(each for each in range(1, heads + 1) if heads % each == 0)]),
        tie_weights=pick([True, False]), logit_softcap=pick([None, 15.0]), zero_init=pick([True, False]),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(30))
def test_parameters_and_flops_are_those_of_the_built_model(seed: int, monkeypatch: pytest.MonkeyPatch):
    """FLOPs as torch counts them: a product's forward pass thrice, and 6 for each parameter that is in no product."""
    monkeypatch.setattr(products, "is_onednn_faster", lambda: False)  # whose operators torch does not count
    shape = any_combination(seed)
    gpt, tokens = GPT(shape, 13), shape.block_size
    assert (gpt.count_parameters(), gpt.count_parameters(positions=False)) == parameter_count(shape, 13)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        gpt(torch.zeros(1, tokens, dtype=torch.long))
    vectors = sum(parameter.numel() for parameter in gpt.parameters() if parameter.dim() == 1)
    expected = 3 * counter.get_total_flops() / tokens + 6 * vectors
    assert flops_per_token(shape, vocab_size=13) == pytest.approx(expected)


@EVERY
def test_matrices_decay_and_norms_do_not(switches: dict[str, Any]):
    gpt = model(**switches)
    decay, rest = make_optimizer(gpt, OptimConfig(), "cpu").param_groups
    names = {id(parameter): name for name, parameter in gpt.named_parameters()}
    assert sorted(names[id(each)] for each in decay["params"] + rest["params"]) == sorted(names.values())
    assert {names[id(each)].split(".")[-2] for each in decay["params"]} <= {
        "wte", "wpe", "c_attn", "c_proj", "c_fc", "c_gate", "lm_head",
    }  # fmt: skip
    assert all(names[id(each)].endswith("bias") or "norm" in names[id(each)] or ".ln_" in names[id(each)]
               for each in rest["params"])  # fmt: skip


@pytest.mark.parametrize("switches", EACH.values(), ids=EACH)
def test_a_switch_that_is_on_is_told_with_gpt2s_value(switches: dict[str, Any]):
    ((key, value),) = switches.items()
    default = 4 if key == "n_kv_head" else getattr(ModelConfig(), key)
    assert config(**switches).departures() == {key: (default, value)}


def test_gpt2s_own_values_depart_from_nothing_however_they_are_written():
    assert config().departures() == config(n_kv_head=4).departures() == {}
    assert config(**ALL).departures().keys() == set(SWITCHES)


def test_rows_that_only_pad_the_vocabulary_are_never_drawn(monkeypatch: pytest.MonkeyPatch):
    """In a sample of a model whose untied head likes them best."""
    gpt = stirred(GPT(config(tie_weights=False, vocab_size=384), 384))
    assert gpt.lm_head is not None
    with torch.no_grad():
        gpt.lm_head.weight[256:] *= 10
    drawn: list[int] = []
    feed = StreamDecoder.feed
    monkeypatch.setattr(StreamDecoder, "feed", lambda self, token: drawn.append(token) or feed(self, token))
    device = Device(torch.device("cpu"), "cpu", "float32", False, "", None, None)
    draw_samples(
        gpt, ByteTokenizer(), device, SampleConfig(max_new_tokens=50), Sample(),
        number=1, step=0, emit=lambda event: None, go_on=lambda: True,
    )  # fmt: skip
    assert len(drawn) == 50 and max(drawn) < 256
