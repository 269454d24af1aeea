"""What the screen knows of a learning-rate range test, reduced from its events."""

from __future__ import annotations

from typing import Any

import msgspec

from cockpit.series import Series
from gpt import events as ev


class RangeTestRecord(msgspec.Struct, frozen=True, eq=False):
    """The newest range test, under way or done."""

    started: ev.RangeTestStarted
    loss: Series = msgspec.field(default_factory=Series)
    """nats/token, by rate."""
    smoothed: Series = msgspec.field(default_factory=Series)
    done: ev.RangeTestDone | None = None

    @property
    def last_rate(self) -> float | None:
        """The newest rate that was tried."""
        return float(self.loss.x[-1]) if len(self.loss) else None


def started(state: Any, event: ev.RangeTestStarted) -> Any:
    """The state with a new test in place of the one before."""
    return _with(state, range_test=RangeTestRecord(event))


def point(state: Any, event: ev.RangeTestPoint) -> Any:
    """The state with one more rate tried."""
    test: RangeTestRecord | None = state.range_test
    if test is None:
        return state
    loss, smoothed = test.loss.append(event.rate, event.loss), test.smoothed.append(event.rate, event.smoothed)
    return _with(state, range_test=_with(test, loss=loss, smoothed=smoothed))


def done(state: Any, event: ev.RangeTestDone) -> Any:
    """The state with the test's outcome."""
    test: RangeTestRecord | None = state.range_test
    return _with(state, range_test=_with(test, done=event)) if test else state


def outcome(event: ev.RangeTestDone) -> str:
    """One line on how a test ended."""
    after = f"range test at step {event.step:,}, {event.points} rates in {event.seconds:.1f} s"
    if event.suggestion is None:
        return f"{after}: no suggestion, {event.rule}"
    return f"{after}: {event.suggestion:.1e} by {event.rule}"


_with = msgspec.structs.replace
