"""Which of several live runs is meant: asked on the terminal, by number or by name, before any screen is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

from cockpit import format as fmt
from cockpit.glance import glance
from cockpit.runs import Run
from cockpit.sanitize import clean_line
from gpt.strict import nearest


def choose(runs: Sequence[Run], heard: IO[str], said: IO[str]) -> Run | None:
    """Asks until a run is named; None where none is wanted after all.

    Args:
        runs: the one to offer first comes first; enter alone takes it.
        heard, said: where answers are read and questions are written.
    """
    said.write(f"{len(runs)} runs are being trained:\n\n{_table(runs)}\n\n")
    while True:
        said.write(f"Attach to which? 1-{len(runs)} or a name; enter takes 1, q none: ")
        said.flush()
        line = heard.readline()
        answer = line.strip()
        if not line:
            said.write("\n")  # the shell's prompt is to have a line of its own
            return None
        if answer == "q":
            return None
        if run := _meant(answer, runs):
            return run
        near = nearest(answer, [run.name for run in runs])
        said.write(f"{clean_line(answer)} is none of them{f'; did you mean {clean_line(near)}?' if near else ''}\n")


def _meant(answer: str, runs: Sequence[Run]) -> Run | None:
    """The run that an answer names; a name goes before a number."""
    named = [run for run in runs if run.name == answer]
    if named or not answer:
        return (named or runs)[0]
    number = int(answer) if answer.isascii() and answer.isdigit() and len(answer) < 10 else 0
    return runs[number - 1] if 1 <= number <= len(runs) else None


def _table(runs: Sequence[Run]) -> str:
    """Number, name, profile, state, steps and loss of each."""
    rows = []
    for number, run in enumerate(runs, start=1):
        seen = glance(run)
        figures = seen.figures
        rows.append((
            f"{number:>3}", clean_line(run.name), clean_line(figures["profile"] or ""), clean_line(figures["state"]),
            f"step {fmt.number(figures['step'])} / {fmt.number(figures['max_steps'])}", f"loss {fmt.loss(seen.loss)}",
        ))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
