"""A report as Markdown, with its plots as SVG files beside it: for wherever text is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from cockpit.reporting.document import (
    Block,
    Document,
    Figures,
    Finding,
    Paragraph,
    Plot,
    Sample,
    Source,
    Table,
)  # fmt: skip
from cockpit.reporting.safe import fenced, markdown

FIGURES = "figures"
"""Folder of the plots, beside the text."""


def as_markdown(document: Document, screen: str | None = None) -> str:
    """The document as text.

    Args:
        screen: name of a picture of the screen beside it.
    """
    parts = [f"# {markdown(document.title)}", f"**{markdown(document.state.upper())}** · {markdown(document.about)}"]
    for section in document.sections:
        parts.append(f"## {markdown(section.title)}")
        parts += [_WRITERS[type(block)](block) for block in section.blocks]
    if screen is not None:
        parts += ["## The screen when this was written", f"![the screen of gpt-cockpit]({screen})"]
    return "\n\n".join([*parts, f"*{markdown(document.made_by)}*"]) + "\n"


def figures(document: Document) -> Mapping[str, Plot]:
    """The plots by the name of the file that each is looked for in."""
    blocks = (block for section in document.sections for block in section.blocks)
    return {_file(block): block for block in blocks if isinstance(block, Plot)}


def _file(plot: Plot) -> str:
    return f"{FIGURES}/{plot.name}.svg"


def _figures(block: Figures) -> str:
    rows = ([what, value, note] for what, value, note in block.tiles)
    return _rows(["", "", ""], rows, frozenset((1,)))


def _paragraph(block: Paragraph) -> str:
    text = markdown(block.text)
    return text if block.tone == "plain" else f"> {text}"


def _table(block: Table) -> str:
    table = _rows(block.head, block.rows, block.numeric)
    return f"{table}\n\n{markdown(block.note)}" if block.note else table


def _rows(head: Iterable[str], rows: Iterable[Iterable[str]], numeric: frozenset[int]) -> str:
    head = list(head)
    lines = [head, *rows]
    shown = [f"| {' | '.join(markdown(cell) for cell in row)} |" for row in lines]
    rule = "| " + " | ".join("---:" if number in numeric else "---" for number in range(len(head))) + " |"
    return "\n".join([shown[0], rule, *shown[1:]])


def _plot(block: Plot) -> str:
    return f"![{markdown(block.about)}]({_file(block)})"


def _sample(block: Sample) -> str:
    return f"{markdown(block.about)}:\n\n{fenced(block.prompt + block.text)}"


def _finding(block: Finding) -> str:
    evidence = "; ".join(f"{markdown(name)} {markdown(value)}" for name, value in block.evidence)
    lines = [f"**{markdown(block.severity)}: {markdown(block.title)}**", markdown(block.why), markdown(block.advice)]
    lines += [evidence] * bool(evidence) + [f"*{markdown(block.reference)}*"] * bool(block.reference)
    return "\n\n".join(lines)


def _source(block: Source) -> str:
    return fenced(block.text)


_WRITERS: dict[type[Block], Callable[[Any], str]] = {
    Figures: _figures, Paragraph: _paragraph, Table: _table, Plot: _plot, Sample: _sample, Finding: _finding,
    Source: _source,
}  # fmt: skip
