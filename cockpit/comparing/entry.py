"""One of those that are compared: a run, a log from elsewhere or a published figure, with its curves and its facts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Axis = Literal["step", "tokens", "flops", "seconds"]
AXES: tuple[Axis, ...] = ("step", "tokens", "flops", "seconds")
"""What runs are held equal in. `seconds` is training alone (phases train and data): no evaluation, saving or pause."""

WORDS: dict[Axis, str] = {"step": "steps", "tokens": "tokens", "flops": "FLOPs", "seconds": "seconds of training"}


@dataclass(frozen=True)
class Value:
    """A loss somewhere on a curve."""

    loss: float
    error: float | None = None
    """Its standard error; None: nobody said one."""
    between: tuple[float, float] | None = None
    """The places it is interpolated between, on the axis that was asked for; None: it was measured there."""

    def scaled(self, factor: float) -> Value:
        """In another unit."""
        return Value(self.loss * factor, None if self.error is None else self.error * factor, self.between)


@dataclass(frozen=True, eq=False)
class Curve:
    """Losses by step, nats/token, ascending; (n,) float64 each. NaN: unknown."""

    step: np.ndarray
    tokens: np.ndarray
    """Seen since step 0."""
    seconds: np.ndarray
    """Of training since step 0."""
    loss: np.ndarray
    error: np.ndarray
    """Standard error of each loss."""

    def __len__(self) -> int:
        return len(self.step)


def empty_curve() -> Curve:
    """Without a point."""
    return Curve(*(np.empty(0) for _ in range(5)))


@dataclass(frozen=True)
class Data:
    """What was trained and evaluated on. None is unknown."""

    label: str | None = None
    """For people."""
    known_as: str | None = None
    """A data set with a name that everybody uses, as cockpit.comparing.standing writes it."""
    tokenizer: str | None = None
    vocab_size: int | None = None
    """Rows of the embedding."""
    train_tokens: int | None = None
    val_tokens: int | None = None
    bytes_per_token: float | None = None
    fingerprint: str | None = None
    """Hash of the token files."""

    @property
    def val_bytes(self) -> float | None:
        """Text behind the validation split: the same whatever the tokens."""
        return self.val_tokens * self.bytes_per_token if self.val_tokens and self.bytes_per_token else None


@dataclass(frozen=True)
class Sitting:
    """A run from one start of the program to its end."""

    first_step: int
    last_step: int
    device: str
    device_type: str
    dtype: str
    compiled: bool
    tokens_per_s: float | None
    """Median."""
    exact: bool | None = None
    """Whether it went on to the bit as if it had never stopped; None for the first."""
    why: str = ""
    """Why not."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One of those that are compared. None is unknown."""

    name: str
    kind: Literal["run", "log", "reference"]
    data: Data = Data()
    val: Curve = field(default_factory=empty_curve)
    train: Curve = field(default_factory=empty_curve)
    """Training loss as printed, means of equal stretches with the standard error that their spread tells; with dropout
    on, where there is any."""
    steps: int | None = None
    tokens: int | None = None
    seconds: float | None = None
    """Of training alone."""
    wall: float | None = None
    parameters: int | None = None
    """Without positions."""
    flops_per_token: float | None = None
    micro_batch_size: int | None = None
    grad_accum_steps: int | None = None
    block_size: int | None = None
    tokens_per_step: int | None = None
    tokens_per_s: float | None = None
    """Median of the last sitting."""
    mfu: float | None = None
    noise_tokens: float | None = None
    """Critical batch size as last measured, tokens a step."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """By dotted key, as last in force."""
    sittings: tuple[Sitting, ...] = ()
    about: str = ""
    """Of a reference: where it is from."""

    @property
    def flops(self) -> float | None:
        """Of all tokens."""
        return self.tokens * self.flops_per_token if self.tokens and self.flops_per_token else None

    @property
    def last_sitting(self) -> Sitting | None:
        """The newest; None where nothing is known of any."""
        return self.sittings[-1] if self.sittings else None

    def places(self, curve: Curve, axis: Axis) -> np.ndarray:
        """Where a curve's points lie on an axis, (n,); NaN where that is unknown."""
        if axis == "flops":
            return curve.tokens * (self.flops_per_token if self.flops_per_token else math.nan)
        return getattr(curve, axis)

    def best(self, curve: Curve) -> tuple[Value, int | None] | None:
        """The lowest loss of a curve and its step; None without a finite point."""
        if not np.isfinite(curve.loss).any():
            return None
        at = int(np.nanargmin(curve.loss))
        step = curve.step[at]
        return _value(curve.loss[at], curve.error[at]), int(step) if math.isfinite(step) else None

    def at(self, curve: Curve, axis: Axis, place: float) -> Value | None:
        """A curve's loss at a place, on the line between its neighbours; None outside its points: never extrapolated.

        The line is straight over the logarithm of the place, along which losses fall most evenly. Both neighbours are
        of the same batches, so their errors do not shrink by being averaged.
        """
        x = self.places(curve, axis)
        known = np.isfinite(x) & np.isfinite(curve.loss)
        x, loss, error = x[known], curve.loss[known], curve.error[known]
        slack = 1e-9 * abs(place)  # places come from other entries' products of the same numbers
        if not len(x) or not x[0] - slack <= place <= x[-1] + slack:
            return None
        near = int(np.argmin(np.abs(x - place)))
        if abs(x[near] - place) <= slack:
            return _value(loss[near], error[near])
        after = int(np.searchsorted(x, place))
        low, high = float(x[after - 1]), float(x[after])
        share = math.log(place / low) / math.log(high / low) if low > 0 else (place - low) / (high - low)
        return _value(
            (1 - share) * loss[after - 1] + share * loss[after],
            (1 - share) * error[after - 1] + share * error[after],
            (low, high),
        )


def _value(loss: float, error: float, between: tuple[float, float] | None = None) -> Value:
    return Value(float(loss), float(error) if math.isfinite(error) else None, between)
