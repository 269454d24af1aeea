"""The instruments: many numbers in one widget, each in a place of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip

from cockpit import format as fmt
from cockpit.pace import pace, peak_flops
from cockpit.sanitize import clean_line
from cockpit.series import Series
from cockpit.state import RunState
from cockpit.widgets import ink, plot
from cockpit.widgets.rows import Piece, RowsWidget, columns, width_of

LABEL = 10
VALUE = 9
CURVE = 12
"""Cells of a label, of a right-aligned value, and of a curve at most."""


class Reading(NamedTuple):
    """One instrument: a label, a value with its unit, then a note or the value's recent curve."""

    label: str
    value: str
    unit: str = ""
    notes: tuple[str, ...] = ()
    """What may stand beside it, the longest first; the first one that fits does."""
    curve: Series | None = None
    style: Style = ink.TEXT
    curve_style: Style = ink.CURVE


def loss(state: RunState) -> Reading:
    """Smoothed training loss, nats/token."""
    value = state.smoothed_loss.last
    return Reading("loss", fmt.loss(value), "", (), state.smoothed_loss, ink.TRAIN, ink.RAW)


def val_loss(state: RunState) -> Reading:
    """Validation loss of the newest evaluation with its standard error, nats/token."""
    done = state.evaluation
    error = f" ± {done.val_stderr:.4f}" if done and done.val_stderr is not None else ""
    value = fmt.loss(done.val_loss if done else None)
    return Reading("val loss", value, error, (), state.val_loss, ink.VALIDATION, ink.VALIDATION_CURVE)


def best(state: RunState) -> Reading:
    """The lowest validation loss, nats/token, and its step."""
    notes = (f"at step {state.best_step:,}", f"@ {state.best_step:,}") if state.best_step is not None else ()
    return Reading("best val", fmt.loss(state.best_val_loss), "", notes, style=ink.VALIDATION)


def perplexity(state: RunState) -> Reading:
    """exp of the validation loss, and the same in bits per byte of text."""
    done = state.evaluation
    value = math.exp(done.val_loss) if done and done.val_loss is not None and done.val_loss < 50 else None
    bits = state.bits_per_byte
    notes = (f"{bits:.3f} bits per byte", f"{bits:.3f} bpb") if bits is not None else ()
    return Reading("perplexity", fmt.significant(value, 4), "", notes)


def ms_per_iter(state: RunState) -> Reading:
    """Median time of the newest steps, ms."""
    return Reading("ms/iter", fmt.number(state.median_ms(), 1), "ms", (), state.ms)


def tokens_per_s(state: RunState) -> Reading:
    """At the time that ms/iter says."""
    return Reading("tokens/s", fmt.number(pace(state).tokens_per_s), "", (), state.tokens_per_s)


def mfu(state: RunState) -> Reading:
    """Model FLOPs utilization at the time that ms/iter says, and of which peak."""
    value, peak = pace(state).mfu, peak_flops(state)
    notes, started = (), state.started
    if started and peak:
        peak = f"of {fmt.significant(peak / 1e12)} TFLOP/s"
        if started.peak_source == "measured":
            notes = (f"{peak}, measured peak", "measured peak", "measured")
        else:
            notes = (f"{peak} {short_dtype(started.dtype)}", peak)
    return Reading("MFU", fmt.percent(value), "%", notes)


def tokens(state: RunState) -> Reading:
    """Tokens seen, for each parameter and in epochs."""
    value, letter = fmt.count(state.tokens)
    started = state.started
    if started is None:
        return Reading("tokens", value, letter)
    each = fmt.significant(state.tokens / started.parameters)
    notes = (f"{each} per parameter", f"{each} a param")
    if state.epochs is not None:
        epochs = f"{fmt.significant(state.epochs)} epochs"
        notes = (f"{epochs}, {notes[0]}", f"{epochs}, {notes[1]}", epochs)
    return Reading("tokens", value, letter, notes)


def learning_rate(state: RunState) -> Reading:
    """Learning rate of the newest step."""
    return Reading("lr", fmt.scientific(state.lr.last), "", (), state.lr)


def grad_norm(state: RunState) -> Reading:
    """Gradient norm of the newest step, before clipping."""
    return Reading("grad norm", fmt.significant(state.grad_norm.last), "", (), state.grad_norm)


def data_wait(state: RunState) -> Reading:
    """Share of the newest step that waited for data."""
    waited = state.last.data_ms / state.last.ms if state.last and state.last.ms else None
    return Reading("data wait", fmt.percent(waited), "%", ("of each step",))


def parameters(state: RunState) -> Reading:
    """Parameters of the model, and tokens of a step."""
    value, letter = fmt.count(state.started.parameters if state.started else None)
    note = "{} {} tokens a step".format(*fmt.count(state.started.tokens_per_step)) if state.started else ""
    return Reading("parameters", value, letter, (note.replace("  ", " "),))


def memory(state: RunState) -> Reading:
    """Device memory on a GPU, this process's memory on a CPU."""
    held, meters = state.memory, state.telemetry
    if held and _on_gpu(state):
        total = held.total or (meters.gpu_memory_total if meters else None)
        peak = f"peak {fmt.gib(held.peak, 1)}"
        notes = (f"{peak} of {fmt.gib(total, 1)}", peak)
        return Reading("GPU mem", fmt.gib(held.allocated), "GiB", notes)
    notes = (f"peak {fmt.gib(meters.rss_peak)}",) if meters and meters.rss_peak else ()
    return Reading("memory", fmt.gib(meters.rss if meters else None), "GiB", notes)


def reserved(state: RunState) -> Reading:
    """What the allocator keeps on a GPU, what the whole machine uses on a CPU."""
    held, meters = state.memory, state.telemetry
    if held and _on_gpu(state):
        used = meters.gpu_memory_used if meters else None
        notes = (f"card {fmt.gib(used, 1)} in use", f"card {fmt.gib(used, 1)}") if used else ()
        return Reading("reserved", fmt.gib(held.reserved), "GiB", notes)
    notes = (f"of {fmt.gib(meters.host_memory_total, 1)} in use",) if meters else ()
    return Reading("machine", fmt.gib(meters.host_memory_used if meters else None), "GiB", notes)


def load(state: RunState) -> Reading:
    """Load of the card with its power and heat, or of all the machine's cores."""
    meters = state.telemetry
    if _on_gpu(state):
        watts = f"{meters.gpu_watts:4,.0f} W" if meters and meters.gpu_watts is not None else ""
        heat = f"{meters.gpu_celsius:.0f} °C" if meters and meters.gpu_celsius is not None else ""
        notes = (f"{watts}  {heat}".strip(),) if watts or heat else ()
        return Reading("GPU load", fmt.number(meters.gpu_utilization if meters else None), "%", notes)
    return Reading("CPU load", fmt.number(meters.cpu_percent if meters else None), "%", (), state.cpu_load)


def process_load(state: RunState) -> Reading:
    """Cores that this process keeps busy."""
    meters = state.telemetry
    value = meters.process_cpu_percent / 100 if meters else None
    return Reading("this run", fmt.number(value, 2), "cores")


def ranks(state: RunState) -> Reading:
    """How many there are, and how far the slowest one is behind."""
    newest, slow = state.ranks.newest, state.ranks.straggler()
    notes = ()
    if slow and 2 * slow.calls <= slow.of:
        notes = ("alike",)
    elif slow:
        behind = f"+{fmt.percent(slow.excess, 0)} %"
        notes = (f"slowest {slow.rank}, {behind} of a step", f"rank {slow.rank} {behind}", behind)
    return Reading("ranks", fmt.number(newest.ranks if newest else None), "", notes)


Column = tuple[Callable[[RunState], Reading], ...]

LAYOUTS: dict[int, tuple[Column, ...]] = {
    1: ((loss, val_loss, ms_per_iter, tokens_per_s, mfu, learning_rate, memory, load),),
    2: (
        (loss, val_loss, learning_rate, grad_norm, best, perplexity),
        (ms_per_iter, tokens_per_s, mfu, memory, load, tokens),
    ),
    3: (
        (loss, val_loss, best, perplexity, tokens),
        (ms_per_iter, tokens_per_s, mfu, tokens, data_wait),
        (learning_rate, grad_norm, memory, load, reserved),
    ),
    4: (
        (loss, val_loss, best, perplexity),
        (ms_per_iter, tokens_per_s, mfu, data_wait),
        (learning_rate, grad_norm, tokens, parameters),
        (memory, reserved, load, process_load),
    ),
}
"""Columns by how many fit, the most wanted readings first in each."""
LEAST_OF_SEVERAL = {3: load, 4: process_load}
"""By how many columns there are, what stands back for the ranks where there are several: the first one's own meters
say least then."""


class Instruments(RowsWidget):
    """Losses, speed, schedule and machine in columns."""

    DEFAULT_CSS = "Instruments { height: 4; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.curves = True
        """Whether values have their recent curve beside them."""

    def rows(self, state: RunState, width: int, height: int) -> list[Strip]:
        layout, gap, each = _divided(width, state)
        widths = [each] * len(layout)
        lines = []
        for line in range(min(height, max(len(column) for column in layout))):
            cells = []
            for column, cell_width in zip(layout, widths, strict=True):
                reading = column[line](state) if line < len(column) else None
                if reading and not self.curves:
                    reading = reading._replace(curve=None)
                cells.append((cell(reading, cell_width) if reading else [], cell_width))
            lines.append(columns(cells, width, gap))
        return lines

    def tiles(self) -> dict[str, Region]:
        """Where each reading stands within this widget, by the name of its function."""
        layout, gap, each = _divided(self.size.width, self._state)
        found: dict[str, Region] = {}
        for number, column in enumerate(layout):
            for line, read in enumerate(column[: self.size.height]):
                found.setdefault(read.__name__, Region(1 + number * (each + gap), line, each, 1))
        return found


def _divided(width: int, state: RunState) -> tuple[tuple[Column, ...], int, int]:
    """(the layout for a width, cells between its columns, cells of each)."""
    number = 1 if width < 56 else 2 if width < 112 else 3 if width < 160 else 4
    gap = 3 if number > 2 else 2
    layout, least = LAYOUTS[number], LEAST_OF_SEVERAL.get(number)
    if state.ranks.newest:
        layout = tuple(tuple(ranks if read is least else read for read in column) for column in layout)
    return layout, gap, (width - 2 - gap * (number - 1)) // number


def cell(reading: Reading, width: int) -> list[Piece]:
    """A reading in a place of fixed width: dim label, right-aligned value, faint unit, then its note or curve."""
    pieces: list[Piece] = [
        (f"{reading.label:<{LABEL}}", ink.DIM),
        (f"{reading.value:>{VALUE}}", reading.style if reading.value != fmt.UNKNOWN else ink.FAINT),
        (f" {reading.unit}" if reading.unit else "", ink.FAINT),
    ]
    left = width - width_of(pieces)
    if reading.curve is not None:
        bars = min(left - 1, CURVE)  # at the right end, so that curves stand below each other
        if bars >= 5:
            curve = plot.sparkline(plot.recent_means(reading.curve.y, bars, reading.curve.folded), bars)
            pieces.append((" " * (left - bars) + curve, reading.curve_style))
    else:
        note = next((note for note in reading.notes if len(note) + 2 <= left), "")
        pieces.append((f"  {note}", ink.FAINT))
    return pieces


def short_dtype(dtype: str) -> str:
    """`bf16` for `bfloat16`, and so on."""
    names = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}
    return names.get(dtype, clean_line(dtype))


def _on_gpu(state: RunState) -> bool:
    return state.started is not None and state.started.device_type == "cuda"
