"""Batches read ahead are those that would have been read when asked for, whatever was asked for before."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from piloted_runs import at_step

from gpt import commands, reader
from gpt import events as ev
from gpt.config import Profile
from gpt.device import Device
from gpt.errors import DataError
from gpt.order import BatchOrder
from gpt.reader import Reader
from gpt.tokens import Tokens
from gpt.trainer import Trainer

CPU = Device(torch.device("cpu"), "CPU", "float32", False, "", None, None)
BLOCK = 8
PATIENCE = 30.0
"""Seconds after which a test gives up on another thread."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.bin"
    np.random.default_rng(0).integers(0, 200, 1000, dtype=np.uint16).tofile(path)
    return path


@pytest.fixture
def make(file: Path) -> Iterator[Callable[..., Reader]]:
    """Makes readers of the file, and closes them."""
    made: list[Reader] = []

    def begin(*, ahead: int | None = None, in_memory: int = 0, sampling: str = "shuffle") -> Reader:
        tokens = Tokens.open(file, vocab_size=256, in_memory=in_memory)
        made.append(Reader(tokens, BatchOrder(len(tokens), BLOCK, 7, sampling), BLOCK, CPU, ahead=ahead))
        return made[-1]

    yield begin
    for one in made:
        one.close()


def alike(a: reader.Batch, b: reader.Batch) -> bool:
    return all(torch.equal(one, other) and one.dtype == torch.int64 for one, other in zip(a, b, strict=True))


def settled(ahead: Reader) -> None:
    """Waits until the thread has as much ready as it may."""
    with ahead._changed:
        assert ahead._changed.wait_for(lambda: len(ahead._ready) == ahead.ahead or not ahead._is_reading, PATIENCE)


def test_batches_gathered_together_are_those_gathered_alone(make: Callable[..., Reader]) -> None:
    """In order, again, back, over the end of epochs, and in batches of another size."""
    together, alone = make(ahead=0, in_memory=10**6), make(ahead=0)
    places = [*((4 * i, 4) for i in range(3 * reader.GATHERED)), (8, 4), (8, 4), (12, 4), (16, 3), (19, 3), (0, 4)]
    for first, count in places:
        assert alike(together.take(first, count), alone.take(first, count)), (first, count)


@pytest.mark.parametrize("sampling", ["shuffle", "replacement"])
def test_what_is_asked_for_is_given_whatever_was_read_ahead(make: Callable[..., Reader], sampling: str) -> None:
    """In order, again, back, forward, over the end of epochs, and in batches of another size."""
    at_once, ahead = make(ahead=0, sampling=sampling), make(ahead=3, sampling=sampling)
    generator, first, count = random.Random(0), 0, 4
    for _ in range(300):
        if generator.random() < 0.2:
            first, count = generator.randrange(600), generator.choice((1, 3, 4))
        assert alike(ahead.take(first, count), at_once.take(first, count))
        first += count


def test_no_more_than_a_few_batches_wait(make: Callable[..., Reader], monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = make(ahead=2)
    counted: list[int] = []
    gather = Tokens.gather
    monkeypatch.setattr(Tokens, "gather", lambda *a: counted.append(1) or gather(*a))
    ahead.take(0, 4)
    settled(ahead)
    time.sleep(0.02)
    assert len(counted) == 3  # the one taken, and two


def test_the_next_batch_is_there_before_it_is_asked_for(
    make: Callable[..., Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = make(ahead=3)
    first = ahead.take(0, 4)
    settled(ahead)
    readers: list[str] = []
    gather = Tokens.gather
    monkeypatch.setattr(Tokens, "gather", lambda *a: readers.append(threading.current_thread().name) or gather(*a))
    for number in (1, 2, 3):
        assert not alike(ahead.take(4 * number, 4), first)
    assert set(readers) <= {"reader"}


def test_a_file_that_shrinks_is_told_at_the_batch_it_spoils_and_once_mended_goes_on(
    make: Callable[..., Reader], file: Path
) -> None:
    whole = file.read_bytes()
    ahead, at_once = make(ahead=3), make(ahead=0)
    batches = [at_once.take(4 * number, 4) for number in range(8)]
    assert alike(ahead.take(0, 4), batches[0])
    settled(ahead)
    file.write_bytes(whole[:10])
    assert all(alike(ahead.take(4 * number, 4), batches[number]) for number in (1, 2, 3))
    with pytest.raises(DataError, match="shorter"):
        for number in (4, 5, 6, 7):
            ahead.take(4 * number, 4)
    file.write_bytes(whole)
    assert alike(ahead.take(16, 4), batches[4])


def test_reading_ahead_is_for_tokens_on_disk(make: Callable[..., Reader]) -> None:
    on_disk, in_memory = make(), make(in_memory=10**6)
    assert (on_disk.ahead, on_disk.why) == (reader.AHEAD, "the tokens are on disk")
    assert in_memory.ahead == 0 and "in memory" in in_memory.why


def test_a_closed_reader_has_no_thread_and_still_reads(make: Callable[..., Reader]) -> None:
    before = threading.active_count()
    ahead = make(ahead=3)
    batch = ahead.take(0, 4)
    assert threading.active_count() == before + 1
    ahead.close()
    assert threading.active_count() == before
    assert alike(ahead.take(0, 4), batch)


def test_a_run_that_reads_ahead_ends_with_the_same_bits_and_no_thread(
    tiny: Callable[..., Profile], run: Callable[..., list[ev.Event]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given up half-way through a step, and resumed, too."""
    from gpt import checkpoint

    def ends(folder: str) -> dict[str, str]:
        return checkpoint.verify(tmp_path / folder / "checkpoints/step-00000012")["files"]

    profile = tiny(train__grad_accum_steps=4)
    run(profile, "at once")
    before = threading.active_count()
    monkeypatch.setattr(reader, "_pays", lambda *_: (True, "the test says so"))
    events = run(profile, "ahead")
    assert "reading ahead on: the test says so" in [e.text for e in events if isinstance(e, ev.LogLine)]
    run(profile, "parted", pilot=at_step(5, commands.Pause(), commands.Stop(save=True)))
    run(profile, "parted", resume="latest")
    assert ends("ahead") == ends("at once") == ends("parted")
    assert threading.active_count() == before


def test_an_error_of_the_readers_thread_ends_the_run_at_its_step(
    tiny: Callable[..., Profile], run: Callable[..., list[ev.Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pilot(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == 6:

            def shrunk(*arguments: Any) -> Any:
                raise DataError("train.bin has become shorter")

            object.__setattr__(trainer.data.train, "gather", shrunk)

    monkeypatch.setattr(reader, "_pays", lambda *_: (True, "the test says so"))
    before = threading.active_count()
    events = run(tiny(train__eval_interval=0), pilot=pilot)
    (failed,) = [e for e in events if isinstance(e, ev.Failed)]
    assert failed.user_error and failed.error == "train.bin has become shorter" and 6 <= failed.step <= 10
    assert threading.active_count() == before
