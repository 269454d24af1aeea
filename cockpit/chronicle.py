"""What a run has done, by kind: its sittings, evaluations, checkpoints, changes, returns. Bounded, and pure.

The chart needs no more than markers; a report of the whole run needs the facts. Of very many the older half is thinned.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from gpt import events as ev

MOST = 1000
"""Kept of each kind at most."""


class Sitting(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch in which one process trained the run."""

    started: ev.RunStarted
    resumed: ev.Resumed | None = None
    """How it went on from the one before; None for the first."""
    end: float | None = None
    """Unix time at which it ended in order; None where it has not."""


class Chronicle(msgspec.Struct, frozen=True):
    """All of it, oldest first. What a resume or a rewind has undone is no longer here, the return itself is."""

    sittings: tuple[Sitting, ...] = ()
    evaluations: tuple[ev.EvalDone, ...] = ()
    saves: tuple[ev.CheckpointSaved, ...] = ()
    changes: tuple[ev.ConfigChanged, ...] = ()
    """A rewind keeps them: where it takes settings back, that is a change too."""
    returns: tuple[ev.Resumed, ...] = ()
    """Rewinds: where the run went back from, and to."""
    coming: ev.Resumed | None = None
    """A resume whose sitting has not told its facts yet."""

    def take(self, event: ev.Event) -> Chronicle:
        """The chronicle after one more event; itself where that is none of TOLD."""
        match event:
            case ev.RunStarted():
                sitting = Sitting(started=event, resumed=self.coming)
                return _with(self, sittings=_bounded((*self.sittings, sitting)), coming=None)
            case ev.EvalDone():
                return _with(self, evaluations=_bounded((*self.evaluations, event)))
            case ev.CheckpointSaved():
                return _with(self, saves=_bounded((*self.saves, event)))
            case ev.ConfigChanged():
                return _with(self, changes=_bounded((*self.changes, event)))
            case ev.Finished() | ev.Failed() if self.sittings:
                return _with(self, sittings=(*self.sittings[:-1], _with(self.sittings[-1], end=event.time)))
            case ev.Resumed():
                return self._resumed(event)
        return self

    def _resumed(self, event: ev.Resumed) -> Chronicle:
        is_rewind = event.left is not None
        return _with(
            self,
            evaluations=tuple(each for each in self.evaluations if each.step <= event.step),
            saves=tuple(each for each in self.saves if each.step <= event.step),
            changes=tuple(each for each in self.changes if is_rewind or each.step <= event.step),
            returns=_bounded((*self.returns, event)) if is_rewind else self.returns,
            coming=None if is_rewind else event,
        )


Item = TypeVar("Item")
_with = msgspec.structs.replace
TOLD = (ev.RunStarted, ev.EvalDone, ev.CheckpointSaved, ev.ConfigChanged, ev.Resumed, ev.Finished, ev.Failed)
"""The kinds of events that it takes in."""


def _bounded(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """Of more than MOST every other one of the older half goes; the first and the newest stay."""
    return items if len(items) <= MOST else (*items[: MOST // 2 : 2], *items[MOST // 2 :])
