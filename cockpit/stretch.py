"""Many events at once: a stretch of steps as columns, and what the meters said in between.

A log of a million steps is a million lines. Reduced one by one they take 5.5 µs each; a stretch of a thousand takes as
long as a few of them. That both ways lead to the same state is tested with random logs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import IO, NamedTuple, TypeVar

import msgspec
import numpy as np

from gpt.events import (
    AnyEvent,
    Event,
    LedgerUpdated,
    MemorySampled,
    RanksTimed,
    StepDone,
    TelemetrySampled,
    decode,
    decode_lines,
)  # fmt: skip

COLUMNS = ("step", "loss", "lr", "grad_norm", "ms", "mfu", "tokens_per_s", "tokens", "time")
SHORTEST = 4
"""Events that are worth a stretch; fewer are left as they are."""

Reading = LedgerUpdated | MemorySampled | TelemetrySampled | RanksTimed
"""What the meters say between steps."""

Other = TypeVar("Other")

_BLOCK = 2**17  # bytes: what is decoded at once still lies in the processor's cache when its columns are made
_BESIDE = (LedgerUpdated, MemorySampled, TelemetrySampled, RanksTimed)
_ORDINARY = frozenset((StepDone, *_BESIDE))


class Stretch(NamedTuple):
    """Steps in a row, and readings of clock, memory, machine and ranks between them."""

    columns: np.ndarray
    """(9, n) float64, a row for each of COLUMNS; NaN is unknown."""
    last: StepDone
    beside: tuple[tuple[int, Reading], ...]
    """Each reading, and how many of the steps came before it."""
    first_time: float
    time: float
    """Unix time of the first and of the newest event."""


def read(
    file: IO[bytes], start: int, end: int | None, count_skipped: Callable[[int], None]
) -> Iterator[Event | Stretch]:
    """The events of a log, steps in stretches, from byte `start` to `end`, or to its last whole line.

    Args:
        count_skipped: told of lines that are no event, and left out.
    """
    file.seek(start)
    yield from coalesced(_blocks(file, None if end is None else end - start, count_skipped))


def _blocks(file: IO[bytes], left: int | None, count_skipped: Callable[[int], None]) -> Iterator[Event | Stretch]:
    """All that the file holds from here on; or `left` bytes of it."""
    torn = b""
    while block := file.read(_BLOCK if left is None else min(left, _BLOCK)):
        left = None if left is None else left - len(block)
        whole, newline, torn = (torn + block).rpartition(b"\n")
        events = _decoded(whole + newline, count_skipped)
        yield from _together(events) if _ORDINARY.issuperset(map(type, events)) else packed(events)


def _decoded(lines: bytes, count_skipped: Callable[[int], None]) -> list[AnyEvent]:
    """The events of whole lines."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        events = decode_lines(lines)
        if len(events) == lines.count(b"\n"):
            return events
    events = []
    for line in lines.splitlines():
        try:
            events.append(decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            count_skipped(1)
    return events


def packed(events: Iterable[Event | Stretch | Other]) -> Iterator[Event | Stretch | Other]:
    """The same events in order, steps in stretches; whatever else happened stands between them by itself."""
    run: list[Event] = []
    for event in events:
        if type(event) is StepDone or isinstance(event, _BESIDE):
            run.append(event)  # pyright: ignore[reportArgumentType]
            continue
        yield from _together(run)
        run = []
        yield event
    yield from _together(run)


def coalesced(events: Iterable[Event | Stretch], most: int = 8192) -> Iterator[Event | Stretch]:
    """The same events in order, neighbouring stretches as one, up to about `most` steps."""
    held: list[Stretch] = []
    count = 0
    for event in events:
        if isinstance(event, Stretch):
            held.append(event)
            count += event.columns.shape[1]
            if count < most:
                continue
        if held:
            yield _one(held)
            held, count = [], 0
        if not isinstance(event, Stretch):
            yield event
    if held:
        yield _one(held)


def _one(stretches: list[Stretch]) -> Stretch:
    if len(stretches) == 1:
        return stretches[0]
    beside: list[tuple[int, Reading]] = []
    before = 0
    for stretch in stretches:
        beside += [(before + number, event) for number, event in stretch.beside]
        before += stretch.columns.shape[1]
    columns = np.concatenate([stretch.columns for stretch in stretches], axis=1)
    first, last = stretches[0], stretches[-1]
    return Stretch(columns, last.last, tuple(beside), first.first_time, last.time)


def _numbers(values: Sequence[float | None]) -> np.ndarray:
    """A column, float64. Where all are known, as almost always, it takes half as long."""
    with suppress(TypeError):
        return np.fromiter(values, np.float64, len(values))  # pyright: ignore[reportArgumentType]
    return np.array(values, dtype=np.float64)


def _together(events: Sequence[Event]) -> Iterable[Event | Stretch]:
    steps = [event for event in events if type(event) is StepDone]
    if len(steps) < SHORTEST:
        return events
    beside: list[tuple[int, Reading]] = []
    if len(steps) < len(events):
        before = 0
        for event in events:
            if type(event) is StepDone:
                before += 1
            elif isinstance(event, _BESIDE):
                beside.append((before, event))
    columns = np.empty((len(COLUMNS), len(steps)))
    for row, values in enumerate((  # spelled out: a loop over names takes twice as long
        [event.step for event in steps], [event.loss for event in steps], [event.lr for event in steps],
        [event.grad_norm for event in steps], [event.ms for event in steps], [event.mfu for event in steps],
        [event.tokens_per_s for event in steps], [event.tokens for event in steps], [event.time for event in steps],
    )):  # fmt: skip
        columns[row] = _numbers(values)
    return [Stretch(columns, steps[-1], tuple(beside), events[0].time, events[-1].time)]
