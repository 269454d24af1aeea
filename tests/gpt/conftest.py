"""What the engine's tests share: a tiny profile on made text, and a trainer run to its end in this process."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gpt import products
from gpt.config import Profile
from gpt.events import Event
from tests.tiny_runs import sums, tiny_profile


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "sums.txt"
    path.write_text(sums())
    return path


@pytest.fixture
def tiny(text_file: Path) -> Callable[..., Profile]:
    """Makes a profile that trains in a second: dotted keys as keyword arguments with `__` for the dot."""
    return functools.partial(tiny_profile, text_file)


@pytest.fixture(params=["torch", "oneDNN"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whose matrix products are taken, whatever this machine is."""
    if request.param == "oneDNN" and not torch.backends.mkldnn.is_available():
        pytest.skip("torch has no oneDNN in it")
    monkeypatch.setattr(products, "is_onednn_faster", lambda: request.param == "oneDNN")
    return request.param


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's cache, shared with the other tests of this sitting but not with the person who runs them."""
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


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
