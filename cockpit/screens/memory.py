"""What holds memory: by estimate part by part, measured as a whole, and what would free most of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from rich.style import Style
from textual.strip import Strip
from textual.widget import Widget

from cockpit import format as fmt
from cockpit.holdings import Holdings, holdings
from cockpit.screens.view import View
from cockpit.state import RunState
from cockpit.widgets import ink
from cockpit.widgets.panes import wrap
from cockpit.widgets.rows import Piece, RowsWidget, row, rule, width_of
from gpt.config import Profile, replace

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

PARTS: dict[str, tuple[str, Style, str]] = {
    "weights": ("█", Style(color=ink.TRAIN_COLOR), "the parameters, float32"),
    "optimizer": ("▓", Style(color=ink.VALIDATION_COLOR), "its moments"),
    "gradients": ("▒", Style(color=ink.WARNING_COLOR), "of the parameters, at the peak"),
    "activations": ("░", Style(color=ink.GOOD_COLOR), "what the backward pass needs again"),
    "logits": ("▚", Style(color=ink.CRITICAL_COLOR), "and their gradients"),
    "casts": ("≡", Style(color=ink.PAUSED_COLOR), "matrices in the lower precision"),
    "workspace": ("▖", Style(color=ink.DIM_COLOR), "of the layer in its backward pass"),
    "rest": ("·", Style(color=ink.DIM_COLOR), ""),
}
"""Part of gpt.memory.Memory → pattern, style, what it is; `rest` is what no estimate covers."""
LABEL, VALUE = 14, 10
"""Cells of a name and of a figure with its unit."""


class Figure(NamedTuple):
    """A measured or estimated amount, and what it is made of."""

    name: str
    size: int | None
    parts: Mapping[str, int]
    note: str


def show_memory(app: CockpitApp) -> None:
    """Opens the view."""
    app.open(MemoryView(app))


class MemoryView(View[None]):
    """Estimate, measurement and advice."""

    def __init__(self, app: CockpitApp) -> None:
        super().__init__("memory", [("space", "pause")])
        self._cockpit, self._body = app, Body()

    def body(self) -> Iterable[Widget]:
        yield self._body

    def show_body(self, state: RunState) -> bool:
        self._body.profile = replace(self._cockpit.link.profile, self._cockpit.settings)
        return self._body.show(state)


class Body(RowsWidget):
    """All of it, in rows."""

    DEFAULT_CSS = "Body { height: 1fr; }"

    def __init__(self) -> None:
        super().__init__()
        self.profile = Profile()
        """The settings in force."""
        self._known: tuple[tuple, Holdings | None] | None = None

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        key = (self.profile, state.started, state.memory.total if state.memory else None)
        if self._known is None or self._known[0] != key:
            self._known = key, holdings(self.profile, state)
        found = self._known[1]
        if found is None:
            return [row(width, [(" nothing is known of the model yet", ink.FAINT)])]
        lines = [row(width, []), *bars(measured(state, found), width), row(width, [])]
        lines += parts(state, found, width)
        room = height - len(lines) - 2
        if room > 0:
            lines += [row(width, []), *advice(state, found, width)]
        return lines


def measured(state: RunState, found: Holdings) -> list[Figure]:
    """The estimate, and beside it what is measured where the model is."""
    figures = [
        Figure("estimate", found.memory.peak, found.memory.parts, f"at its peak, in {_MOMENTS[found.memory.moment]}")
    ]
    held, meters = state.memory, state.telemetry
    if held and state.started and state.started.device_type == "cuda":
        standing = _standing(state, found)
        moving = {"rest": held.peak - sum(standing.values())}
        kept = f"{_size(held.reserved - held.peak)} of it kept by the allocator for later"
        kept += f", of {_size(held.total)} on the card" if held.total else ""
        figures.append(Figure("peak", held.peak, standing | moving, "the most that was allocated at once"))
        figures.append(Figure("reserved", held.reserved, {"rest": held.reserved}, kept))
        if meters and meters.gpu_memory_used:
            figures.append(
                Figure(
                    "card in use", meters.gpu_memory_used, {"rest": meters.gpu_memory_used}, "by all that runs on it"
                )
            )
    elif meters:
        inside = {**_standing(state, found)}
        moving = {part: size for part, size in found.memory.parts.items() if part not in inside}
        if meters.rss > sum(inside.values()) + sum(moving.values()):
            inside |= moving
        rest = max(0, meters.rss - sum(inside.values()))
        figures.append(
            Figure(
                "process",
                meters.rss,
                {**inside, "rest": rest},
                "resident; the rest is Python, libraries and data",
            )
        )
        if meters.rss_peak:
            figures.append(
                Figure(
                    "its peak",
                    meters.rss_peak,
                    {"rest": meters.rss_peak},
                    f"of {_size(meters.host_memory_total)} that the machine has",
                )
            )
    return figures


_MOMENTS = {
    "loss": "the loss", "last layer": "the last layer's backward pass",
    "first layer": "the first layer's backward pass", "embedding": "the embedding's backward pass",
    "update": "the update",
}  # fmt: skip


def _standing(state: RunState, found: Holdings) -> dict[str, int]:
    """Weights and optimizer: measured once the run has told them."""
    if state.measured:
        return {"weights": state.measured.weights, "optimizer": state.measured.optimizer}
    return {part: found.memory.parts[part] for part in ("weights", "optimizer")}


def bars(figures: list[Figure], width: int) -> list[Strip]:
    """A bar a figure, all to one scale."""
    most = max((figure.size or 0 for figure in figures), default=0) or 1
    room = max(0, width - LABEL - VALUE - 4)
    lines = []
    for figure in figures:
        head: list[Piece] = [(f" {figure.name:<{LABEL - 1}}", ink.TEXT), *_amount(figure.size)]
        lines.append(row(width, [*head, ("  ", ink.TEXT), *_bar(figure.parts, most, room)]))
        lines.append(row(width, [(" " * (LABEL + VALUE + 2), ink.TEXT), (figure.note, ink.FAINT)]))
    return lines


def _bar(amounts: Mapping[str, int], most: int, room: int) -> list[Piece]:
    """Patterns side by side; each ends where the sum of all up to it lies on the scale, so that rounding adds up."""
    pieces: list[Piece] = []
    total, at = 0, 0
    for part in PARTS:
        total += max(0, amounts.get(part, 0))
        end = round(min(total, most) / most * room)
        if end > at:
            pieces.append((PARTS[part][0] * (end - at), PARTS[part][1]))
            at = end
    return pieces


def parts(state: RunState, found: Holdings, width: int) -> list[Strip]:
    """Each part of the estimate, with what of it is measured."""
    known = {"weights": state.measured.weights, "optimizer": state.measured.optimizer} if state.measured else {}
    amounts = {part: size for part, size in found.memory.parts.items() if size}
    peak = found.memory.peak
    head = f"{'':<{LABEL}}{'estimate':>{VALUE}}{'share':>8}{'measured':>{VALUE + 2}}"
    lines = [rule(width, [("parts at the peak", ink.TEXT)]), row(width, [(head, ink.DIM)])]
    for part in (part for part in PARTS if part in amounts):
        glyph, style, what = PARTS[part]
        pieces: list[Piece] = [(f" {glyph}", style), (f" {part:<{LABEL - 3}}", ink.TEXT), *_amount(amounts[part])]
        pieces += [(f"{fmt.percent(amounts[part] / peak):>6}", ink.TEXT), (" %", ink.FAINT), ("  ", ink.TEXT)]
        pieces += [*_amount(known.get(part)), ("  ", ink.TEXT), (what, ink.FAINT)]
        lines.append(row(width, pieces))
    return lines


def advice(state: RunState, found: Holdings, width: int) -> list[Strip]:
    """What would free most."""
    lines = [rule(width, [("what would free most", ink.TEXT), ("  the tokens in a step stay", ink.FAINT)])]
    for saving in found.savings:
        pieces: list[Piece] = [(" -", ink.GOOD), *_amount(saving.freed, VALUE - 1), ("  ", ink.TEXT)]
        pieces.append((saving.text, ink.TEXT))
        price: Piece = (f"  {saving.price}", ink.FAINT)
        lines.append(row(width, [*pieces, price] if width_of([*pieces, price]) <= width else pieces))
    if not found.savings:
        lines.append(row(width, [(" nothing that would be worth it", ink.FAINT)]))
    if found.largest and state.started:
        now = state.started.micro_batch_size
        pieces = [
            (" by estimate a micro-batch of ", ink.DIM),
            (f"{found.largest}", ink.BRIGHT),
            (f" would fit; it is {now}", ink.DIM),
        ]
        lines.append(row(width, pieces))
    how: list[Piece] = [("to take one: stop the run, then --resume it with what stands here", ink.FAINT)]
    return [*lines, *(row(width, [(" ", ink.TEXT), *line]) for line in wrap(how, width - 2))]


def _amount(size: int | None, cells: int = VALUE) -> list[Piece]:
    """Bytes in a column of fixed width, unit included."""
    value, unit = _value(size)
    return [(f"{value:>{cells - 4}}", ink.TEXT if size is not None else ink.FAINT), (f" {unit:<3}", ink.FAINT)]


def _value(size: int | None) -> tuple[str, str]:
    if size is None:
        return fmt.UNKNOWN, ""
    return (fmt.number(size / 2**30, 2), "GiB") if size >= 2**30 else (fmt.number(size / 2**20, 1), "MiB")


def _size(size: int) -> str:
    return " ".join(_value(size))
