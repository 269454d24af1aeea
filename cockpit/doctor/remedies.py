"""What several rules advise, in one wording."""

from __future__ import annotations

from cockpit.doctor.diagnosis import Scalar
from gpt.config import Profile


def slower(profile: Profile | None) -> dict[str, Scalar]:
    """Half the rate, and half its floor where the profile sets one."""
    if profile is None:
        return {}
    changes: dict[str, Scalar] = {"optim.learning_rate": profile.optim.learning_rate / 2}
    if profile.optim.min_lr:
        changes["optim.min_lr"] = profile.optim.min_lr / 2
    return changes


def slower_words(profile: Profile | None) -> str:
    """The same in words, to follow `with`."""
    if profile is None:
        return "half the learning rate"
    return f"optim.learning_rate = {profile.optim.learning_rate / 2:.2g}, half of it"
