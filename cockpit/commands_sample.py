"""`gpt-cockpit sample`: a model continues a prompt, its text printed as it is drawn."""

from __future__ import annotations

import json as jsonlib
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from cockpit.arguments import AsJson, RunsDir
from cockpit.locate import locate
from cockpit.runs import DEFAULT_RUNS_DIR
from cockpit.sanitize import clean, clean_line
from gpt.commands import Sample
from gpt.config import SampleConfig
from gpt.errors import DataError
from gpt.events import Event, LogLine, SampleDone, SampleStarted, SampleText
from gpt.runtime import prepare_process

if TYPE_CHECKING:
    from gpt.tokenizer import Tokenizer

SEPARATOR = "---"
"""A line between two samples."""

Best = Annotated[bool, Parameter(help="The run's checkpoint of lowest validation loss instead of its newest.")]
Step = Annotated[int | None, Parameter(help="The run's checkpoint of this step.")]
DeviceName = Annotated[str | None, Parameter(help="auto, cpu, mps, cuda or cuda:N; else what the run was trained on.")]
DtypeName = Annotated[str | None, Parameter(help="auto, float32, bfloat16 or float16; else the run's.")]


def sample(
    source: Annotated[str, Parameter(help="A run, a checkpoint's folder, a Hugging Face GPT-2 folder, gpt2…gpt2-xl.")],
    /,
    prompt: Annotated[
        str | None, Parameter(help="What to continue; else what is piped in, else the run's own.")
    ] = None,
    *,
    best: Best = False,
    step: Step = None,
    temperature: Annotated[float | None, Parameter(help="0: always the likeliest token.")] = None,
    top_k: Annotated[int | None, Parameter(help="Among the k likeliest tokens; 0: all.")] = None,
    top_p: Annotated[float | None, Parameter(help="Among the likeliest that make up this share.")] = None,
    repetition_penalty: Annotated[float | None, Parameter(help="Makes what the text holds less likely; 1: no.")] = None,
    stop: Annotated[str | None, Parameter(help="Ends before this text.")] = None,
    count: Annotated[int | None, Parameter(help="How many samples.")] = None,
    max_new_tokens: Annotated[int | None, Parameter(help="Tokens to draw for each.")] = None,
    seed: Annotated[int | None, Parameter(help="Of the first sample; the next ones have those that follow.")] = None,
    device: DeviceName = None,
    dtype: DtypeName = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    json: AsJson = False,
) -> int:
    """Lets a model continue a prompt.

    What is left open comes from the run's [sample] section. A terminal gets the text without control characters, a pipe
    gets it as it is. Of a prompt that is piped in the last newline is dropped.
    """
    place = locate(source, runs_dir, best=best, step=step)
    asked = Sample(
        prompt=_piped() if prompt is None else prompt, temperature=temperature, top_k=top_k, top_p=top_p,
        repetition_penalty=repetition_penalty, stop=stop, count=count, max_new_tokens=max_new_tokens, seed=seed,
    )  # fmt: skip
    prepare_process()
    from gpt import source as sources
    from gpt.sampler import draw_samples, settled

    settled(SampleConfig(), asked)  # what is out of range is said before a model is loaded
    for complaint in place.complaints:
        _note(f"passed over {complaint}")
    loaded = sources.load(place.path, name=source, state=place.state, device=device, dtype=dtype)
    settings = settled(loaded.profile.sample if loaded.profile else SampleConfig(), asked)
    text = settings.prompts[0] if asked.prompt is None else asked.prompt
    if not _is_known(text, loaded.tokenizer):
        _note("characters of the prompt that the model does not know are left out")
    printer = _Collector() if json else _Printer()
    with _interrupt() as interrupted:
        draw_samples(
            loaded.model, loaded.tokenizer, loaded.device, settings, Sample(prompt=text, seed=settings.seed),
            number=1, step=loaded.step or 0, emit=printer.take, go_on=lambda: not interrupted,
        )  # fmt: skip
    if json:
        rows = [
            {"source": source, "step": loaded.step, "seed": settings.seed + row["sample"] - 1, **row}
            for row in printer.rows
        ]
        _write(jsonlib.dumps(rows, indent=1) + "\n")
    if printer.failure:
        raise DataError(printer.failure)
    return 130 if interrupted else 0


def _is_known(text: str, tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer has ids for all of a text."""
    ids = tokenizer.encode(text, errors="drop").tolist()
    return sum(len(tokenizer.token_bytes(token)) for token in ids) == len(text.encode("utf-8", "replace"))


class _Collector:
    """Takes the samples' events; keeps what is done."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.failure = ""
        """Why a sample broke off, if one did."""

    def take(self, event: Event) -> None:
        """Takes in one event."""
        if isinstance(event, LogLine):
            self.failure = event.text
        elif isinstance(event, SampleDone):
            keys = ("sample", "prompt", "text", "tokens", "seconds")
            self.rows.append({key: getattr(event, key) for key in keys})
            self.rows.sort(key=lambda row: row["sample"])


class _Printer(_Collector):
    """Prints samples one after another: of those drawn side by side the first as it comes, each next one after it."""

    def __init__(self) -> None:
        super().__init__()
        self._safe = clean if sys.stdout.isatty() else str
        self._at = 1
        """Sample that is being printed."""
        self._waiting: dict[int, str] = {}
        """By sample, what is not printed yet."""
        self._taken: dict[int, int] = {}
        """By sample, characters of its continuation so far."""

    def take(self, event: Event) -> None:
        """Takes in one event; prints what can be."""
        super().take(event)
        if isinstance(event, SampleStarted):
            self._waiting[event.sample] = f"{SEPARATOR}\n" * (event.sample > 1) + self._safe(event.prompt)
            self._taken[event.sample] = 0
        elif isinstance(event, SampleText):
            self._waiting[event.sample] += self._safe(event.text)
            self._taken[event.sample] += len(event.text)
        elif isinstance(event, SampleDone):
            self._waiting[event.sample] += self._safe(event.text[self._taken.pop(event.sample) :]) + "\n"
        while self._at in self._waiting:
            _write(self._waiting[self._at])
            self._waiting[self._at] = ""
            if self._at in self._taken:  # more of it will come
                return
            self._at += 1


@contextmanager
def _interrupt() -> Iterator[list[int]]:
    """Inside the block the first SIGINT is only noted in the list; the second ends at once."""
    received: list[int] = []

    def note(number: int, frame: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield received
    finally:
        signal.signal(signal.SIGINT, before)


def _piped() -> str | None:
    """What is piped in, without the newline that `echo` adds; None where there is nothing."""
    if sys.stdin is None or sys.stdin.isatty():
        return None
    return sys.stdin.buffer.read().decode("utf-8", "replace").removesuffix("\n") or None


def _write(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))  # an argument can hold what no text can
    sys.stdout.flush()


def _note(text: str) -> None:
    sys.stderr.write(f"gpt-cockpit: {clean_line(text)}\n")
