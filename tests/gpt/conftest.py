"""What the engine's tests share: a tiny profile on made text, and a trainer run to its end in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gpt.config import Profile, decode
from gpt.events import Event


def made_text(lines: int = 400) -> str:
    """Text with something to learn in it: sums, written out."""
    return "".join(f"{a} + {b} = {a + b}\n" for a in range(20) for b in range(lines // 20))


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "sums.txt"
    path.write_text(made_text())
    return path


@pytest.fixture
def tiny(text_file: Path) -> Callable[..., Profile]:
    """Makes a profile that trains in a second: dotted keys as keyword arguments with `__` for the dot."""

    def make(**settings: Any) -> Profile:
        tree: dict[str, Any] = {
            "name": "tiny",
            "model": {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 16, "dropout": 0.1},
            "data": {"input": str(text_file)},
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

    return make


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., list[Event]]:
    """Trains a profile to its end and returns the events; `pilot(trainer, event)` may send commands at any event."""
    from gpt.trainer import Trainer

    def train(
        profile: Profile, name: str = "run", *, resume: str | None = None,
        pilot: Callable[[Trainer, Event], None] | None = None,
    ) -> list[Event]:  # fmt: skip
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        events: list[Event] = []

        def emit(event: Event) -> None:
            events.append(event)
            if pilot:
                pilot(trainer, event)

        path = folder / "checkpoints" / resume if resume else None
        trainer = Trainer(profile, folder, emit, resume=path)
        trainer.run()
        return events

    return train
