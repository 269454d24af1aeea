"""What a report is made of: plain values that say nothing of HTML or Markdown. Texts are as the data has them; whoever
writes them out makes them safe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Tone = Literal["plain", "note", "warning", "critical"]


@dataclass(frozen=True)
class Figures:
    """The main figures, each to be seen at a glance."""

    tiles: Sequence[tuple[str, str, str]]
    """What it is, the value with its unit, and a note that may be empty."""


@dataclass(frozen=True)
class Paragraph:
    """A few sentences."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Table:
    """Rows under a head."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: frozenset[int] = frozenset()
    """Columns that are set flush right."""
    note: str = ""
    """What is left out, and where to find it."""


@dataclass(frozen=True)
class Plot:
    """A picture as SVG, made here and safe as it is."""

    name: str
    """Of its file, without the ending."""
    about: str
    """What it shows, for whoever cannot see it."""
    svg: str
    wide: bool = False
    """Whether it takes the whole width."""


@dataclass(frozen=True)
class Sample:
    """A prompt and how the model went on."""

    about: str
    prompt: str
    text: str


@dataclass(frozen=True)
class Finding:
    """A diagnosis."""

    severity: str
    title: str
    why: str
    advice: str
    evidence: Sequence[tuple[str, str]]
    reference: str = ""


@dataclass(frozen=True)
class Source:
    """A text file, whole."""

    name: str
    text: str


Block = Figures | Paragraph | Table | Plot | Sample | Finding | Source


@dataclass(frozen=True)
class Section:
    """Blocks under a title."""

    title: str
    blocks: Sequence[Block]
    folded: bool = False
    """Whether it may begin closed, where that is possible."""


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    about: str
    """One line: of what, on what, when."""
    state: str
    """One of gpt.events.STATES."""
    sections: Sequence[Section]
    made_by: str
