"""Speed explained: what ms/iter leaves out, and what MFU is measured against."""

from __future__ import annotations

import numpy as np

from cockpit import format as fmt
from cockpit.doctor.clock import with_evaluation
from cockpit.doctor.device import is_foreign
from cockpit.doctor.evidence import Evidence
from cockpit.explaining.explanation import Explanation, lines, said
from cockpit.explaining.figures import count
from cockpit.pace import pace
from cockpit.planning.here import DEFAULT_SHARE
from cockpit.planning.scaling import chinchilla_tokens

BESIDE = {"evaluate": "evaluation", "checkpoint": "saving", "sample": "sampling"}
"""Phases that nanoGPT's clock counts into the step, and ours does not."""
LEAST_STEPS, STEADY = 20, 1.5
"""Steps from which on it is said how even they are; times the fast ones that the slow ones may take."""
FITTING = 3.0
"""Times what an evaluation is estimated to take, or its inverse, within which it may be what a step was timed with."""
POLLUTED = 1.5
"""Times what its MFU says, from which on a step of nanoGPT's was timed with something else in it."""


def ms_per_iter(evidence: Evidence) -> Explanation:
    """Time of a step."""
    state, started = evidence.state, evidence.state.started
    value = state.median_ms()
    number = min(50, len(state.ms))
    theirs = is_foreign(evidence)
    formula: list[str | None] = []
    if value is not None:
        formula.append("one iteration, as printed" if number == 1 else f"median of the newest {number} steps")
    if value is not None and started:
        micro_steps = started.grad_accum_steps
        formula.append(
            f"{value:,.1f} ms / {micro_steps:,} micro-step{'s' * (micro_steps != 1)} of {started.micro_batch_size:,} × "
            f"{started.block_size:,} tokens = {value / micro_steps:,.1f} ms each"
        )
    formula += _left_out(evidence, value)
    expected = _expected_ms(evidence)
    usual = "What the machine does with nothing else to do: gpt-cockpit bench PROFILE."
    if expected is not None:
        usual = f"{fmt.significant(expected)} ms at {_usual_share()}"
    elif theirs:
        usual = "nanoGPT's 124M with 12 × 1,024 tokens on an A100: 135 ms compiled, 250 ms not (its README)."
    return Explanation(
        id="ms_per_iter", name="ms/iter", value=f"{fmt.number(value, 1)} ms",
        meaning="Time of one optimizer step, all its micro-steps together. "
        + ("As nanoGPT takes it, everything since the iteration before is counted in: evaluation and saving too, in "
           "the iterations that have them." if theirs
           else "Training and waiting for data, nothing else: it leaves out evaluation, saving, sampling, compiling "
           "and pauses, which nanoGPT's counts in."),
        computation=lines(*formula), usual=usual,
        says=said(_pollution(evidence, value), _against(value, expected, theirs), _spread(evidence), _waits(evidence)),
        change="Compiling, bfloat16, a larger micro-batch with fewer grad_accum_steps, a smaller model or block_size. "
        "Fewer tokens a step make it shorter, and no token cheaper.",
    )  # fmt: skip


def tokens_per_s(evidence: Evidence) -> Explanation:
    """Tokens trained on in a second."""
    state, per_step, size = evidence.state, evidence.tokens_per_step, evidence.parameters
    ms, value, _ = pace(state)
    says = "Too low: the time holds more than the step, see ms/iter." if _pollution(evidence, ms) else ""
    if value and size and not says:
        wanted = chinchilla_tokens(size)
        says = (
            f"{count(86_400 * value)} tokens a day; the {count(wanted)} that Chinchilla gives this size take "
            f"{fmt.duration(wanted / value)} of such steps."
        )
    return Explanation(
        id="tokens_per_s", name="tokens/s", value=fmt.number(value),
        meaning="Tokens trained on per second of ms/iter: the speed that compares between batch sizes.",
        computation=f"{per_step:,} tokens a step / {ms / 1e3:.4f} s, the median step, = "
        f"{fmt.number(per_step / ms * 1e3)}" if per_step and ms else "",
        usual=_usual_speed(evidence), says=says,
        change="As ms/iter; also a smaller model: a token's arithmetic is about 6 FLOPs a parameter.",
    )  # fmt: skip


def data_wait(evidence: Evidence) -> Explanation:
    """Share of a step spent waiting for data."""
    last = evidence.state.last
    share = last.data_ms / last.ms if last and last.ms and not is_foreign(evidence) else None
    return Explanation(
        id="data_wait", name="data wait", value=f"{fmt.percent(share)} %",
        meaning="Share of the newest step in which training waited for its batch.",
        computation=f"{last.data_ms:.2f} ms / {last.ms:.1f} ms = {fmt.percent(share)} %" if last and share is not None
        else "",
        usual="Under 1 %: batches are made ahead.",
        says="" if share is None else "Data keeps up." if share < 0.05
        else "Reading holds training up: a slow disk, or other programs on the cores that read.",
        change="Data on a local disk; fewer other programs; prepared tokens instead of text.",
    )  # fmt: skip


def goodput(evidence: Evidence) -> Explanation:
    """Share of wall time spent training."""
    state = evidence.state
    value = state.goodput
    others = sorted(
        ((phase, seconds) for phase, seconds in state.ledger.items() if phase != "train" and seconds > 0),
        key=lambda pair: -pair[1],
    )
    formula = ""
    if value is not None:
        formula = f"train {state.ledger.get('train', 0.0):,.1f} s / wall {state.wall:,.1f} s = {fmt.percent(value)} %"
        shares = ", ".join(f"{phase} {fmt.percent(seconds / state.wall)} %" for phase, seconds in others[:5])
        formula = lines(formula, f"the rest: {shares}" if shares else None)
    says, change = "", "Rarer evaluations (train.eval_interval) with fewer eval_steps, rarer checkpoints."
    if value is not None and others:
        phase, seconds = others[0]
        says = "Nearly all time goes into training." if value >= 0.9 else (
            f"Most of the rest is {phase}, {fmt.duration(seconds)}."
        )  # fmt: skip
        profile = evidence.profile
        spent = state.ledger.get("evaluate", 0.0) / state.wall
        if phase == "evaluate" and spent > 0.05 and profile and profile.train.eval_interval:
            interval = profile.train.eval_interval
            change = (
                f"train.eval_interval = {2 * interval:,} instead of {interval:,} halves the {fmt.percent(spent)} %."
            )
    return Explanation(
        id="goodput", name="goodput", value=f"{fmt.percent(value)} %",
        meaning="Share of all time since the run began that was spent training, all its sittings included.",
        computation=formula, usual="Above 90 % in a long run; start and compiling weigh on the first minutes.",
        says=says, change=change,
    )  # fmt: skip


def eta(evidence: Evidence) -> Explanation:
    """Time that the run still takes."""
    state = evidence.state
    left, ms = state.eta_seconds(), state.median_ms()
    formula = ""
    if left is not None and ms is not None and state.max_steps is not None:
        steps = max(0, state.max_steps - state.step)
        plain = steps * ms / 1e3
        beside = f" × {left / plain:.3f} for evaluations, saving and samples" if plain and left / plain > 1.0005 else ""
        formula = f"({state.max_steps:,} - {state.step:,} steps) × {ms:,.1f} ms{beside} = {fmt.duration(left)}"
    return Explanation(
        id="eta", name="ETA", value=fmt.duration(None if state.is_final else left),
        meaning="Time until the last step at the newest steps' speed, with this sitting's own share of other work.",
        computation=formula, usual="It settles once the first evaluations and saves have been.",
        says="" if state.max_steps is None else "The run has ended." if state.is_final
        else f"{fmt.percent(state.step / state.max_steps)} % of the steps are done.",
        change="train.max_steps; `w` cools down and ends sooner; all that shortens ms/iter.",
    )  # fmt: skip


def _left_out(evidence: Evidence, value: float | None) -> list[str]:
    """What the clock of a step does not count, and what it would read if it did."""
    state = evidence.state
    since = {phase: spent - state.ledger_at_start.get(phase, 0.0) for phase, spent in state.ledger.items()}
    working = since.get("train", 0.0) + since.get("data", 0.0)
    if value is None or working <= 0 or is_foreign(evidence):
        return []
    beside = {word: since.get(phase, 0.0) for phase, word in BESIDE.items() if since.get(phase, 0.0) > 0}
    if not beside:
        return []
    said_of = ", ".join(f"{word} {fmt.duration(spent)}" for word, spent in beside.items())
    counted = value * (1 + sum(beside.values()) / working)
    made = [f"left out in this sitting: {said_of}; counted in, a step would read {counted:,.1f} ms on average"]
    if newest := with_evaluation(state):
        made.append(
            f"nanoGPT's clock would have shown {newest.ms:,.2f} ms at step {newest.step:,}: {newest.plain_ms:,.1f} of "
            f"a step and {newest.ms - newest.plain_ms:,.1f} of the evaluation there"
        )
    return made


def _expected_ms(evidence: Evidence) -> float | None:
    started = evidence.state.started
    if started is None or not started.peak_flops or started.device_type == "cpu" or is_foreign(evidence):
        return None
    return started.flops_per_token * started.tokens_per_step / (DEFAULT_SHARE * started.peak_flops) * 1e3


def _against(value: float | None, expected: float | None, theirs: bool) -> str | None:
    if value is None or expected is None or theirs:
        return None
    times = value / expected
    return "About as fast as is usual." if times < 1.25 else f"{times:.1f} times as long as that."


def _spread(evidence: Evidence) -> str | None:
    """How even the newest steps are."""
    recent = evidence.state.ms.y[-50:]
    if len(recent) < LEAST_STEPS or is_foreign(evidence):
        return None
    low, high = np.percentile(recent, [5, 95])
    said_of = f"Nine in ten of the newest steps took {low:,.1f} to {high:,.1f} ms"
    return f"{said_of}: " + ("steady." if high < STEADY * low else "uneven; something else wants the machine at times.")


def _usual_speed(evidence: Evidence) -> str:
    started = evidence.state.started
    if started is None or not started.peak_flops or started.device_type == "cpu" or is_foreign(evidence):
        return "What the machine does with nothing else to do: gpt-cockpit bench PROFILE."
    rate = DEFAULT_SHARE * started.peak_flops / started.flops_per_token
    return f"{fmt.number(rate)} at {_usual_share()}"


def _usual_share() -> str:
    return f"{100 * DEFAULT_SHARE:.0f} % of the peak, which a compiled 124M reaches on one GPU; a small model less."


def _waits(evidence: Evidence) -> str | None:
    last = evidence.state.last
    if last is None or not last.ms or is_foreign(evidence):
        return None
    share = last.data_ms / last.ms
    return f"{fmt.percent(share)} % of the newest step was waiting for data." if share >= 0.05 else None


def _pollution(evidence: Evidence, value: float | None) -> str | None:
    """Of nanoGPT's line: whether its time holds more than a step."""
    state, started = evidence.state, evidence.state.started
    if value is None or not is_foreign(evidence):
        return None
    last = state.mfu.last
    if started and started.peak_flops and last:
        step = started.flops_per_token * started.tokens_per_step
        alone = step / (last * started.peak_flops) * 1e3
        if value <= POLLUTED * alone:
            return None
        return (
            f"Its MFU of {fmt.percent(last, 2)} % means about {alone:,.1f} ms: {step:.3g} FLOPs / ({last:.4f} × 312 "
            f"TFLOP/s). The other {value - alone:,.0f} ms were something else{_evaluation(evidence, value, alone)}. "
            "This is no step's time."
        )
    if state.step and state.step % 100 == 0:
        return (
            f"Iteration {state.step:,} falls on many an eval_interval (nanoGPT's are 2000, 250 for Shakespeare): its "
            "time then holds a whole evaluation of both splits. Look at the iterations beside it."
        )
    return None


def _evaluation(evidence: Evidence, value: float, alone: float) -> str:
    """Whether an evaluation fell into the newest step, and what it must have taken, from the time of a step alone."""
    profile, step, started = evidence.profile, evidence.state.step, evidence.state.started
    if profile is None or started is None or not profile.train.eval_interval or step % profile.train.eval_interval:
        return ""
    batches = profile.train.eval_steps
    if not batches:
        return f", an evaluation (every {profile.train.eval_interval:,} steps)"
    took = 2 * batches / 3 / started.grad_accum_steps * alone
    if not 1 / FITTING <= took / (value - alone) <= FITTING:
        return f", and not an evaluation, which comes to {took:,.0f} ms: was it printed with these settings?"
    return (
        f", an evaluation (every {profile.train.eval_interval:,} steps): 2 × {batches:,} batches forward only, a third "
        f"of a micro-step each, come to {took:,.0f} ms"
    )
