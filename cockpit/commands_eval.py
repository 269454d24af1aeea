"""`gpt-cockpit eval`: how well models predict a text, side by side; or what a known suite of tasks says of them."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from cockpit import format as fmt
from cockpit.arguments import AsJson, RunsDir
from cockpit.commands_sample import Best, DeviceName, DtypeName, Step
from cockpit.locate import Place, locate
from cockpit.progress import Progress
from cockpit.runs import DEFAULT_RUNS_DIR
from cockpit.sanitize import clean, clean_line, shown
from gpt.errors import DataError
from gpt.runtime import prepare_process

if TYPE_CHECKING:
    from gpt.scoring import Corpus, Score
    from gpt.source import Source

Row = dict[str, Any]

ONLY_BPB = "These models cut text into different tokens: of their figures only bits per byte compare."


def evaluate(
    source: Annotated[str, Parameter(help="A run, a checkpoint's folder, a Hugging Face GPT-2 folder, gpt2…gpt2-xl.")],
    /,
    *,
    against: Annotated[
        tuple[str, ...], Parameter(help="More of them, beside it, on the same data.", consume_multiple=True)
    ] = (),
    data: Annotated[str | None, Parameter(help="A prepared folder; its validation split counts.")] = None,
    text: Annotated[tuple[str, ...], Parameter(help="Text files, folders or globs.", consume_multiple=True)] = (),
    suite: Annotated[
        tuple[Literal["hellaswag", "lambada", "wikitext"], ...],
        Parameter(help="Tasks of lm-evaluation-harness instead of a text.", consume_multiple=True),
    ] = (),
    best: Best = False,
    step: Step = None,
    device: DeviceName = None,
    dtype: DtypeName = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    json: AsJson = False,
) -> int:
    """Measures loss, perplexity and bits per byte, on every token once.

    Without --data, --text or --suite the data is SOURCE's own validation split. --best and --step choose SOURCE's
    checkpoint; to compare two of one run, name the folder of the other.
    """
    given = [name for name, value in (("--data", data), ("--text", text), ("--suite", suite)) if value]
    if len(given) > 1:
        raise DataError(f"{' and '.join(given)} both say what to measure on; keep one")
    places = [locate(source, runs_dir, best=best, step=step)]
    places += [locate(other, runs_dir) for other in against]
    for place in places:
        for complaint in place.complaints:
            _note(f"passed over {complaint}")
    if not given and places[0].state is None:
        raise DataError(f"{shown(source)} has no validation data of its own; add --data DIR or --text FILE")
    prepare_process()
    if suite:
        from gpt.suites import run_suites

        rows = [row for place in places for row in run_suites(place.path, place.name, suite, device=device)]
        _print(jsonlib.dumps(rows, indent=1) if json else _suite_table(rows))
        return 0
    scores = _score(places, _corpus(data, text), device, dtype)
    _print(jsonlib.dumps([asdict(each) for each in scores], indent=1) if json else as_table(scores))
    return 0


def as_table(scores: Sequence[Score]) -> str:
    """The scores as aligned columns, one model a row, and what of them compares."""
    rows = [("source", "step", "tokenizer", "parameters", "context", "tokens", "loss", "perplexity", "bits/byte")]
    rows += [_cells(each) for each in scores]
    lines = [f"data: {clean_line(scores[0].data)}; loss in nats per token, ± one standard error", "", *_aligned(rows)]
    if len({each.tokenizer_sha256 for each in scores}) > 1:
        lines += ["", ONLY_BPB]
    return "\n".join(lines)


def _cells(score: Score) -> tuple[str, ...]:
    return (
        clean_line(score.source), fmt.number(score.step), score.tokenizer,
        " ".join(fmt.count(score.parameters)).strip(), fmt.number(score.block_size), fmt.number(score.tokens),
        _with_error(score.loss, score.loss_stderr), _with_error(score.perplexity, score.perplexity_stderr),
        _with_error(score.bpb, score.bpb_stderr),
    )  # fmt: skip


def _score(
    places: Sequence[Place], corpus: Callable[[Source], Corpus], device: str | None, dtype: str | None
) -> list[Score]:
    """Measures the models one after another: only one is in memory."""
    from gpt import source as sources
    from gpt.scoring import score

    found, scores = None, []
    for place in places:
        loaded = sources.load(place.path, name=place.name, state=place.state, device=device, dtype=dtype)
        found = found or corpus(loaded)
        with _progress(place.name) as tell:
            scores.append(score(loaded, found, tell))
    return scores


@contextmanager
def _progress(name: str) -> Iterator[Callable[[float], None]]:
    """Inside the block, tells how much of a model's measuring is done, where that takes long."""
    progress = Progress()

    def tell(share: float) -> None:
        if progress.is_due():
            progress.tell(f"{clean_line(name)}: {100 * share:.0f} % measured")

    try:
        yield tell
    finally:
        progress.close()


def _corpus(data: str | None, text: Sequence[str]) -> Callable[[Source], Corpus]:
    """Makes what is measured on, given the first model. What the user named is looked at before one is loaded."""
    from gpt import scoring

    if data is not None or text:
        named = scoring.raw_text(text) if data is None else scoring.prepared(data)
        return lambda source: named

    def own(source: Source) -> Corpus:
        corpus, is_unchanged = scoring.own_validation(source)
        if not is_unchanged:
            _note("the data has changed since this run was trained on it: the loss may be another than in training")
        return corpus

    return own


def _with_error(value: float | None, error: float | None) -> str:
    """`1.6482 ± 0.0031`; fewer decimals where the number is large."""
    digits = 4 if value is None or value < 100 else 1
    return fmt.number(value, digits) + (f" ± {fmt.number(error, digits)}" if error is not None else "")


def _suite_table(rows: Sequence[Row]) -> str:
    cells = [("source", "suite", "metric", "value")]
    cells += [
        (clean_line(row["source"]), row["suite"], clean_line(row["metric"]), _with_error(row["value"], row["stderr"]))
        for row in rows
    ]
    return "\n".join(_aligned(cells, words=3))


def _aligned(rows: Sequence[Sequence[str]], words: int = 3) -> list[str]:
    """Columns: the first `words` to the left, except a number among them; the rest to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place < words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _print(text: str) -> None:
    sys.stdout.write(f"{clean(text)}\n")


def _note(text: str) -> None:
    sys.stderr.write(f"gpt-cockpit: {clean_line(text)}\n")
