"""Settings that change while a run goes on: which of a command's changes hold, and why the others do not."""

from __future__ import annotations

from typing import Any

from gpt.config import Profile, as_toml, fixed_reason, flatten, replace
from gpt.errors import ProfileError
from gpt.events import ConfigChanged, ConfigRefused


def apply_changes(
    profile: Profile, changes: dict[str, Any], step: int
) -> tuple[Profile, list[ConfigChanged | ConfigRefused]]:
    """The profile with those changes that can be made live, and what to say of each, in the order given.

    What cannot change live, or is no valid value, is refused key by key; the others hold all the same.

    Args:
        step: the newest whole step; a change holds from the next one on.
    """
    flat = flatten(profile)
    live = {key: new for key, new in changes.items() if key in flat and fixed_reason(key) is None}
    try:
        profile, together = replace(profile, live), True  # some hold only together: a rate and its floor
    except ProfileError:
        together = False
    said: list[ConfigChanged | ConfigRefused] = []
    for key, new in changes.items():
        old = flat.get(key)
        reason = fixed_reason(key) if key in flat else None  # replace has words for an unknown one
        if reason is None and not (together and key in live):
            try:
                profile = replace(profile, {key: new})
            except ProfileError as error:
                reason = str(error)
        about = {"step": step, "key": key, "old": as_toml(old), "new": as_toml(new)}
        said.append(ConfigRefused(**about, reason=reason) if reason else ConfigChanged(**about))
    return profile, said
