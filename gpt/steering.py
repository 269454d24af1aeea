"""Ending a run sooner, or later, as changes of its ordinary settings. Pure, so that a screen can foretell the effect.

Neither makes the rate jump: at the step at which it is asked for, the rate stays what it is.
"""

from __future__ import annotations

from typing import Any

from gpt.config import Profile, flatten
from gpt.live import LIVE_KEYS
from gpt.schedule import COOLDOWN_SHARE, decay_span, floor_of, learning_rate


def default_cooldown(profile: Profile, step: int) -> int:
    """Steps of a decay that begins at `step`, where its pilot does not say.

    `optim.cooldown_steps`, or else a fifth of the run that it ends, as if it had been planned so; in both cases no more
    than what is left of the run.
    """
    share = round(step * COOLDOWN_SHARE / (1 - COOLDOWN_SHARE))
    return max(1, min(profile.optim.cooldown_steps or share, profile.train.max_steps - step))


def cooldown_changes(profile: Profile, step: int, steps: int | None = None) -> dict[str, Any]:
    """The settings that let the rate fall from what it is after `step` steps to its floor, and end the run there.

    From any schedule, for all become `wsd` in its decay. Where the rate has fallen already, only the end moves.

    Args:
        steps: length of the decay, from 1; None: `default_cooldown`.
    """
    optim, last = profile.optim, profile.train.max_steps
    steps = default_cooldown(profile, step) if steps is None else steps
    wanted: dict[str, Any] = {}
    if not (optim.schedule != "constant" and step >= decay_span(optim, last)[1]):
        rate = learning_rate(step, optim, last)
        wanted |= {
            "optim.schedule": "wsd", "optim.learning_rate": rate, "optim.min_lr": min(floor_of(optim), rate),
            "optim.warmup_steps": min(optim.warmup_steps, step), "optim.decay_steps": None,
            "optim.cooldown_steps": steps,
        }  # fmt: skip
    return _differing(profile, wanted | {"train.max_steps": step + steps})


def extension_changes(profile: Profile, step: int, steps: int) -> dict[str, Any]:
    """The settings that let the run end `steps` later.

    Before the decay has begun, it moves with the end: what grows is the stable part of `wsd`, or the whole curve of a
    cosine that is still warming up. Once it has begun it ends where it would have, for a longer one would raise the
    rate, and the added steps are taken at the floor.
    """
    optim, last = profile.optim, profile.train.max_steps
    wanted: dict[str, Any] = {}
    if decay_has_begun(profile, step):
        wanted["optim.decay_steps"] = optim.decay_steps or last
    elif optim.decay_steps is not None:
        wanted["optim.decay_steps"] = optim.decay_steps + steps
    return _differing(profile, wanted | {"train.max_steps": last + steps})


def rate_changes(profile: Profile, factor: float) -> dict[str, Any]:
    """The settings that multiply the learning rate, and its floor where one is set, from warm-up to the end."""
    rates = {"optim.learning_rate": profile.optim.learning_rate, "optim.min_lr": profile.optim.min_lr}
    # To twelve digits, so that 3 times 0.0001 reads 0.0003.
    return {key: float(f"{rate * factor:.12g}") for key, rate in rates.items() if rate is not None}


def settings_then(now: Profile, then: Profile, step: int) -> dict[str, Any]:
    """The changes that give a run the settings which steer training back as they were at a checkpoint of `step`.

    What was changed on a way that is abandoned was changed there: going back takes it back. What cannot change while a
    run goes on, and what changes no weight, stays as it is now; so does the run's end where it ended at that step then.
    """
    wanted = {key: value for key, value in flatten(then).items() if key in LIVE_KEYS and key.startswith(_STEERING)}
    if then.train.max_steps <= step:
        del wanted["train.max_steps"]
    return _differing(now, wanted)


_STEERING = ("optim.", "guard.", "train.max_steps")


def decay_has_begun(profile: Profile, step: int) -> bool:
    """Whether the rate after `step` steps is on its way down, or has arrived."""
    begin, _ = decay_span(profile.optim, profile.train.max_steps)
    return profile.optim.schedule != "constant" and step > begin


def _differing(profile: Profile, wanted: dict[str, Any]) -> dict[str, Any]:
    now = flatten(profile)
    return {key: value for key, value in wanted.items() if now[key] != value}
