"""What a pilot is told of an event when it happens, in one line above the keys."""

from __future__ import annotations

from cockpit import format as fmt
from cockpit.reducer import pilot_text, spike_text
from cockpit.rollbook import restart_text
from cockpit.state import Past
from cockpit.stretch import Stretch
from gpt import events as ev


def announcement(event: ev.Event | Stretch | Past, *, has_controls: bool) -> tuple[str, str] | None:
    """The line, and its level: `info`, `warning` or `error`; None where nothing is said of such an event.

    Args:
        has_controls: whether it is this screen's pilot who steers the run.
    """
    match event:
        case ev.ConfigChanged():
            return f"{event.key} is {event.new} from step {event.step + 1:,} on", "info"
        case ev.ConfigRefused():
            return f"{event.key} stays {event.old}: {event.reason}", "warning"
        case ev.CommandScheduled():
            return f"{event.when}: {event.what}", "info"
        case ev.CommandUnscheduled(why="refused"):
            return f"not scheduled: {event.reason}", "warning"
        case ev.CommandUnscheduled(why="cancelled"):
            return f"cancelled: {event.what}", "info"
        case ev.CheckpointSaved(reason="asked"):
            return f"saved {event.path} in {fmt.saving_time(event.seconds, event.stall_s)}", "info"
        case ev.RanksRestarted():
            return restart_text(event), "warning"
        case ev.SpikeDetected():
            return spike_text(event), "warning"
        case ev.EvalDone():
            whole = f" on all {event.val_tokens:,} tokens" if event.whole and event.val_tokens else ""
            losses = f"train {fmt.loss(event.train_loss)}, val {fmt.loss(event.val_loss)}"
            return f"step {event.step:,}: {losses}{whole}", "info"
        case ev.PilotChanged():
            return "you have the controls" if has_controls else pilot_text(event), "info"
        case ev.LogLine() if event.level != "info" or (event.source == "link" and has_controls):
            return event.text, event.level
    return None
