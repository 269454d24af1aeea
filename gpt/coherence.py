"""What must hold between several settings of a profile. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gpt.errors import ProfileError

if TYPE_CHECKING:
    from gpt.config import Profile

TOKENIZERS = ("byte", "char", "gpt2")
"""The tokenizers known by name; any other is a file that ends in `.tiktoken`."""


def check(profile: Profile) -> None:
    """Checks what spans several keys. Raises ProfileError with one line: what, what was got, what to do."""
    model, data, train, optim = profile.model, profile.data, profile.train, profile.optim
    if model.n_embd % model.n_head:
        raise ProfileError(
            f"model.n_embd {model.n_embd} is not divisible by model.n_head {model.n_head}; "
            f"the nearest widths are {nearest_multiples(model.n_embd, model.n_head)}"
        )
    if model.n_head % model.kv_heads:
        fitting = [str(heads) for heads in range(1, model.n_head + 1) if model.n_head % heads == 0]
        raise ProfileError(
            f"model.n_head {model.n_head} is not divisible by model.n_kv_head {model.n_kv_head}; "
            f"n_kv_head can be {', '.join(fitting)}"
        )
    if model.positions == "rotary" and model.head_width % 2:
        raise ProfileError(
            f"model.positions rotary turns pairs of channels, and a head of n_embd {model.n_embd} / n_head "
            f"{model.n_head} = {model.head_width} has one without a partner; make the head's width even"
        )
    given = [key for key in ("input", "dir", "name") if getattr(data, key) is not None]
    if len(given) != 1:
        got = " and ".join(f"data.{key}" for key in given) or "none of them"
        raise ProfileError(f"data needs exactly one of input, dir and name; got {got}")
    if train.tokens_per_step is None and train.micro_batch_size == "auto":
        raise ProfileError(
            'train.micro_batch_size "auto" needs train.tokens_per_step: what a step learns from must not depend on the '
            f"machine; {12 * model.block_size} would be 12 sequences"
        )
    if data.tokenizer is not None and (mistake := tokenizer_mistake(data.tokenizer)):
        raise ProfileError(f"data.tokenizer {mistake}")
    if train.tokens_per_step is not None:
        if train.grad_accum_steps is not None:
            raise ProfileError("train.tokens_per_step and train.grad_accum_steps are both set; keep one")
        auto = train.micro_batch_size == "auto"
        portion = model.block_size if auto else profile.tokens_per_micro_step
        if train.tokens_per_step % portion:
            raise ProfileError(
                f"train.tokens_per_step {train.tokens_per_step} is not a multiple of "
                f"{'' if auto else 'micro_batch_size × '}block_size = "
                f"{portion}; the nearest are {nearest_multiples(train.tokens_per_step, portion)}"
            )
    if optim.min_lr is not None and optim.min_lr > optim.learning_rate:
        raise ProfileError(
            f"optim.min_lr {optim.min_lr:g} is above optim.learning_rate {optim.learning_rate:g}; "
            "decay ends at it, so it must be the smaller one"
        )


def nearest_multiples(value: int, of: int) -> str:
    """`8 and 16`, the multiples of a number on both sides of a value, or the first one where there is none below."""
    below, above = value // of * of, -(-value // of) * of
    return f"{below} and {above}" if below else str(above)


def tokenizer_mistake(name: str) -> str | None:
    """What is wrong with a tokenizer's name, to follow the setting's own, or None where nothing is."""
    if name in TOKENIZERS or name.endswith(".tiktoken"):
        return None
    return f"must be {', '.join(TOKENIZERS)}, or a file that ends in .tiktoken; got {name!r}"
