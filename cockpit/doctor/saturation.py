"""Saturated: a model that has seen far more than suits its size, and what its remaining steps are worth."""

from __future__ import annotations

import math
from collections.abc import Iterator

from cockpit import format as fmt
from cockpit.doctor import forecast
from cockpit.doctor.diagnosis import Diagnosis, Rule, Treatment
from cockpit.doctor.evidence import Evidence, tail
from cockpit.doctor.forecast import Forecast
from cockpit.doctor.trend import Line, line
from cockpit.planning.plan import shape_of
from cockpit.planning.scaling import LAW, TOKENS_PER_PARAMETER
from gpt.config import ModelConfig
from gpt.flops import parameter_count
from gpt.steering import cooldown_changes, default_cooldown

PAST = 2.0
"""Times Chinchilla's 20 tokens a parameter from which on a poor outlook is laid to the size."""
FAR_PAST = 5.0
"""Times it from which on a larger model would have been clearly better for the same compute: by the law that planning
uses, 124M on 100 tokens a parameter end 0.035 nats above the best size, 40M 0.048."""
WORTH = 0.006
"""Share of the loss that the remaining steps may still bring, at the upper end of the interval, where they are called
not worth their while: 0.02 nats at 3.3, about what two seeds differ by."""
GROSS = 8.0
"""Times it from which on that is a warning where there is no curve to continue, and steps are left to save: 124M on 160
tokens a parameter end 0.06 nats above the best size, 40M 0.08."""
REMAINING = 0.10
"""Share of the run that must be left: of fewer steps nobody asks what they are worth."""
LAW_FROM = 10e6
"""Parameters from which Chinchilla's law is asked; its smallest models had 44 M (Hoffmann et al. 2022, table A9)."""


def find(evidence: Evidence) -> Iterator[Diagnosis]:
    """Where little is still to come, or, with no curve to continue, where the tokens alone say it."""
    state, parameters = evidence.state, evidence.parameters
    validation = state.val_loss.last
    if not parameters or not state.tokens or validation is None:
        return
    ratio = state.tokens / parameters
    last_step = evidence.max_steps or state.step
    left = max(0, last_step - state.step)
    if ratio < PAST * TOKENS_PER_PARAMETER:
        return
    ahead = forecast.of_run(evidence) if left >= REMAINING * last_step else None
    trend = line(*tail(state.val_loss, least=4))
    # The slope too: should the fit take a late decay for over, the loss still falls as it did lately.
    still = math.inf if trend is None else left * (trend.stderr - trend.slope)
    spent = ahead is not None and max(ahead.gain_high, still) < WORTH * validation
    if not spent and ratio < FAR_PAST * TOKENS_PER_PARAMETER:
        return
    size, tokens, law_gain = suited(evidence, last_step)
    shape = _shape(size, evidence.rows or 50257)
    cooldown = _cooldown(evidence, spent, left)
    times = ratio / TOKENS_PER_PARAMETER
    unseen = len(state.val_loss) < forecast.LEAST_POINTS and left >= REMAINING * last_step and times >= GROSS
    title = f"saturated: {fmt.significant(ratio)} tokens per parameter"
    if ahead is not None:
        title += f"; the remaining {left:,} steps are worth {ahead.gain:.3f} ± {ahead.gain_stderr:.3f} nats"
    yield Diagnosis(
        rule="saturated", severity="warning" if spent or unseen else "note", title=title,
        evidence={
            "tokens": state.tokens, "parameters": parameters, "tokens_per_parameter": ratio, "times_chinchilla": times,
            "val_loss": validation, "remaining_steps": left, **_figures(ahead, trend),
            "suited_parameters": round(size), "suited_tokens": round(tokens), "suited_gain": law_gain,
            **dict(zip(("suited_n_layer", "suited_n_head", "suited_n_embd"), shape or (), strict=False)),
        },
        why=f"{_big(state.tokens)} tokens for {_big(parameters)} parameters are {times:.1f} times Chinchilla's "
        f"{TOKENS_PER_PARAMETER:.0f} a parameter: a model of this size has little left to learn." + _slope(trend)
        + _outlook(ahead),
        advice=_advice(spent, cooldown, last_step, (size, tokens, shape, law_gain)),
        treatment=cooldown,
        reference="Hoffmann et al. 2022 (arXiv 2203.15556), table 3; the law of " + LAW.source,
    )  # fmt: skip


def suited(evidence: Evidence, last_step: int) -> tuple[float, float, float | None]:
    """(parameters, tokens, what that would be better by) for the compute of the whole run, at 20 tokens a parameter.

    The gain is the law's, nats/token of Chinchilla's data; None for sizes that it was not made for.
    """
    parameters, total = evidence.parameters or 1, last_step * (evidence.tokens_per_step or 1)
    size = math.sqrt(parameters * total / TOKENS_PER_PARAMETER)  # 6·N·D is the same
    tokens = TOKENS_PER_PARAMETER * size
    gain = LAW.loss(parameters, total) - LAW.loss(size, tokens) if parameters >= LAW_FROM else None
    return size, tokens, gain


def _shape(size: float, rows: int) -> tuple[int, int, int] | None:
    """(n_layer, n_head, n_embd) of about that size; None for a smaller one than planning has shapes of."""
    shape = shape_of(size, rows)
    layers, heads, width = shape
    built = parameter_count(ModelConfig(n_layer=layers, n_head=heads, n_embd=width, bias=False), rows)[1]
    return shape if abs(built / size - 1) < 0.2 else None


def _figures(ahead: Forecast | None, trend: Line | None) -> dict[str, float | None]:
    found: dict[str, float | None] = {
        "slope_per_1000_steps": trend.slope * 1e3 if trend else None,
        "slope_stderr": trend.stderr * 1e3 if trend else None,
    }
    for name in ("gain", "gain_stderr", "gain_low", "gain_high", "final", "low", "high", "floor", "exponent"):
        found[f"forecast_{name}"] = getattr(ahead, name) if ahead else None
    return found


def _slope(trend: Line | None) -> str:
    if trend is None:
        return ""
    slope, error = 1e3 * trend.slope, 1e3 * trend.stderr
    return f" Lately validation moves by {slope:+.4f} ± {error:.4f} nats per 1,000 steps."


def _outlook(ahead: Forecast | None) -> str:
    if ahead is None:
        return ""
    return (f" Continued to step {ahead.last_step:,} the curve ends at {ahead.final:.3f} ({ahead.low:.3f} to "
            f"{ahead.high:.3f}, with 90 % chance), the schedule's decay included.")  # fmt: skip


def _advice(
    spent: bool, cooldown: Treatment | None, last_step: int,
    better: tuple[float, float, tuple[int, int, int] | None, float | None],
) -> str:  # fmt: skip
    size, tokens, shape, gain = better
    layers, heads, width = shape or (0, 0, 0)
    by = f", about {gain:.2f} nats better by Chinchilla's law" if gain and gain > 0 else ""
    words = f"The same compute would have suited {_big(size)} parameters on {_big(tokens)} tokens{by}"
    words += f": n_layer {layers}, n_head {heads}, n_embd {width}." if shape else "."
    if cooldown is not None:
        end = int(cooldown.changes["train.max_steps"] or last_step)
        return f"Let the rate fall now and end at step {end:,}, which saves {last_step - end:,} steps. " + words
    return words if spent else words + " A small model that is to be used often may be worth the tokens all the same."


def _cooldown(evidence: Evidence, spent: bool, left: int) -> Treatment | None:
    """A decay over a quarter of what is left, or the usual length of one where that is shorter."""
    profile, state = evidence.profile, evidence.state
    if not spent or profile is None or state.is_final:
        return None
    changes = cooldown_changes(profile, state.step, min(default_cooldown(profile, state.step), max(1, left // 4)))
    if "train.max_steps" not in changes:
        return None
    return Treatment("live", f"cool down and end at step {changes['train.max_steps']:,}", changes)


def _big(value: float) -> str:
    number, unit = fmt.count(value)
    return f"{number} {unit}".strip()


RULE = Rule("saturated", "tokens far past what suits the size, and a curve that has little left to fall", find)
