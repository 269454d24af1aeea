"""What the rules look at: the profile, what the log tells, and the machine. All of it may be unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cockpit.series import Series
from cockpit.state import RunState
from gpt.config import Profile
from gpt.flops import parameter_count


@dataclass(frozen=True)
class Host:
    """Facts about the machine that are in no log; None is unknown."""

    cores: int | None = None
    disk_free_bytes: int | None = None
    """Where the run's folder is, or will be."""
    memory_bytes: int | None = None
    has_amx: bool | None = None
    card: str | None = None
    """The first NVIDIA card, as its driver names it."""


@dataclass(frozen=True)
class DataFacts:
    """What the training data on disk is found to be; None is unknown."""

    tokenizer: str | None = None
    """What the data says it was made with, else what is taken for it."""
    tokenizer_vocab: int | None = None
    """Ids that this tokenizer has."""
    train_tokens: int | None = None
    """In the training split."""
    largest_id: int | None = None
    ids_looked_at: int = 0
    complaint: str | None = None
    """Why a run would refuse this data, in one line."""
    unreadable: int | None = None
    """Characters that stand for bytes which are no UTF-8, in a text that is tokenized on the fly."""
    characters: int = 0
    """Of that text."""
    same_files: tuple[str, ...] = ()
    """`train.bin = val.bin`: files of both splits with the same content."""
    windows: int = 0
    """Stretches of validation that were looked for in training."""
    shared: float = 0.0
    """Share of validation that stands in training too, 0…1, as far as was looked."""
    window: int = 0
    """Their length, tokens or bytes of text."""


@dataclass(frozen=True)
class Saved:
    """The checkpoint that a resume would go on from."""

    run: str
    step: int
    model: Mapping[str, Any]
    """Its shape by key of [model], as state.json has it."""
    optimizer: str | None = None
    finished: bool = False
    """Whether its run has taken all its steps."""


@dataclass(frozen=True)
class Evidence:
    """Everything a rule may ask. A property is None where it cannot be known yet."""

    profile: Profile | None
    """The settings in force; None for a log from elsewhere that came without them."""
    state: RunState
    """Of a run that has not begun: an empty one."""
    source: str = ""
    """The profile's text, for what its comments claim."""
    vocab_size: int | None = None
    """Rows of the token embedding, where the run has not said it yet."""
    host: Host = Host()
    asked: Profile | None = None
    """What the profile's file says now, where a run was begun from one; it may have been edited since."""
    saved: Saved | None = None
    data: DataFacts | None = None
    printed_parameters: int | None = None
    printed_tokens_per_step: int | None = None
    """What a log from elsewhere says of itself: parameters without positions, and tokens of a step."""

    @property
    def began(self) -> bool:
        """Whether there is any step to look at."""
        return len(self.state.loss) > 0 or len(self.state.val_loss) > 0

    @cached_property
    def rows(self) -> int | None:
        """Rows of the token embedding."""
        if self.state.started:
            return self.state.started.vocab_size
        if self.profile and self.profile.model.vocab_size:
            return self.profile.model.vocab_size
        return self.vocab_size

    @cached_property
    def parameters(self) -> int | None:
        """All parameters."""
        if self.state.started:
            return self.state.started.parameters
        counted = parameter_count(self.profile.model, self.rows)[0] if self.profile and self.rows else None
        return counted or self.printed_parameters

    @cached_property
    def parameters_without_positions(self) -> int | None:
        """As nanoGPT counts."""
        if self.state.started:
            return self.state.started.parameters_without_positions
        counted = parameter_count(self.profile.model, self.rows)[1] if self.profile and self.rows else None
        return counted or self.printed_parameters

    @cached_property
    def tokens_per_step(self) -> int | None:
        """As the run has it, as the profile asks for it, or as the log printed it."""
        if self.state.started:
            return self.state.started.tokens_per_step
        return self.profile.tokens_per_step if self.profile else self.printed_tokens_per_step

    @property
    def max_steps(self) -> int | None:
        """The last step, live changes included."""
        return self.state.max_steps or (self.profile.train.max_steps if self.profile else None)

    @property
    def dropout(self) -> float | None:
        """The profile's, 0…1."""
        return self.profile.model.dropout if self.profile else None


def tail(series: Series, share: float = 0.25, least: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of the newest share of a curve's finite points, at least so many where there are; float64."""
    finite = np.isfinite(series.y)
    x, y = series.x[finite], series.y[finite]
    kept = max(least, int(np.ceil(share * len(x))))
    return x[-kept:], y[-kept:]


def whole(series: Series) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of a curve from its beginning, float64: all finite points of a short one; of a long one the newest, and
    before them some, evenly."""
    points = series.points()
    finite = np.isfinite(points.last)
    return points.x[finite], points.last[finite]
