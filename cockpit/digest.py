"""What a long log comes to, kept beside it in `events.digest`: who opens the run then reads only what came later.

It may be deleted at any time, and nothing hangs on it: a digest that is damaged, of another log, of a log that has been
changed, or made by another version of this program is passed over, and the log is read from its beginning. What is
taken from one is the very state that all its events give one by one, which is tested with random logs.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from cockpit.reducer import reduce
from cockpit.series import Series
from cockpit.state import Past
from cockpit.stretch import Stretch
from gpt import events as ev
from gpt.events import Event

NAME = "events.digest"
_FORM = 1
_ROOT = Path(__file__).resolve().parents[1]
_PLACES = 64
"""Places of a log, spread evenly from its beginning to the end of what is digested, that must be as they were."""
_LOOKED_AT = 4096
"""Bytes of each."""
_FORSAKEN = 3600.0
"""Seconds after which nobody writes at a draft any more."""


class _Digest(msgspec.Struct, array_like=True, frozen=True):
    form: int
    program: bytes
    """Hash of the code that makes a state of events."""
    log: bytes
    """Hash of the places that were looked at in the log."""
    inode: int
    body: bytes
    hash: bytes
    """Of the body: half a file must not pass for a whole one."""


def load(log: Path, end: int) -> Past | None:
    """What is kept of a log, if that is true of its bytes and reaches no further than `end`; None otherwise."""
    try:
        kept = _decoder.decode((log.parent / NAME).read_bytes())
        if kept.form != _FORM or kept.program != _program() or kept.hash != _hash(kept.body):
            return None
        past = unpacked(kept.body)
        inode = log.stat().st_ino
        return past if past.offset <= end and (kept.inode, kept.log) == (inode, _look(log, past.offset)) else None
    except (OSError, msgspec.DecodeError, ValueError, TypeError, IndexError, RecursionError):
        return None


def keep(log: Path, past: Past) -> None:
    """Keeps a past beside its log, whole or not at all. A folder that cannot be written to is left as it is."""
    body = packed(past)
    with suppress(OSError):
        kept = _Digest(_FORM, _program(), _look(log, past.offset), log.stat().st_ino, body, _hash(body))
        file, draft = tempfile.mkstemp(dir=log.parent, prefix=f".{NAME}-")
        try:
            with os.fdopen(file, "wb") as stream:
                stream.write(msgspec.msgpack.encode(kept))
            Path(draft).replace(log.parent / NAME)
        except OSError:
            Path(draft).unlink(missing_ok=True)
        for left in log.parent.glob(f".{NAME}-*"):  # by one that was killed half-way
            if left.stat().st_mtime < time.time() - _FORSAKEN:
                left.unlink(missing_ok=True)


def onward(past: Past, items: Iterable[Event | Stretch], offset: int) -> Past:
    """The past with more of the log behind it: `items`, which stand between `past.offset` and `offset`."""
    state, held, changed = past.state, past.held, {change.key: change for change in past.changed}
    for event in items:
        state = reduce(state, event)
        match event:
            case ev.ConfigChanged():
                held = (*held, event)
                changed[event.key] = event
            case ev.Resumed():
                held = tuple(change for change in held if change.step <= event.step)
            case ev.RunStarted():
                changed.clear()
            case _:
                pass
    return Past(state=state, offset=offset, held=held, changed=tuple(changed.values()), skipped=past.skipped)


def packed(past: Past) -> bytes:
    """A past as bytes: about 10 MB of a long run."""
    return _encoder.encode(past)


def unpacked(body: bytes) -> Past:
    """Raises msgspec.DecodeError, ValueError, TypeError or IndexError for bytes that are no past."""
    return _past_decoder().decode(body)


def _parts(value: object) -> object:
    if isinstance(value, Series):
        return value.as_parts()
    if isinstance(value, np.ndarray):
        return value.tobytes()
    raise TypeError(f"a state holds a {type(value).__name__}, which no digest knows")


def _whole(kind: type, parts: Any) -> Any:
    return Series.of_parts(parts) if kind is Series else np.frombuffer(parts)


_encoder = msgspec.msgpack.Encoder(enc_hook=_parts)
_decoder = msgspec.msgpack.Decoder(_Digest)


@cache
def _past_decoder() -> msgspec.msgpack.Decoder[Past]:
    return msgspec.msgpack.Decoder(Past, dec_hook=_whole)


@cache
def _program() -> bytes:
    """Hash of all code from which a state could follow: with other code there may be another state."""
    files = sorted([*(_ROOT / "cockpit").glob("*.py"), *(_ROOT / "gpt").glob("*.py")])
    return _hash(b"".join(_hash(file.read_bytes()) for file in files))


def _look(log: Path, end: int) -> bytes:
    """Hash of pieces of a log's first `end` bytes."""
    with log.open("rb") as file:
        return _hash(b"".join(_pieces(file.fileno(), end)))


def _pieces(file: int, end: int) -> Iterator[bytes]:
    yield end.to_bytes(8)
    last = max(0, end - _LOOKED_AT)
    for number in range(_PLACES):
        at = last * number // (_PLACES - 1)
        yield os.pread(file, min(_LOOKED_AT, end - at), at)


def _hash(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=20).digest()
