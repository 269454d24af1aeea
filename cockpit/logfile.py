"""A run's `events.jsonl` read in pieces: a stretch of it, its end, samples across it; never more than is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from gpt.events import AnyEvent, ConfigChanged, StepDone, decode
from gpt.events import decode_lines as all_decoded

STEP = b'{"event":"StepDone"'
"""How the line of a step begins: a tag comes first, so that lines can be told apart without being decoded."""
METERS = (b'{"event":"TelemetrySampled"', b'{"event":"MemorySampled"', b'{"event":"LedgerUpdated"')
"""How the lines of the machine's and the run's meters begin."""
CHANGED = b'{"event":"ConfigChanged"'
DIAGNOSED = (b'{"event":"DiagnosisMade"', b'{"event":"DiagnosisEnded"', b'{"event":"Resumed"')
"""How the lines begin that say together which diagnoses stand: a return takes back what was found after it."""

_LONGEST_LINE = 16 << 20


def decoded(block: bytes) -> tuple[list[AnyEvent], int]:
    """The events of whole lines, and how many lines were none."""
    with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        events = all_decoded(block)  # all at once where each is one
        if len(events) == block.count(b"\n"):
            return events, 0
    return decode_lines(block.splitlines())


def decode_lines(lines: list[bytes]) -> tuple[list[AnyEvent], int]:
    """The events of lines, and how many lines were none."""
    events: list[AnyEvent] = []
    for line in lines:
        try:
            events.append(decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return events, len(lines) - len(events)


def blocks(path: Path, start: int = 0, size: int = 1 << 18) -> Iterator[tuple[int, bytes]]:
    """Stretches of whole lines, about `size` bytes each, with the offset of each, from a line's beginning on.

    A torn last line is left out: whoever waits for the rest of it goes on at the end of the newest stretch. Ends where
    the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            file.seek(start)
            while block := _whole_lines(file.read(size), file):
                yield start, block
                start += len(block)
                file.seek(start)
    except OSError:
        return


def _whole_lines(block: bytes, file: IO[bytes]) -> bytes:
    """The block up to its last line end; read on where a single line is longer than that."""
    while (end := block.rfind(b"\n")) < 0 and len(block) < _LONGEST_LINE:
        more = file.read(len(block) or 1)
        if not more:
            return b""
        block += more
    return block[: end + 1]


def tail(path: Path, size: int) -> bytes:
    """The whole lines among the last `size` bytes; nothing where there is none."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            start = max(0, end - size)
            file.seek(start)
            block = file.read(end - start)
    except OSError:
        return b""
    first = block.find(b"\n") + 1 if start else 0
    return block[first : block.rfind(b"\n") + 1]


def sampled_steps(path: Path, count: int, window: int = 2048) -> list[StepDone]:
    """Steps at about `count` places evenly spread over the log, oldest first, the newest among them. Costs `window`
    bytes a place, however long the log is. What a resume has undone is left out as far as the samples show it."""
    found: dict[int, StepDone] = {}
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        size = os.fstat(descriptor).st_size
        for number in range(count):
            block = os.pread(descriptor, window, size * number // count)
            if step := _first_step(block):
                found[step.step] = step
        if step := _first_step(os.pread(descriptor, 4 * window, max(0, size - 4 * window)), newest=True):
            found[step.step] = step
    except OSError:
        pass
    finally:
        os.close(descriptor)
    kept: list[StepDone] = []
    for step in reversed(found.values()):
        if not kept or step.step < kept[-1].step:
            kept.append(step)
    return kept[::-1]


def _first_step(block: bytes, *, newest: bool = False) -> StepDone | None:
    at = block.rfind(b"\n" + STEP, 0, block.rfind(b"\n")) if newest else block.find(STEP)
    end = block.find(b"\n", at + 1)
    if at < 0 or end < 0:
        return None
    try:
        event = decode(block[at:end])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return event if isinstance(event, StepDone) else None


def changed_settings(path: Path) -> dict[str, str]:
    """Dotted key to newest value, as TOML, of the settings that were changed while the run went on."""
    events, _ = events_of(path, (CHANGED,))
    return {event.key: event.new for event in events if isinstance(event, ConfigChanged)}


def events_of(path: Path, kinds: tuple[bytes, ...], start: int = 0) -> tuple[list[AnyEvent], int]:
    """(the events whose lines begin in one of these ways, where to go on once the log has grown). All of the log is
    read, and hardly any of it decoded: 0.7 GB/s.

    Args:
        start: the beginning of a line.
    """
    lines: list[bytes] = []
    for at, block in blocks(path, start, 1 << 20):
        start = at + len(block)
        if any(kind in block for kind in kinds):
            lines += [line for line in block.splitlines() if line.startswith(kinds)]
    return decode_lines(lines)[0], start
