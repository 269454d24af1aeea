"""What is trained where the training itself is not the point: a made text, and a profile for a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gpt.config import Profile, decode


def sums(below: int = 20) -> str:
    """Text with something to learn in it: `0 + 0 = 0`, and so on for all pairs below a number, a line each."""
    return "".join(f"{a} + {b} = {a + b}\n" for a in range(below) for b in range(below))


def tiny_profile(text: Path, **settings: Any) -> Profile:
    """A profile that trains on a text in a second; settings are dotted keys with `__` for the dot.

    With dropout: an end with the same weights needs the generators, too, to be as they were.
    """
    tree: dict[str, Any] = {
        "name": "tiny",
        "model": {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 16, "dropout": 0.1},
        "data": {"input": str(text)},
        "train": {"max_steps": 12, "micro_batch_size": 4, "eval_interval": 4, "eval_steps": 2, "device": "cpu",
                  "threads": 1},
        "optim": {"learning_rate": 1e-2, "warmup_steps": 2},
        "checkpoint": {"interval": 4, "keep": 10},
        "sample": {"prompts": ["1 + "], "interval": 0, "max_new_tokens": 8},
        "device": {"peak_tflops": 1.0},
    }  # fmt: skip
    for key, value in settings.items():
        section, inner = key.split("__")
        tree[section][inner] = value
    return decode(tree)
