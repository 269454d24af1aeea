"""A run that takes tenths of a second: what is trained where the training itself is not the point."""

from __future__ import annotations

import functools
import hashlib
import tempfile
from pathlib import Path
from typing import Any

import torch

from gpt.checkpoint import folder_name
from gpt.config import Profile
from gpt.trainer import Trainer
from tests.chaos.gate import scratch
from tests.tiny_runs import sums, tiny_profile

TEXT = sums()
_SMALLER = {
    "model__n_layer": 1, "model__n_embd": 16, "train__max_steps": 14, "train__eval_interval": 3, "train__eval_steps": 1,
    "checkpoint__interval": 2, "checkpoint__keep": 2, "sample__interval": 5, "sample__max_new_tokens": 4,
}  # fmt: skip


def profile(folder: Path, **changes: Any) -> Profile:
    """A tiny profile, smaller still and busier beside training, whose text lies in `folder`."""
    text = folder / "sums.txt"
    if not text.exists():
        text.write_text(TEXT)
    return tiny_profile(text, **_SMALLER | changes)


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
