"""One pure function, state and event to state: the only way in which a screen comes to know anything of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np

from cockpit import checkup, meters, rangetest
from cockpit.abandoned import left_behind
from cockpit.chronicle import TOLD
from cockpit.format import duration, saving_time
from cockpit.pilotage import steered
from cockpit.rollbook import restart_text
from cockpit.smoothing import DECAYS, USUAL, smoothed
from cockpit.state import FINAL_STATES, LogRecord, Marker, Past, RunState, SampleRecord
from cockpit.stretch import Stretch, packed
from gpt import events as ev
from gpt.events import Event
from gpt.guard import describe

LOG_LINES = 1000
SAMPLES = 50
SMOOTHING = DECAYS[USUAL]
"""Decay of the smoothed loss (an exponential mean) per step, once the run is long enough."""


def reduce(state: RunState, event: Event | Stretch | Past) -> RunState:
    """The state after one more event, a stretch of them, or the whole past at once. Pure: `state` stays as it was;
    unknown events change only the clock."""
    if isinstance(event, Past):
        return event.state
    step = _REDUCERS.get(type(event))
    first = event.first_time if isinstance(event, Stretch) else event.time
    pilotage = state.pilotage if isinstance(event, Stretch) else steered(state.pilotage, event)
    state = _with(state, first_time=state.first_time or first, last_time=event.time, pilotage=pilotage)
    if isinstance(event, _ABOUT_SAMPLES):
        state = _with(state, gallery=state.gallery.take(event))
    if isinstance(event, TOLD):
        state = _with(state, chronicle=state.chronicle.take(event))
    return step(state, event) if step else state


def reduce_all(state: RunState, events: Iterable[Event | Stretch | Past]) -> RunState:
    """The state after many events, in order; the same as by `reduce` one by one, only sooner."""
    for event in packed(events):
        state = reduce(state, event)
    return state


_with = msgspec.structs.replace
_ABOUT_SAMPLES = (ev.SampleStarted, ev.SampleDone, ev.SampleScored, ev.Resumed)


def _run_started(state: RunState, event: ev.RunStarted) -> RunState:
    return _with(
        state, started=event, max_steps=event.max_steps, step=event.step, start_step=event.step,
        finished=None, failed=None, stalled=None, stands_still=False,
        tokens=state.tokens if event.step == state.step else event.step * event.tokens_per_step,
        pilot=state.pilot if state.pilot and state.pilot.pid == event.pid else None,
        meters=meters.sat_down(state.meters, event.time), ranks=state.ranks.sat_down(event),
    )  # fmt: skip


def _resumed(state: RunState, event: ev.Resumed) -> RunState:
    """Drops what an earlier session logged after the checkpoint: those steps are taken anew."""
    step = event.step
    val_loss = state.val_loss.until(step)
    finite = np.isfinite(val_loss.y)
    best = int(np.argmin(np.where(finite, val_loss.y, np.inf))) if finite.any() else None
    text = f"resumed at step {step:,}" if event.left is None else f"rewound from step {event.left:,} to step {step:,}"
    text += "" if event.exact else f" (continued, not exact: {event.why})"
    abandoned = left_behind(state.abandoned, state.loss, state.val_loss, step)
    state = _with(
        state, resumed=event, step=step, start_step=step, state="starting", detail="", finished=None, failed=None,
        abandoned=abandoned, last=None, loss=state.loss.until(step), smoothed_loss=state.smoothed_loss.until(step),
        train_eval_loss=state.train_eval_loss.until(step), val_loss=val_loss, lr=state.lr.until(step),
        grad_norm=state.grad_norm.until(step), ms=state.ms.until(step), mfu=state.mfu.until(step),
        tokens_per_s=state.tokens_per_s.until(step), meters=state.meters.until(step),
        spike=state.spike if state.spike and state.spike.step <= step else None, spikes=state.spikes.until(step),
        noise=state.noise if state.noise and state.noise.step <= step else None,
        noise_tokens=state.noise_tokens.until(step),
        best_val_loss=None if best is None else float(val_loss.y[best]),
        best_step=None if best is None else int(val_loss.x[best]),
        evaluation=state.evaluation if state.evaluation and state.evaluation.step <= step else None,
        checkpoint=state.checkpoint if state.checkpoint and state.checkpoint.step <= step else None,
        samples=tuple(s for s in state.samples if s.step <= step),
        markers=tuple(m for m in state.markers if m.step <= step), checkup=state.checkup.until(step),
    )  # fmt: skip
    return _log(_mark(state, step, "resume" if event.left is None else "rewind", text), event, text)


def _state_changed(state: RunState, event: ev.StateChanged) -> RunState:
    still = state.stands_still and event.state not in FINAL_STATES
    return _with(state, state=event.state, detail=event.detail, stands_still=still)


def _step_done(state: RunState, event: ev.StepDone) -> RunState:
    if event.step == state.start_step + 1:
        state = _with(state, ledger_at_start=state.ledger)
    return _with(
        state, last=event, step=event.step, tokens=event.tokens,
        loss=state.loss.append(event.step, event.loss),
        smoothed_loss=state.smoothed_loss.append(event.step, _smooth(state, event)),
        lr=state.lr.append(event.step, event.lr), grad_norm=state.grad_norm.append(event.step, event.grad_norm),
        ms=state.ms.append(event.step, event.ms), mfu=state.mfu.append(event.step, event.mfu),
        tokens_per_s=state.tokens_per_s.append(event.step, event.tokens_per_s),
        meters=meters.step_done(state.meters, event),
    )  # fmt: skip


def _stretch_done(state: RunState, stretch: Stretch) -> RunState:
    """What its events do one by one, at once."""
    steps, losses, lr, grad_norm, ms, mfu, tokens_per_s = stretch.columns[:7]
    ledger, ledger_time, wall, at_start = state.ledger, state.ledger_time, state.wall, state.ledger_at_start
    memory, telemetry, cpu_load, clock, ranks = state.memory, state.telemetry, [], [], state.ranks
    firsts = np.flatnonzero(steps == state.start_step + 1).tolist()
    for before, event in stretch.beside:
        while firsts and firsts[0] < before:
            firsts, at_start = firsts[1:], ledger
        if isinstance(event, ev.LedgerUpdated):
            ledger, ledger_time, wall = event.seconds, event.time, event.wall
            clock.append(event.seconds)
        elif isinstance(event, ev.MemorySampled):
            memory = event
        elif isinstance(event, ev.RanksTimed):
            ranks = ranks.take(event)
        else:
            telemetry = event
            cpu_load.append((event.time, event.cpu_percent))
    smooth = smoothed(losses.tolist(), state.smoothed_loss.last, len(state.smoothed_loss), SMOOTHING)
    return _with(
        state, last=stretch.last, step=stretch.last.step,
        tokens=stretch.last.tokens, loss=state.loss.extend(steps, losses),
        smoothed_loss=state.smoothed_loss.extend(steps, smooth),
        lr=state.lr.extend(steps, lr), grad_norm=state.grad_norm.extend(steps, grad_norm),
        ms=state.ms.extend(steps, ms), mfu=state.mfu.extend(steps, mfu),
        tokens_per_s=state.tokens_per_s.extend(steps, tokens_per_s),
        meters=meters.stretch_done(state.meters, stretch, state.step),
        ledger=ledger, ledger_time=ledger_time, wall=wall, ledger_at_start=ledger if firsts else at_start,
        memory=memory, telemetry=telemetry, timeline=state.timeline.take(*clock), ranks=ranks,
        cpu_load=state.cpu_load.extend([at for at, _ in cpu_load], [load for _, load in cpu_load]),
    )  # fmt: skip


def _smooth(state: RunState, event: ev.StepDone) -> float:
    return smoothed([event.loss], state.smoothed_loss.last, len(state.smoothed_loss), SMOOTHING)[0]


def _spike_detected(state: RunState, event: ev.SpikeDetected) -> RunState:
    text = spike_text(event)
    state = _with(state, spike=event, spikes=state.spikes.append(event.step, event.z))
    return _log(_mark(state, event.step, "spike", text), event, text, "warning")


def spike_text(event: ev.SpikeDetected) -> str:
    """One line on a faulty step: what was wrong, what was done, and what follows."""
    follows = {"rewind": "; going back to the last good checkpoint", "pause": "; the run needs a decision"}
    return f"step {event.step:,}: {describe(event)}{follows.get(event.action, '')}"


def _noise_scale_estimated(state: RunState, event: ev.NoiseScaleEstimated) -> RunState:
    return _with(state, noise=event, noise_tokens=state.noise_tokens.append(event.step, event.tokens))


def _eval_done(state: RunState, event: ev.EvalDone) -> RunState:
    changes: dict[str, Any] = {"evaluation": event}
    if not event.aside:
        changes |= {
            "train_eval_loss": state.train_eval_loss.append(event.step, event.train_loss),
            "val_loss": state.val_loss.append(event.step, event.val_loss),
        }
    if event.best:
        changes |= {"best_val_loss": event.val_loss, "best_step": event.step}
    whole = f" on all {event.val_tokens:,} tokens" if event.whole and event.val_tokens else ""
    losses = f"train {_loss(event.train_loss)}, val {_loss(event.val_loss)}{whole}"
    text = f"step {event.step:,}: {losses}, {event.seconds:.1f} s"
    return _log(_mark(_with(state, **changes), event.step, "evaluate", text), event, text)


def _checkpoint_saved(state: RunState, event: ev.CheckpointSaved) -> RunState:
    time = saving_time(event.seconds, event.stall_s)
    text = f"saved {event.path.rsplit('/', 1)[-1]} ({event.size / 1e6:,.1f} MB in {time}, {event.reason})"
    state = _with(state, checkpoint=event, checkpoint_error=None)
    return _log(_mark(state, event.step, "best" if event.best else "checkpoint", text), event, text)


def _checkpoint_failed(state: RunState, event: ev.CheckpointFailed) -> RunState:
    text = f"checkpoint at step {event.step:,} failed: {event.error}"
    return _log(_with(state, checkpoint_error=event), event, text, "error")


def _sample_started(state: RunState, event: ev.SampleStarted) -> RunState:
    record = SampleRecord(event.sample, event.step, event.prompt, beside=event.beside)
    others = tuple(s for s in state.samples if s.number != event.sample)  # drawn anew after a resume
    state = _with(state, samples=(*others, record)[-SAMPLES:])
    return _mark(state, event.step, "sample", f"sample {event.sample}")


def _sample_text(state: RunState, event: ev.SampleText) -> RunState:
    return _with(state, samples=tuple(
        _with(sample, text=sample.text + event.text) if sample.number == event.sample else sample
        for sample in state.samples
    ))  # fmt: skip


def _sample_done(state: RunState, event: ev.SampleDone) -> RunState:
    beside = next((s.beside for s in state.samples if s.number == event.sample), None)
    record = SampleRecord(event.sample, event.step, event.prompt, event.text, True, beside)
    if all(sample.number != event.sample for sample in state.samples):  # its beginning is long forgotten
        return _with(state, samples=(*state.samples, record)[-SAMPLES:])
    return _with(state, samples=tuple(record if s.number == event.sample else s for s in state.samples))


def _range_test_done(state: RunState, event: ev.RangeTestDone) -> RunState:
    return _log(rangetest.done(state, event), event, rangetest.outcome(event))


def _paused(state: RunState, event: ev.Paused) -> RunState:
    state = _with(_mark(state, event.step, "pause", "paused"), stands_still=True)
    return _log(state, event, f"paused at step {event.step:,}")


def _continued(state: RunState, event: ev.Continued) -> RunState:
    return _log(_with(state, stands_still=False), event, f"continued at step {event.step:,}")


def _config_changed(state: RunState, event: ev.ConfigChanged) -> RunState:
    text = f"{event.key}: {event.old} → {event.new} from step {event.step + 1:,}"
    if event.key == "train.max_steps":
        state = _with(state, max_steps=int(event.new))
    return _log(_mark(state, event.step, "config", text), event, text)


def _config_refused(state: RunState, event: ev.ConfigRefused) -> RunState:
    text = f"{event.key}: {event.old} → {event.new} refused: {event.reason}"
    return _log(_mark(state, event.step, "refused", text), event, text, "warning")


def _scheduled(state: RunState, event: ev.CommandScheduled) -> RunState:
    return _log(state, event, f"scheduled {event.when}: {event.what} (number {event.item})")


def _unscheduled(state: RunState, event: ev.CommandUnscheduled) -> RunState:
    if event.why == "refused":
        return _log(state, event, f"not scheduled: {event.what or 'cancel'}: {event.reason}", "warning")
    return _log(state, event, f"{event.why} at step {event.step:,}: {event.what} (number {event.item})")


def _pilot_changed(state: RunState, event: ev.PilotChanged) -> RunState:
    return _log(_with(state, pilot=event), event, pilot_text(event), source="link")


def pilot_text(event: ev.PilotChanged) -> str:
    """Who has the controls, in a line."""
    return f"{event.pilot} has the controls" if event.seat is not None else "nobody has the controls"


def _diagnosis_made(state: RunState, event: ev.DiagnosisMade) -> RunState:
    is_news = checkup.is_news(state.checkup, event)
    state = _with(state, checkup=checkup.made(state.checkup, event))
    if not is_news:
        return state
    if event.severity != "note":
        state = _mark(_with(state, markers=checkup.with_room(state.markers)), event.step, checkup.MARK, event.title)
    return _log(state, event, f"doctor: {event.title}", checkup.LEVELS.get(event.severity, "info"))


def _diagnosis_ended(state: RunState, event: ev.DiagnosisEnded) -> RunState:
    finding = state.checkup.of(event.rule)
    what = f": {finding.title}" if finding else ""
    state = _with(state, checkup=checkup.ended(state.checkup, event))
    return _log(state, event, f"doctor: {event.rule} no longer stands{what}")


def _ledger_updated(state: RunState, event: ev.LedgerUpdated) -> RunState:
    return _with(
        state, ledger=event.seconds, wall=event.wall, ledger_time=event.time,
        timeline=state.timeline.take(event.seconds), meters=meters.ledger_updated(state.meters, event),
    )  # fmt: skip


def _memory_sampled(state: RunState, event: ev.MemorySampled) -> RunState:
    return _with(state, memory=event, meters=meters.memory_sampled(state.meters, event, state.step))


def _state_measured(state: RunState, event: ev.StateMeasured) -> RunState:
    return _with(state, measured=event)


def _telemetry_sampled(state: RunState, event: ev.TelemetrySampled) -> RunState:
    return _with(
        state, telemetry=event, cpu_load=state.cpu_load.append(event.time, event.cpu_percent),
        meters=meters.telemetry_sampled(state.meters, event, state.step),
    )  # fmt: skip


def _ranks_timed(state: RunState, event: ev.RanksTimed) -> RunState:
    return _with(state, ranks=state.ranks.take(event))


def _ranks_restarted(state: RunState, event: ev.RanksRestarted) -> RunState:
    text = restart_text(event)
    state = _with(state, ranks=state.ranks.restarted(event), state="starting", failed=None, stands_still=False)
    return _log(_mark(state, event.step, "resume", text), event, text, "warning")


def _stalled(state: RunState, event: ev.Stalled) -> RunState:
    return _log(_with(state, stalled=event), event, stall_text(event), "warning")


def stall_text(event: ev.Stalled) -> str:
    """One line on a run that has given no sign of life, and where to look for the reason."""
    silent = f"no sign of life for {duration(event.seconds)} in phase {event.phase}, after step {event.step:,}"
    return f"{silent}; the stacks of all threads are in console.log"


def _stall_ended(state: RunState, event: ev.StallEnded) -> RunState:
    text = f"it moves again, in phase {event.phase}, after {duration(event.seconds)} without a sign of life"
    return _log(_with(state, stalled=None), event, text)


def _log_line(state: RunState, event: ev.LogLine) -> RunState:
    return _log(state, event, event.text, event.level, event.source)


def _finished(state: RunState, event: ev.Finished) -> RunState:
    words = {"max_steps": "all steps done", "stopped": "stopped and saved", "discarded": "stopped without saving"}
    text = f"{words.get(event.reason, event.reason)} at step {event.step:,}"
    return _log(_with(state, finished=event), event, text)


def _failed(state: RunState, event: ev.Failed) -> RunState:
    return _log(_with(state, failed=event), event, f"failed in {event.phase}: {event.error}", "error")


def _mark(state: RunState, step: int, kind: str, text: str) -> RunState:
    return _with(state, markers=(*state.markers, Marker(step, kind, text)))


def _log(state: RunState, event: Event, text: str, level: str = "info", source: str = "trainer") -> RunState:
    return _with(state, log=(*state.log, LogRecord(event.time, level, text, source))[-LOG_LINES:])


def _loss(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


_REDUCERS: dict[type, Callable[[RunState, Any], RunState]] = {
    Stretch: _stretch_done,
    ev.RunStarted: _run_started, ev.Resumed: _resumed, ev.StateChanged: _state_changed, ev.StepDone: _step_done,
    ev.SpikeDetected: _spike_detected, ev.NoiseScaleEstimated: _noise_scale_estimated,
    ev.EvalDone: _eval_done, ev.CheckpointSaved: _checkpoint_saved, ev.CheckpointFailed: _checkpoint_failed,
    ev.SampleStarted: _sample_started, ev.SampleText: _sample_text, ev.SampleDone: _sample_done,
    ev.RangeTestStarted: rangetest.started, ev.RangeTestPoint: rangetest.point, ev.RangeTestDone: _range_test_done,
    ev.Paused: _paused, ev.Continued: _continued, ev.ConfigChanged: _config_changed,
    ev.ConfigRefused: _config_refused, ev.CommandScheduled: _scheduled, ev.CommandUnscheduled: _unscheduled,
    ev.PilotChanged: _pilot_changed, ev.DiagnosisMade: _diagnosis_made, ev.DiagnosisEnded: _diagnosis_ended,
    ev.LedgerUpdated: _ledger_updated, ev.MemorySampled: _memory_sampled, ev.StateMeasured: _state_measured,
    ev.TelemetrySampled: _telemetry_sampled, ev.RanksTimed: _ranks_timed, ev.RanksRestarted: _ranks_restarted,
    ev.Stalled: _stalled, ev.StallEnded: _stall_ended,
    ev.LogLine: _log_line, ev.Finished: _finished, ev.Failed: _failed,
}  # fmt: skip
