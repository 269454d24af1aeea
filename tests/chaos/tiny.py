"""A run that takes tenths of a second: what is trained where the training itself is not the point."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from pathlib import Path
from typing import Any

import torch

from gpt.checkpoint import folder_name
from gpt.config import Profile, decode
from gpt.trainer import Trainer
from tests.chaos.gate import scratch

TEXT = "".join(f"{a} + {b} = {a + b}\n" for a in range(20) for b in range(20))


def profile(folder: Path, **changes: Any) -> Profile:
    """A profile whose text lies in `folder`; changes are dotted keys with `__` for the dot.

    With dropout: an end with the same weights needs the generators, too, to be as they were.
    """
    text = folder / "sums.txt"
    if not text.exists():
        text.write_text(TEXT)
    tree: dict[str, Any] = {
        "name": "tiny",
        "model": {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "dropout": 0.1},
        "data": {"input": str(text)},
        "train": {"max_steps": 14, "micro_batch_size": 4, "eval_interval": 3, "eval_steps": 1, "device": "cpu",
                  "threads": 1},
        "optim": {"learning_rate": 1e-2, "warmup_steps": 2},
        "checkpoint": {"interval": 2, "keep": 2},
        "sample": {"prompts": ["1 + "], "interval": 5, "max_new_tokens": 4},
        "device": {"peak_tflops": 1.0},
    }  # fmt: skip
    for key, value in changes.items():
        section, inner = key.split("__")
        tree[section][inner] = value
    return decode(tree)


@functools.cache
def warm_up() -> None:
    """Trains once, so that processes forked from this one need not load what the first run loads: 2 s.

    On one thread, so that there are none that a fork would lose.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=scratch()) as folder:
        Trainer(profile(Path(folder), train__max_steps=2), Path(folder, "run"), lambda event: None).run()


def weights_of(run: Path, step: int) -> str:
    """Hash of a checkpoint's tensors: weights, moments, generators."""
    files = sorted((run / "checkpoints" / folder_name(step)).glob("*.safetensors"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
