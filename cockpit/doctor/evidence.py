"""What the rules look at: the profile, what the log tells, and the machine. All of it may be unknown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

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
        return parameter_count(self.profile.model, self.rows)[0] if self.profile and self.rows else None

    @cached_property
    def parameters_without_positions(self) -> int | None:
        """As nanoGPT counts."""
        if self.state.started:
            return self.state.started.parameters_without_positions
        return parameter_count(self.profile.model, self.rows)[1] if self.profile and self.rows else None

    @cached_property
    def tokens_per_step(self) -> int | None:
        if self.state.started:
            return self.state.started.tokens_per_step
        return self.profile.tokens_per_step if self.profile else None

    @property
    def max_steps(self) -> int | None:
        """The last step, live changes included."""
        return self.state.max_steps or (self.profile.train.max_steps if self.profile else None)

    @property
    def dropout(self) -> float | None:
        return self.profile.model.dropout if self.profile else None


def of_run(profile: Profile | None, state: RunState, source: str = "", host: Host = Host()) -> Evidence:
    """What is known of a run that has a folder.

    Args:
        profile: the settings in force, what changed while it went on included.
        source: the text of its profile, comments kept.
    """
    return Evidence(profile, state, source=source, host=host)


def tail(series: Series, share: float = 0.25, least: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of the newest share of a curve's finite points, at least so many where there are; float64."""
    finite = np.isfinite(series.y)
    x, y = series.x[finite], series.y[finite]
    kept = max(least, int(np.ceil(share * len(x))))
    return x[-kept:], y[-kept:]
