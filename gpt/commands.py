"""Commands: what to do, in the imperative. They are all that enters the engine from its pilot."""

from __future__ import annotations

from typing import Annotated

import msgspec

Scalar = bool | int | float | str | list[str] | None


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="command"):
    """Base of all commands."""


class Pause(Command, frozen=True, tag=True, kw_only=True):
    """Stand still as soon as the current micro-step is done."""


class Continue(Command, frozen=True, tag=True, kw_only=True):
    """Go on after a pause."""


class StepOnce(Command, frozen=True, tag=True, kw_only=True):
    """Take one step while paused, then stand still again."""


class Sample(Command, frozen=True, tag=True, kw_only=True):
    """Continue a prompt, `count` times. What is None comes from the profile's [sample] section, where each is said."""

    prompt: str | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None
    stop: str | None = None
    """Empty: none, whatever the profile says."""
    count: int | None = None
    max_new_tokens: int | None = None
    seed: int | None = None
    """Of the first sample; the next ones have the numbers that follow."""
    alternatives: int | None = None
    every_prompt: bool = False
    """Continue each of the profile's prompts instead, with the same seeds whenever it is asked for."""
    against: int | None = None
    """Step of an earlier checkpoint of this run, whose weights continue the same with the same seeds."""


class StopSampling(Command, frozen=True, tag=True, kw_only=True):
    """End the samples under way, and those asked for before this, as they are."""


class Save(Command, frozen=True, tag=True, kw_only=True):
    """Write a checkpoint at the next step boundary."""


class Evaluate(Command, frozen=True, tag=True, kw_only=True):
    """Estimate the losses now."""

    whole: bool = False
    """On the whole validation split, and as many windows of the training split, instead of train.eval_steps batches."""


class SetConfig(Command, frozen=True, tag=True, kw_only=True):
    """Change settings at the next step boundary; those that cannot change live are refused with the reason."""

    changes: dict[str, Scalar]
    """Dotted key to new value, e.g. `{"optim.learning_rate": 3e-4}`."""


class Cooldown(Command, frozen=True, tag=True, kw_only=True):
    """From the next step boundary on, let the rate fall to its floor, and end the run there (gpt.steering)."""

    steps: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Length of the decay; None: a fifth of the run that it ends, and no more than what is left of it."""


class Extend(Command, frozen=True, tag=True, kw_only=True):
    """From the next step boundary on, let the run be this many steps longer (gpt.steering)."""

    steps: Annotated[int, msgspec.Meta(ge=1)]


class Rewind(Command, frozen=True, tag=True, kw_only=True):
    """Go back to a checkpoint of this run, and on from there (gpt.rewind); the present is saved first.

    At the next step boundary; while the run stands still inside a step, that one is given up for it.
    """

    step: Annotated[int, msgspec.Meta(ge=0)]
    """Of the checkpoint."""
    changes: dict[str, Scalar] = {}
    """Settings to go on with; as in SetConfig."""
    as_then: bool = True
    """Before them, what has since been changed of the settings that steer training is taken back."""


class RangeTest(Command, frozen=True, tag=True, kw_only=True):
    """Try ever higher learning rates, then put the training state back as it was (gpt.rangetest).

    At the next step boundary; while the run stands still inside a step, that one is given up and later taken again.
    """

    steps: Annotated[int, msgspec.Meta(ge=10, le=1000)] = 100
    low: Annotated[float, msgspec.Meta(gt=0)] | None = None
    high: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """First and last rate; None: a hundredth and a hundred times optim.learning_rate."""


class BreakOff(Command, frozen=True, tag=True, kw_only=True):
    """Give up the range test that is under way."""


class Stop(Command, frozen=True, tag=True, kw_only=True):
    """End the run after the step under way."""

    save: bool = True


class Leave(Command, frozen=True, tag=True, kw_only=True):
    """Nobody watches any more: what would pause to ask its pilot ends instead."""


Schedulable = SetConfig | Save | Evaluate | Sample | Pause | Cooldown | Extend | Stop
"""What can wait for its step."""


class At(Command, frozen=True, tag=True, kw_only=True):
    """Do something at a step boundary: once `step` steps have been taken, their evaluations and checkpoints included.

    So a setting holds from step + 1 on. Kept over a resume (gpt.agenda); refused where that boundary has passed.
    """

    step: Annotated[int, msgspec.Meta(ge=1)]
    what: Schedulable


class StopWhen(Command, frozen=True, tag=True, kw_only=True):
    """Save and stop at the first step boundary at which one of these holds. Kept over a resume (gpt.agenda)."""

    wall: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Wall time of the run, seconds, those of its earlier sittings included: what LedgerUpdated says."""
    val_loss: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """The run's own evaluations have found a validation loss as low as this, nats/token."""


class Cancel(Command, frozen=True, tag=True, kw_only=True):
    """Take something off the agenda again."""

    item: Annotated[int, msgspec.Meta(ge=1)]
    """Its number, as CommandScheduled says it."""


AnyCommand = (
    Pause | Continue | StepOnce | Sample | StopSampling | Save | Evaluate | SetConfig | Cooldown | Extend | Stop
    | Leave | Rewind | RangeTest | BreakOff | At | StopWhen | Cancel
)  # fmt: skip
