"""What a pilot types to have something done later, as commands: `at 5000 set lr=3e-4`, `stop in 2 h`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import tomli

from cockpit.sanitize import shown
from gpt.agenda import condition, in_words
from gpt.commands import (
    At,
    Cancel,
    Cooldown,
    Evaluate,
    Extend,
    Pause,
    Sample,
    Save,
    Schedulable,
    SetConfig,
    Stop,
    StopWhen,
)
from gpt.config import Profile, flatten, replace
from gpt.errors import ProfileError
from gpt.events import CommandScheduled
from gpt.live import fixed_reason
from gpt.strict import ALIASES, nearest, unknown

EXAMPLES = (
    "at 5000 set optim.learning_rate=3e-4", "at +200 save", "at 8k cool down 500", "stop at 10000", "stop in 2h 30m",
    "stop when val < 3.28", "cancel 1",
)  # fmt: skip
"""What can be typed, in the order in which it is told."""

_VERBS = "set, save, evaluate, sample, pause, cool down, extend or stop"
_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_STEP = re.compile(r"(\+?)\s*([\d][\d,._]*)\s*([kKmM]?)$")
_NAME = re.compile(r"(?<=[\s,])[\w.]+\s*=")
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)")


class Order(NamedTuple):
    """What was typed, understood."""

    command: At | StopWhen | Cancel
    words: str
    """The same in full: `at step 5,000: save`."""


def parse(text: str, profile: Profile, *, step: int, wall: float, agenda: Iterable[CommandScheduled] = ()) -> Order:
    """Understands one line.

    Args:
        profile: the settings in force; those that are set are checked against them.
        step, wall: how far the run is, in steps and in seconds.
        agenda: what waits already, and can be cancelled.

    Raises ProfileError, one line, for what cannot be understood or could never be done.
    """
    words = text.strip()
    head, _, rest = words.partition(" ")
    if head == "stop":
        return _told(_stop(rest.strip(), step, wall))
    if head == "at":
        first, _, rest = rest.strip().removeprefix("step ").strip().partition(" ")
        return _told(At(step=step_of(first, step), what=_command(rest.strip(), profile)))
    if head == "cancel":
        return _cancel(rest.strip(), {str(item.item): item for item in agenda})
    raise ProfileError(f"begin with `at STEP`, `stop` or `cancel`; got {shown(words) or 'nothing'}")


def value_of(text: str) -> Any:
    """A setting as somebody types it: TOML, `unset` for None, or a bare word, which is a string."""
    text = text.strip()
    if text == "unset":
        return None
    try:
        parsed = tomli.loads(f"value = {text}")
        if parsed.keys() == {"value"}:
            return parsed["value"]
    except (ValueError, RecursionError):
        pass
    return text


def _told(command: At | StopWhen) -> Order:
    what = in_words(command.what if isinstance(command, At) else Stop())
    return Order(command, f"{condition(command)}: {what}")


def _cancel(number: str, waiting: Mapping[str, CommandScheduled]) -> Order:
    if number not in waiting:
        raise ProfileError(f"say which: `cancel` and one of {', '.join(waiting)}" if waiting else "nothing waits")
    item = waiting[number]
    return Order(Cancel(item=item.item), f"not any more {item.when}: {item.what}")


def _stop(rest: str, step: int, wall: float) -> At | StopWhen:
    head, _, tail = rest.partition(" ")
    tail = tail.strip()
    if head == "at":
        return At(step=step_of(tail.removeprefix("step").strip(), step), what=Stop())
    if head == "in":
        return StopWhen(wall=round(wall + _seconds(tail)))
    if head == "when":
        match = re.fullmatch(r"(?:val(?:_loss| loss)?|loss)\s*(?:<=|<|≤|below|is|=)?\s*(\S+)", tail)
        try:
            return StopWhen(val_loss=float(match[1] if match else ""))
        except ValueError:
            raise ProfileError(f"say which loss: `stop when val < 3.28`; got {shown(tail) or 'nothing'}") from None
    raise ProfileError("say when: `stop at STEP`, `stop in 2h 30m` or `stop when val < 3.28`")


def step_of(word: str, now: int) -> int:
    """A step: `5000`, `5,000`, `5k`, or `+200` from now. Raises where it is none, or not to come."""
    match = _STEP.match(word)
    try:
        number = float(re.sub("[,_]", "", match[2])) * {"": 1, "k": 1e3, "m": 1e6}[match[3].lower()] if match else 0.5
    except ValueError:
        number = 0.5
    if number != int(number) or number > 10**12:
        raise ProfileError(f"a step is a whole number, like 5000, 5k or +200; got {shown(word) or 'nothing'}")
    step = int(number) + (now if match and match[1] else 0)
    if step <= now:
        raise ProfileError(f"step {step:,} has passed: the run is at {now:,}")
    return step


def _seconds(text: str) -> float:
    """A length of time: `2h 30m`, `90 s`."""
    total, at = 0.0, 0
    while at < len(text) and (match := _PART.match(text, at)):
        unit = _UNITS.get(match[2])
        if unit is None:
            break
        total, at = total + float(match[1]) * unit, match.end()
    if not total or at < len(text):
        raise ProfileError(f"a time is like 90s, 30m, 2h 30m or 1d; got {shown(text) or 'nothing'}")
    return total


def _command(text: str, profile: Profile) -> Schedulable:
    verb, _, rest = text.partition(" ")
    rest = rest.strip()
    match verb:
        case "set" if rest:
            return SetConfig(changes=_changes(rest, profile))
        case "set":
            raise ProfileError("say what to set: `set optim.learning_rate=3e-4`")
        case "evaluate" if rest in ("", "all"):
            return Evaluate(whole=rest == "all")
        case "cool" if rest.partition(" ")[0] == "down":
            return Cooldown(steps=_count(rest.partition(" ")[2]))
        case "cooldown":
            return Cooldown(steps=_count(rest))
        case "extend" if steps := _count(rest.removeprefix("by ")):
            return Extend(steps=steps)
    plain = {"save": Save(), "sample": Sample(), "pause": Pause(), "stop": Stop()}
    if verb in plain and not rest:
        return plain[verb]
    raise ProfileError(f"say what to do: {_VERBS}; got {shown(text) or 'nothing'}")


def _count(text: str) -> int | None:
    """A number of steps; None where none is said."""
    text = re.sub(r"\s*steps?$|[,_]", "", text.strip())
    if not text:
        return None
    if not text.isdecimal() or not int(text):
        raise ProfileError(f"a number of steps is whole, 1 at least; got {shown(text)}")
    return int(text)


def _changes(text: str, profile: Profile) -> dict[str, Any]:
    """The settings of `key=value, key=value`, each known, changeable and valid with the others."""
    known = flatten(profile)
    changes: dict[str, Any] = {}
    for name, value in _pairs(text):
        key = _key(name, known)
        if value == "":
            raise ProfileError(f"say what {key} shall be: `set {key}=…`")
        if reason := fixed_reason(key):
            raise ProfileError(f"{key} cannot change while the run goes on: {reason}")
        changes[key] = value_of(value)
    replace(profile, changes)
    return changes


def _pairs(text: str) -> list[tuple[str, str]]:
    """The (name, value) pairs of a line; what stands in quotes or brackets is left whole."""
    starts = [match.start() for match in _NAME.finditer(text) if _is_outside(text, match.start())]
    parts = [text[start:end] for start, end in zip([0, *starts], [*starts, len(text)], strict=True)]
    pairs = [part.strip(" ,").partition("=") for part in parts if part.strip(" ,")]
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def _is_outside(text: str, at: int) -> bool:
    """Whether a place is outside of quotes and brackets."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", text[:at])
    return at > 0 and bare.count('"') == 0 and bare.count("[") == bare.count("]")


def _key(name: str, known: Mapping[str, Any]) -> str:
    """The dotted key that a name means: itself, its last part alone, or what it is called elsewhere."""
    if name in known:
        return name
    meant = [key for key in known if key.rpartition(".")[2] == name]
    if len(meant) == 1:
        return meant[0]
    if meant:
        raise ProfileError(f"{shown(name)} could be {' or '.join(meant)}; say which")
    if name in ALIASES:
        return ALIASES[name]
    if "." in name:
        raise ProfileError(unknown(name, Profile))
    near = nearest(name, [key.rpartition(".")[2] for key in known])
    raise ProfileError(f"no setting is called {shown(name) or 'nothing'}{f'; did you mean {near}?' if near else ''}")
