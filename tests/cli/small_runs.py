"""Runs of a second, trained by the command line in the folder that a test stands in."""

from __future__ import annotations

from pathlib import Path

import pytest

from cockpit import cli
from tests.tiny_runs import sums

PROFILE = """
[model]
n_layer = 1
n_head = 2
n_embd = 16
block_size = 16
[data]
input = "sums.txt"
[train]
max_steps = 12
micro_batch_size = 4
eval_interval = 0
eval_steps = 1
threads = 1
device = "cpu"
compile = false
[checkpoint]
interval = 4
keep = 10
[device]
peak_tflops = 1.0
"""


def lay_out() -> None:
    """Puts a text and `small.toml` there."""
    Path("sums.txt").write_text(sums())
    Path("small.toml").write_text(PROFILE)


def train(*arguments: str) -> int | str | None:
    """Trains it headless with more arguments; the exit code."""
    with pytest.raises(SystemExit) as left:
        cli.main(("small.toml", "--headless", *arguments))
    return left.value.code


def settings(*overrides: str) -> tuple[str, ...]:
    """`--set` before each."""
    return tuple(word for each in overrides for word in ("--set", each))
