"""What a run can be called: which names will do, and those that are made for runs without one."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator

from cockpit.sanitize import shown
from gpt.errors import RunError

MAX_NAME_BYTES = 100
"""Longest name of a run; leaves room for a file beside it on every file system."""


def check_name(name: str) -> None:
    """Raises RunError where a name cannot be a folder's or would be a nuisance to type."""
    reason = None
    if not name or name != name.strip() or not name.isprintable() or "/" in name or "\\" in name:
        reason = "it must be printable, without slashes, and not begin or end with a space"
    elif name.startswith((".", "-")):
        reason = "it must not begin with a dot or a dash"
    elif len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        reason = f"it has more than {MAX_NAME_BYTES} bytes"
    if reason:
        raise RunError(f"{shown(name) or 'an empty name'} cannot be the name of a run: {reason}")


def names(profile_name: str) -> Iterator[str]:
    """Names for a run, one after the other without an end: the profile's and two words, `demo-amber-heron`."""
    stem = re.sub(r"[^\w.]+", "-", profile_name, flags=re.ASCII).strip("-.")[:40] or "run"
    words = random.SystemRandom()  # the generators that training draws from stay as they are
    for attempt in itertools.count():
        number = f"-{attempt}" if attempt > 20 else ""
        yield f"{stem}-{words.choice(_COLOURS)}-{words.choice(_ANIMALS)}{number}"


_COLOURS = (
    "amber", "ash", "azure", "beige", "black", "blue", "brass", "bronze", "brown", "cobalt", "copper", "coral", "cream",
    "crimson", "cyan", "ebony", "golden", "green", "grey", "hazel", "indigo", "ivory", "jade", "lilac", "lime", "mauve",
    "ochre", "olive", "orange", "pearl", "pink", "plum", "purple", "red", "ruby", "rust", "sable", "sand", "scarlet",
    "sepia", "silver", "slate", "teal", "umber", "violet", "white", "yellow",
)  # fmt: skip
_ANIMALS = (
    "badger", "bat", "bear", "beaver", "bison", "buzzard", "crane", "crow", "curlew", "deer", "dove", "eagle",
    "egret", "elk", "falcon", "finch", "fox", "gannet", "goose", "gull", "hare", "hawk", "heron", "horse",
    "ibis", "jay", "kestrel", "kite", "lark", "lynx", "marten", "merlin", "mole", "moth", "newt", "osprey",
    "otter", "owl", "petrel", "pike", "plover", "puffin", "raven", "robin", "salmon", "seal", "shrike",
    "snipe", "sparrow", "stoat", "stork", "swan", "swift", "tern", "thrush", "toad", "trout", "vole",
    "weasel", "wren",
)  # fmt: skip
