"""What a run is to do later, at a step or when something holds: kept in its checkpoints, done at that very boundary.

Pure bookkeeping: the trainer asks at each step boundary what is due, and does it. No torch.
"""

from __future__ import annotations

from typing import Any

import msgspec

from gpt.commands import At, Cooldown, Evaluate, Extend, Pause, Sample, Save, Schedulable, SetConfig, Stop, StopWhen
from gpt.config import as_toml
from gpt.events import CommandScheduled, CommandUnscheduled


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that waits."""

    number: int
    """Within the run, from 1; none is given twice."""
    since: int
    """Step at which it came here."""
    waits: At | StopWhen

    @property
    def command(self) -> Schedulable:
        """What is to be done when it is due."""
        return self.waits.what if isinstance(self.waits, At) else Stop(save=True)

    def scheduled(self) -> CommandScheduled:
        """What there is to say of it."""
        at = self.waits.step if isinstance(self.waits, At) else None
        return CommandScheduled(
            item=self.number, step=self.since, what=in_words(self.command), when=condition(self.waits), at_step=at
        )


class Agenda:
    """The items that wait, in the order they came in."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._newest = 0

    def add(self, waits: At | StopWhen, step: int) -> CommandScheduled | CommandUnscheduled:
        """Takes something in at a step; refuses what could never be due, and says which of the two."""
        self._newest += 1
        item = Item(number=self._newest, since=step, waits=waits)
        if reason := _hopeless(waits, step):
            what = in_words(item.command)
            return CommandUnscheduled(item=item.number, step=step, why="refused", what=what, reason=reason)
        self.items.append(item)
        return item.scheduled()

    def cancel(self, number: int, step: int) -> CommandUnscheduled:
        """Takes an item off; refused where it is not, or no longer, there."""
        item = next((item for item in self.items if item.number == number), None)
        if item is None:
            return CommandUnscheduled(item=number, step=step, why="refused", reason=f"nothing has the number {number}")
        self.items.remove(item)
        return CommandUnscheduled(item=number, step=step, why="cancelled", what=in_words(item.command))

    @property
    def watches_run(self) -> bool:
        """Whether something waits for a time or a loss, on which several ranks have to agree."""
        return any(isinstance(item.waits, StopWhen) for item in self.items)

    def due(self, step: int, *, wall: float, val_loss: float | None) -> list[Item]:
        """What is to be done at this boundary, oldest first. It stays on until `done`.

        Args:
            wall: seconds that the run has taken.
            val_loss: the newest of the run's own evaluations, nats/token; None before the first.
        """
        return [item for item in self.items if _is_due(item.waits, step, wall, val_loss)]

    def done(self, item: Item, step: int) -> CommandUnscheduled:
        """Takes off what is being done."""
        self.items.remove(item)
        return CommandUnscheduled(item=item.number, step=step, why="due", what=in_words(item.command))

    def facts(self) -> dict[str, Any]:
        """JSON values for state.json."""
        return {"agenda": {"newest": self._newest, "items": msgspec.to_builtins(self.items)}}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over what a checkpoint's state.json says; one older than the agenda has an empty one."""
        facts = state.get("agenda", {"newest": 0, "items": []})
        self._newest, self.items = facts["newest"], msgspec.convert(facts["items"], list[Item])


def _is_due(waits: At | StopWhen, step: int, wall: float, val_loss: float | None) -> bool:
    if isinstance(waits, At):
        return step >= waits.step
    if waits.wall is not None and wall >= waits.wall:
        return True
    return waits.val_loss is not None and val_loss is not None and val_loss <= waits.val_loss


def _hopeless(waits: At | StopWhen, step: int) -> str:
    """Why it will never be due, or is so already and so hardly meant; empty where it can wait."""
    if isinstance(waits, At):
        return f"step {waits.step:,} has passed" if waits.step <= step else ""
    if waits.wall is None and waits.val_loss is None:
        return "it names nothing to wait for"
    return ""


def condition(waits: At | StopWhen) -> str:
    """When it is due, in words."""
    if isinstance(waits, At):
        return f"at step {waits.step:,}"
    parts = [f"the run has taken {_time(waits.wall)}"] if waits.wall is not None else []
    parts += [f"val_loss ≤ {waits.val_loss:g}"] if waits.val_loss is not None else []
    return f"when {' or '.join(parts)}"


def _time(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours} h {minutes:02} m" if hours else f"{minutes} m {whole % 60:02} s"


def in_words(command: Schedulable) -> str:
    """What a command does, on one line."""
    match command:
        case SetConfig():
            return "set " + ", ".join(f"{key} = {as_toml(value)}" for key, value in command.changes.items())
        case Save():
            return "save"
        case Evaluate():
            return "evaluate all" if command.whole else "evaluate"
        case Sample():
            return "sample" if command.prompt is None else f"sample {as_toml(command.prompt)}"
        case Pause():
            return "pause"
        case Cooldown():
            return "cool down" if command.steps is None else f"cool down over {command.steps:,} steps"
        case Extend():
            return f"extend by {command.steps:,} steps"
        case Stop():
            return "save and stop" if command.save else "stop without saving"
