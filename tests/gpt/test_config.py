"""Profiles are strict: every mistake is one line with the key, what was got and what to do."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import torch

from gpt.coherence import check
from gpt.config import Profile, decode, flatten, replace
from gpt.errors import ProfileError
from gpt.live import LIVE_KEYS, fixed_reason
from gpt.strict import describe, keys_of

DATA = {"data": {"name": "python-stdlib"}}


def refusal(tree: dict[str, Any]) -> str:
    with pytest.raises(ProfileError) as caught:
        decode(tree)
    line = str(caught.value)
    assert "\n" not in line
    assert "`" not in line and "$" not in line, "the decoder's own wording leaks"
    return line


def test_an_empty_profile_but_for_its_data_is_gpt2_small():
    model = decode(DATA).model
    assert (model.n_layer, model.n_head, model.n_embd, model.block_size) == (12, 12, 768, 1024)


@pytest.mark.parametrize(
    ("tree", "parts"),
    [
        ({"optim": {"lerning_rate": 1e-3}}, ["optim.lerning_rate", "did you mean learning_rate"]),
        ({"optm": {}}, ["optm", "did you mean [optim]?"]),
        ({"model": {"max_steps": 100}}, ["model.max_steps", "did you mean train.max_steps?"]),
        ({"screen": {"zzz": 1}}, ["screen.zzz", "[screen] has cpu_budget, theme"]),
        ({"train": {"batch_size": 8}}, ["unknown key train.batch_size", "did you mean micro_batch_size?"]),
        ({"max_iters": 8}, ["unknown key max_iters", "did you mean train.max_steps?"]),
        ({"zzz": 1}, ["zzz", "has name", "[optim]"]),
        ({"optim": {"learning_rate": "fast"}}, ["optim.learning_rate", '"fast"', "a number"]),
        ({"optim": {"learning_rate": -1}}, ["optim.learning_rate", "-1", "must be a number > 0"]),
        ({"optim": {"learning_rate": float("inf")}}, ["optim.learning_rate", "inf", "finite"]),
        ({"optim": {"learning_rate": float("nan")}}, ["optim.learning_rate", "nan", "must be a number > 0"]),
        ({"optim": {"schedule": "cos"}}, ["optim.schedule", '"cos"', '"cosine"', '"linear"', '"constant"']),
        ({"train": {"compile": "yes"}}, ["train.compile", '"yes"', "true", "false", '"auto"']),
        ({"model": {"n_layer": 0}}, ["model.n_layer", "0", "an integer ≥ 1"]),
        ({"model": {"n_layer": 1.5}}, ["model.n_layer", "1.5", "an integer"]),
        ({"model": {"dropout": 1.0}}, ["model.dropout", "1.0", "< 1"]),
        ({"model": {"bias": 1}}, ["model.bias", "1", "true or false"]),
        ({"model": 3}, ["model", "3", "a section"]),
        ({"sample": {"top_p": 0}}, ["sample.top_p", "got 0", "a number > 0 and ≤ 1"]),
        ({"sample": {"repetition_penalty": 0.9}}, ["sample.repetition_penalty", "0.9", "a number ≥ 1"]),
        ({"sample": {"stop": 3}}, ["sample.stop", "got 3", "a string"]),
        ({"sample": {"count": 65}}, ["sample.count", "65", "an integer ≥ 1 and ≤ 64"]),
        ({"train": {"eval_steps": -1}}, ["train.eval_steps", "-1", "an integer ≥ 0"]),
        ({"model": {"positions": "rope"}}, ["model.positions", '"rope"', '"learned"', '"rotary"']),
        ({"model": {"logit_softcap": 0}}, ["model.logit_softcap", "0", "> 0"]),
        ({"model": {"n_kv_head": 0}}, ["model.n_kv_head", "0", "≥ 1"]),
        ({"model": {"num_key_value_heads": 2}}, ["did you mean n_kv_head?"]),
        ({"sample": {"prompts": []}}, ["sample.prompts", "[]", "a list of strings, 1 at least"]),
        ({"sample": {"prompts": ["a", 1]}}, ["sample.prompts.1", "a string", "got 1"]),
        ({"data": {"input": 3}}, ["data.input", "3", "a string or a list of strings"]),
        ({"data": {"val_fraction": 0.9}}, ["data.val_fraction", "0.9", "≤ 0.5"]),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_was_got_and_what_to_do(tree: dict[str, Any], parts: list[str]):
    line = refusal(DATA | tree)
    for part in parts:
        assert part in line


def test_every_key_can_be_described_in_words():
    for keys in keys_of(Profile).sections.values():
        for kind in keys.values():
            assert describe(kind)


def test_a_long_value_does_not_make_a_long_line():
    assert len(refusal(DATA | {"model": {"n_layer": "x" * 1000}})) < 120


@pytest.mark.parametrize(
    ("tree", "parts"),
    [
        ({"model": {"n_embd": 100, "n_head": 12}}, ["n_embd 100", "n_head 12", "96 and 108"]),
        ({"model": {"n_embd": 5, "n_head": 12}}, ["nearest widths are 12"]),
        ({"model": {"n_head": 12, "n_kv_head": 5}}, ["n_head 12", "n_kv_head 5", "can be 1, 2, 3, 4, 6, 12"]),
        ({"model": {"n_head": 4, "n_kv_head": 8, "n_embd": 64}}, ["n_head 4", "n_kv_head 8", "can be 1, 2, 4"]),
        ({"model": {"n_embd": 30, "n_head": 2, "positions": "rotary"}}, ["30 / n_head 2 = 15", "even"]),
        ({"train": {"tokens_per_step": 5, "grad_accum_steps": 2}}, ["both set"]),
        ({"train": {"tokens_per_step": 30000}}, ["30000", "12288", "24576 and 36864"]),
        ({"optim": {"min_lr": 1.0}}, ["min_lr 1", "0.0006"]),
        ({"data": {}}, ["exactly one of input, dir and name", "none of them"]),
        ({"data": {"input": "a.txt", "dir": "b"}}, ["exactly one of", "data.input and data.dir"]),
    ],
)
def test_what_does_not_fit_together_is_named_with_both_numbers(tree: dict[str, Any], parts: list[str]):
    line = refusal(DATA | tree)
    for part in parts:
        assert part in line


def test_tokens_per_step_settles_the_number_of_micro_steps():
    profile = decode(DATA | {"train": {"tokens_per_step": 524_288, "micro_batch_size": 8}})
    assert profile.grad_accum_steps == 64
    assert profile.tokens_per_step == 524_288


def test_a_replaced_key_leaves_the_others_and_the_old_profile_alone():
    before = decode(DATA)
    after = replace(before, {"optim.learning_rate": 1e-4, "name": "other"})
    assert (before.optim.learning_rate, after.optim.learning_rate, after.name) == (6e-4, 1e-4, "other")
    assert after.train == before.train


@pytest.mark.parametrize("change", [{"optim.nope": 1}, {"nope": 1}, {"name.x": 1}, {"optim.learning_rate": 0}])
def test_a_replacement_is_as_strict_as_a_file(change: dict[str, Any]):
    with pytest.raises(ProfileError, match=next(iter(change)).split(".")[-1]):
        replace(decode(DATA), change)


@pytest.mark.parametrize("zero", [0, 0.0])
def test_zero_is_not_above_zero_where_torch_flushes_denormals(zero: float):
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU cannot flush denormals")
    try:
        assert "must be a number > 0; got 0" in refusal(DATA | {"device": {"peak_tflops": zero}})
    finally:
        torch.set_flush_denormal(False)


def test_every_key_can_change_live_or_says_why_not():
    for key in flatten(decode(DATA)):
        assert (fixed_reason(key) is None) == (key in LIVE_KEYS)


def test_every_live_key_exists():
    assert flatten(decode(DATA)).keys() >= LIVE_KEYS


def test_settings_cannot_be_assigned_to():
    with pytest.raises(AttributeError):
        decode(DATA).optim.learning_rate = 1.0  # type: ignore[misc]


def test_a_profile_survives_plain_values_and_back():
    profile = decode(DATA | {"model": {"bias": False}, "sample": {"prompts": ["a", "b"]}})
    assert decode(msgspec.to_builtins(profile)) == profile


def test_a_profile_without_data_is_refused_by_check():
    with pytest.raises(ProfileError, match="exactly one of input, dir and name"):
        check(Profile())
