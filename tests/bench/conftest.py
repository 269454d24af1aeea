"""A tiny profile, and the plain loop as a module."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt.config import Profile, decode
from tests.tiny_runs import sums

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., Profile]:
    """Makes a profile whose step takes a few ms; keyword arguments go into [train]."""
    text = tmp_path / "sums.txt"
    text.write_text(sums())

    def make(**train: Any) -> Profile:
        return decode({
            "name": "tiny",
            "model": {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 16},
            "data": {"input": str(text)},
            "train": {"max_steps": 50, "micro_batch_size": 4, "device": "cpu", "threads": 1, **train},
            "optim": {"learning_rate": 1e-2, "warmup_steps": 2},
        })  # fmt: skip

    return make


@pytest.fixture(autouse=True)
def process_as_before() -> Iterator[None]:
    """What choosing a device changes in this process is changed back."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)
