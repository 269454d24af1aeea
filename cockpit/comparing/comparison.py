"""Entries beside each other: who is lower at equal steps, tokens, FLOPs and seconds, by how much, and how surely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from cockpit.comparing.entry import Axis, Curve, Entry, Value
from cockpit.comparing.standing import Standing, bits_per_byte, standing
from gpt.errors import RunError

SURE = 2.0
"""Standard errors by which two losses must differ to be told apart: about 95 of 100 (a normal distribution's 1.96)."""
ROWS = 8
"""Places of a table along an axis at most."""

_SILENT = ("name", "description", "expected_parameters", "screen.", "track.", "doctor.", "sample.", "checkpoint.")
"""Settings that are not worth a line: they change nothing that is learned."""


@dataclass(frozen=True)
class Difference:
    """A loss less another, in the unit of the comparison."""

    value: float
    error: float | None
    """Of both together; None where one of them is not known. Runs that were evaluated on the same batches differ more
    surely than this says."""

    @property
    def sure(self) -> bool | None:
        """Whether it is more than chance; None where that is not known."""
        return abs(self.value) > SURE * self.error if self.error is not None else None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two entries or more, in the order in which they were named."""

    entries: tuple[Entry, ...]
    standing: Standing
    measure: Literal["val_loss", "train_loss"]
    """`train_loss` where one of them was never evaluated: noisier, and with dropout on higher."""

    def curve(self, entry: Entry) -> Curve:
        """The curve that is compared."""
        return entry.val if self.measure == "val_loss" else entry.train

    def factor(self, entry: Entry) -> float:
        """From nats/token to the unit of the comparison."""
        return bits_per_byte(entry.data) or math.nan if self.standing.unit == "bits/byte" else 1.0

    def best(self, entry: Entry) -> tuple[Value, int | None] | None:
        """Its lowest loss, and the step of that."""
        found = entry.best(self.curve(entry))
        return (found[0].scaled(self.factor(entry)), found[1]) if found else None

    def last(self, entry: Entry) -> Value | None:
        """Its newest loss."""
        curve = self.curve(entry)
        known = np.flatnonzero(np.isfinite(curve.loss))
        if not len(known):
            return None
        loss, error = float(curve.loss[known[-1]]), float(curve.error[known[-1]])
        return Value(loss, error if math.isfinite(error) else None).scaled(self.factor(entry))

    def at(self, entry: Entry, axis: Axis, place: float) -> Value | None:
        """Its loss at a place; None where it has not been there."""
        found = entry.at(self.curve(entry), axis, place)
        return found.scaled(self.factor(entry)) if found else None

    def reach(self, entry: Entry, axis: Axis) -> float | None:
        """The last place of its curve on an axis; None where it has none."""
        places = entry.places(self.curve(entry), axis)
        known = places[np.isfinite(places) & np.isfinite(self.curve(entry).loss)]
        return float(known[-1]) if len(known) else None

    def common_end(self, axis: Axis, entries: Sequence[Entry] | None = None) -> float | None:
        """The farthest place on an axis that all of them have reached; None where fewer than two have any."""
        reached = [end for each in entries or self.entries if (end := self.reach(each, axis))]
        return min(reached) if len(reached) > 1 else None

    def places(self, axis: Axis) -> list[float]:
        """Places for a table: evaluations of the one that went the shortest way, ROWS at most, and the common end."""
        end = self.common_end(axis)
        if end is None:
            return []
        reaches = [(reach, number) for number, each in enumerate(self.entries) if (reach := self.reach(each, axis))]
        shortest = self.entries[min(reaches)[1]]
        found = shortest.places(self.curve(shortest), axis)
        starts = []
        for each in self.entries:
            positive = [x for x in each.places(self.curve(each), axis) if math.isfinite(x) and x > 0]
            starts += positive[:1]
        inside = found[np.isfinite(found) & (found > 0) & (found >= max(starts, default=0.0)) & (found <= end)]
        if len(inside) > ROWS:
            inside = inside[np.unique(np.linspace(0, len(inside) - 1, ROWS).round().astype(int))]
        return [float(place) for place in inside] or [end]

    @cached_property
    def order(self) -> list[Entry]:
        """The lowest best loss first; empty where they cannot be ranked."""
        if not self.standing.ranked:
            return []
        known = [(found[0].loss, each) for each in self.entries if (found := self.best(each))]
        return [each for _, each in sorted(known, key=lambda pair: pair[0])]

    @cached_property
    def differing(self) -> dict[str, list[Any]]:
        """Settings that are not the same in all that say them: key to a value each, None where one says nothing."""
        known = [entry.settings for entry in self.entries]
        telling = [settings for settings in known if settings]
        if len(telling) < 2:
            return {}
        keys = dict.fromkeys(key for settings in telling for key in settings)
        return {
            key: [settings.get(key) for settings in known]
            for key in keys
            if not key.startswith(_SILENT) and len({repr(settings.get(key)) for settings in telling}) > 1
        }


def compare(entries: Sequence[Entry]) -> Comparison:
    """Puts entries beside each other. Raises RunError for fewer than two."""
    if len(entries) < 2:
        raise RunError("a comparison takes two or more: runs, nanoGPT logs or references such as gpt2-124m")
    evaluated = all(len(each.val) for each in entries)
    return Comparison(
        tuple(entries), standing(list(entries)), "val_loss" if evaluated or not _all_trained(entries) else "train_loss"
    )


def less(a: Value | None, b: Value | None) -> Difference | None:
    """a less b."""
    if a is None or b is None:
        return None
    known = a.error is not None and b.error is not None
    return Difference(a.loss - b.loss, math.hypot(a.error or 0, b.error or 0) if known else None)


def _all_trained(entries: Sequence[Entry]) -> bool:
    return all(len(each.train) for each in entries)
