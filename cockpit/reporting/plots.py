"""The plots of a run: which curves go together, and what happened along the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from cockpit import format as fmt
from cockpit.reporting.document import Plot
from cockpit.reporting.figure import NARROW, WIDE, Band, Curve, Mark, Picture, draw, raw, through
from cockpit.series import Series
from cockpit.state import RunState
from cockpit.widgets.timebar import PHASES

_STYLES = {"checkpoint": "saved", "best": "best", "config": "change", "spike": "spike", "pause": "stood"}
_LINES = ("rewind", "resume")
_MOST_SPIKES = 100
_MIDDLES = 160
GIB = 2**30


def plots(state: RunState, levels: Sequence[tuple[str, float]] = ()) -> list[Plot]:
    """All plots that there is anything to draw in, the loss first.

    Args:
        levels: names and losses to compare with, nats/token.
    """
    first_of_abandoned = max((float(way.end) for way in state.abandoned), default=0.0)
    end = max(float(state.step), first_of_abandoned, 1.0)
    return [each for each in (_loss(state, end, levels), *_others(state, end)) if each is not None]


def _loss(state: RunState, end: float, levels: Sequence[tuple[str, float]]) -> Plot | None:
    if not len(state.loss) and not len(state.val_loss):
        return None
    layers: list[Band | Curve] = []
    for number, way in enumerate(state.abandoned):
        layers.append(Curve(way.x, way.y, "left", "" if number else "abandoned"))
    layers += raw(state.loss, "band", "raw", "train")
    layers.append(through(state.smoothed_loss, "line", "smoothed"))
    layers.append(through(state.val_loss, "val", "val", dots=True))
    last, best = state.val_loss.last, state.best_val_loss
    about = f"Training loss over {state.step:,} steps, smoothed {fmt.loss(state.smoothed_loss.last)} at the end"
    about += f"; validation loss {fmt.loss(last)}, best {fmt.loss(best)}." if last is not None else "."
    picture = Picture(
        title="loss, nats/token", layers=layers, end=end, write=lambda value: f"{value:,.4g}", size=WIDE, clip=True,
        marks=_marks(state), levels=levels,
        lines=[(mark.step, mark.text) for mark in state.markers if mark.kind in _LINES],
    )  # fmt: skip
    return Plot("loss", about, draw(picture), wide=True)


def _marks(state: RunState) -> list[Mark]:
    """What happened, by kind; of very many spikes some."""
    found = {kind: [mark for mark in state.markers if mark.kind == kind] for kind in _STYLES}
    spikes = found["spike"]
    found["spike"] = spikes[:: -(-len(spikes) // _MOST_SPIKES)] if spikes else []
    return [Mark(mark.step, _STYLES[mark.kind], mark.text) for kind in _STYLES for mark in found[kind]]


def _others(state: RunState, end: float) -> Iterable[Plot | None]:
    meters = state.meters
    yield _plain("lr", "learning rate", state.lr, end, _rate, "of the optimizer at each step")
    yield _plain("grad-norm", "gradient norm, before clipping", state.grad_norm, end, _short, "of each step", clip=True)
    yield _plain("ms-per-iter", "ms/iter", state.ms, end, _short, "training and waiting for data", clip=True)
    yield _plain("tokens-per-s", "tokens/s", state.tokens_per_s, end, _count, "of each step", clip=True)
    memory: list[Band | Curve] = [through(_scaled(meters.rss, 1 / GIB), "curve", "process")] if len(meters.rss) else []
    if len(meters.gpu_memory):
        memory.append(through(_scaled(meters.gpu_memory, 1 / GIB), "held", "allocated on the device"))
    if memory:
        picture = Picture("memory, GiB", memory, end, _short, from_zero=True)
        yield Plot("memory", "Memory of the process and the device over the steps.", draw(picture))
    if len(meters.utilization):
        on_gpu = state.telemetry is not None and state.telemetry.gpu_utilization is not None
        title = "GPU utilization, %" if on_gpu else "load of all cores, %"
        yield _plain("utilization", title, meters.utilization, end, _short, "as the machine says", from_zero=True)
    if len(meters.watts):
        yield _plain("power", "GPU power, W", meters.watts, end, _short, "as the card says", from_zero=True)
    if len(state.noise_tokens):
        yield _plain("noise", "critical batch size, tokens", state.noise_tokens, end, _count, "by the gradient noise")


def _plain(
    name: str, title: str, series: Series, end: float, write: Callable[[float], str], about: str, *, clip: bool = False,
    from_zero: bool = False,
) -> Plot | None:  # fmt: skip
    if not len(series):
        return None
    layers = raw(series, "spread", "curve", "")
    if any(isinstance(layer, Band) for layer in layers):
        layers.append(_middle(series))
    picture = Picture(title, layers, end, write, NARROW, clip=clip, from_zero=from_zero)
    return Plot(name, f"{title}, {about}; at the end {write(series.last) if series.last is not None else '–'}.",
                draw(picture))  # fmt: skip


def _middle(series: Series) -> Curve:
    """The medians of a curve's stretches: what it is like where the band is wide."""
    points = series.points(least=2048)
    x, y = points.x, (points.low + points.high) / 2
    edges = np.searchsorted(x, np.linspace(x[0], x[-1], _MIDDLES + 1)[1:-1])
    stretches = np.split(np.arange(len(x)), edges)
    some = [stretch for stretch in stretches if np.isfinite(y[stretch]).any()]
    return Curve(np.array([x[s].mean() for s in some]), np.array([np.nanmedian(y[s]) for s in some]), "curve")


def _scaled(series: Series, factor: float) -> Series:
    points = series.points()
    return Series().extend(points.x, points.last * factor)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.3g}"


def _rate(value: float) -> str:
    return fmt.scientific(value).replace(".00e", "e")


def _count(value: float) -> str:
    number, letter = fmt.count(value)
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {letter}".strip()


_COLORS = {
    "train": "work", "data": "warning", "evaluate": "val", "checkpoint": "train", "sample": "raw", "paused": "paused",
    "compile": "curve", "startup": "faint", "other": "rule",
}  # fmt: skip


def ledger_bar(state: RunState) -> Plot | None:
    """Every second of the run by its phase, as one bar."""
    total = sum(state.ledger.values())
    if total <= 0:
        return None
    width, height, at, parts = WIDE[0], 44, 0.0, []
    for phase, (word, _, _) in PHASES.items():
        share = state.ledger.get(phase, 0.0) / total
        if not share:
            continue
        across = share * width
        said = f"{word} {fmt.percent(share)} %"
        parts.append(f'<rect x="{at:.2f}" y="0" width="{max(0.5, across):.2f}" height="22" '
                     f'style="fill: var(--{_COLORS[phase]})"><title>{said}</title></rect>')  # fmt: skip
        if across > 7.5 * len(said):
            parts.append(f'<text x="{at + across / 2:.1f}" y="38" text-anchor="middle">{said}</text>')
        at += across
    svg = (f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {width} {height}" width="{width}" '
           f'height="{height}" role="img" aria-label="time by phase">\n' + "\n".join(parts) + "\n</svg>")  # fmt: skip
    return Plot("time", f"Where the {fmt.duration(state.wall)} went, by phase.", svg, wide=True)
