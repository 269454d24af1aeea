"""A run's log as curves: what of it still counts, one row a step, and the files that hold it."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cockpit.runs import Run
from gpt import events as ev
from gpt.errors import RunError
from gpt.events import AnyEvent, Event

Row = dict[str, Any]

COLUMNS = {
    "step": "int64", "time": "float64", "tokens": "int64", "loss": "float64", "lr": "float64", "grad_norm": "float64",
    "ms": "float64", "data_ms": "float64", "tokens_per_s": "float64", "mfu": "float64", "applied": "bool",
    "eval_train_loss": "float64", "eval_val_loss": "float64", "eval_val_stderr": "float64", "eval_bpb": "float64",
}  # fmt: skip
"""Columns of a row and their Arrow types; units as in gpt.events. Empty is unknown: most steps have no evaluation, and
an evaluation before the first step has no step."""

_STEP = ("tokens", "loss", "lr", "grad_norm", "ms", "data_ms", "tokens_per_s", "mfu", "applied")
_EVALUATION = {
    "eval_train_loss": "train_loss", "eval_val_loss": "val_loss", "eval_val_stderr": "val_stderr", "eval_bpb": "bpb",
}  # fmt: skip
_ROWS_AT_ONCE = 16_384


def kept_events(run: Run) -> Iterator[AnyEvent]:
    """The events of a log that still count: at each Resumed those of later steps before it are void, as on screen.

    Reads the log twice and keeps none of it: what is void is known only from what follows. Of a run that is under way
    it gives what was there at the first reading.
    """
    count, resumes = 0, []  # resumes: (number of the event, step it goes back to)
    for number, event in enumerate(run.read_events()):
        count = number + 1
        if isinstance(event, ev.Resumed):
            resumes.append((number, event.step))
    for at in range(len(resumes) - 2, -1, -1):  # the lowest step that is still to be gone back to
        resumes[at] = (resumes[at][0], min(resumes[at][1], resumes[at + 1][1]))
    ahead = 0
    for number, event in enumerate(itertools.islice(run.read_events(), count)):
        while ahead < len(resumes) and resumes[ahead][0] <= number:
            ahead += 1
        if ahead == len(resumes) or getattr(event, "step", 0) <= resumes[ahead][1]:
            yield event


def rows(events: Iterable[Event]) -> Iterator[Row]:
    """One row a step, in order, with the evaluation that followed it; every key of COLUMNS is there.

    Evaluations on other tokens than the run's own are no points of its curve.
    """
    row: Row | None = None
    for event in events:
        if isinstance(event, ev.StepDone):
            values = {key: getattr(event, key) for key in _STEP}
        elif isinstance(event, ev.EvalDone) and not event.aside:
            values = {key: getattr(event, name) for key, name in _EVALUATION.items()}
        else:
            continue
        if row is None or row["step"] != event.step:
            if row is not None:
                yield row
            row = dict.fromkeys(COLUMNS) | {"step": event.step, "time": event.time}
        row |= values
    if row is not None:
        yield row


def point(event: Event) -> tuple[int, dict[str, float]] | None:
    """(step, the known figures of an event by the names under which other programs show them); None without any."""
    found: dict[str, float | None]
    match event:
        case ev.StepDone(step=step):
            found = {
                "train/loss": event.loss, "train/lr": event.lr, "train/grad_norm": event.grad_norm,
                "train/tokens": event.tokens, "speed/ms_per_iter": event.ms, "speed/data_ms": event.data_ms,
                "speed/tokens_per_s": event.tokens_per_s, "speed/mfu": event.mfu,
            }  # fmt: skip
        case ev.EvalDone(step=step, aside=False):
            found = {
                "eval/train_loss": event.train_loss, "eval/val_loss": event.val_loss,
                "eval/val_stderr": event.val_stderr, "eval/bpb": event.bpb,
            }  # fmt: skip
        case ev.NoiseScaleEstimated(step=step):
            found = {"train/noise_scale_tokens": event.tokens}
        case _:
            return None
    known = {name: value for name, value in found.items() if value is not None}
    return (step, known) if known else None


def write_csv(path: Path, table: Iterable[Row]) -> int:
    """Writes the rows as CSV, unknown as nothing and numbers in full; returns how many there were."""
    count = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in table:
            count += 1
            writer.writerow(["true" if v is True else "false" if v is False else v for v in row.values()])
    return count


def write_parquet(path: Path, table: Iterable[Row]) -> int:
    """Writes the rows as Parquet, in groups of 16,384; returns how many there were.

    Raises RunError without the package.
    """
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise RunError("parquet needs the package pyarrow; pip install 'gpt-cockpit[data]', or --to csv") from None
    schema = pa.schema([(name, pa.type_for_alias(kind)) for name, kind in COLUMNS.items()])
    remaining, count = iter(table), 0
    with parquet.ParquetWriter(path, schema) as writer:
        while group := list(itertools.islice(remaining, _ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            count += len(group)
    return count
