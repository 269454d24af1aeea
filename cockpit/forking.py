"""A run forked from another's checkpoint: a folder of its own that begins where the other one was."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from cockpit import __version__
from cockpit.runs import Run
from cockpit.sanitize import shown
from gpt import checkpoint
from gpt.errors import CheckpointError, RunError

_OWN_FACTS = ("run", "created", "pid", "argv", "cockpit", "forked_from")
"""What run.json says of the run itself; the rest is of what it trains, and the same for a fork."""


class Fork(msgspec.Struct, frozen=True):
    """A fork that its pilot has asked for on the screen, to be gone on with once the present run has ended."""

    run: Run | None
    """The fork, where it has been made; None: it is to be made of the last checkpoint of the present run."""
    name: str | None
    """What it is to be called; None: something of the profile's name."""
    overrides: tuple[str, ...]
    """Settings to go on with, as on the command line."""


def parse_source(text: str) -> tuple[str, str | None]:
    """(run, checkpoint) of `RUN[@STEP]`; the checkpoint None for the newest."""
    name, at, place = text.rpartition("@")
    return (name, place) if at else (text, None)


def find_source(source: Run, place: str | None) -> Path:
    """The checkpoint of a run that is meant by a step, or by a path like `abandoned/1/step-00000400`; None: the newest.

    A step is looked for on the run's own way, then on the abandoned ones, the newest first. Verified. Raises
    CheckpointError where there is none.
    """
    parent = source.checkpoints_path
    if place is None:
        return checkpoint.newest(parent)[0]
    if "/" in place:
        path = parent / place
        if not path.resolve().is_relative_to(parent.resolve()):
            raise CheckpointError(f"{shown(place)} is no checkpoint of run {source.name}; choose a folder in {parent}")
        checkpoint.verify(path)
        return path
    if not place.replace(",", "").replace("_", "").isdigit():
        raise CheckpointError(f"{shown(place)} is no step; say RUN@STEP, or RUN for its newest checkpoint")
    step = int(place.replace(",", ""))
    ways = [parent, *reversed(checkpoint.abandoned(parent))]
    paths = [path for way in ways for path in checkpoint.list_newest_first(way) if checkpoint.step_of(path) == step]
    if not paths:
        steps = sorted({checkpoint.step_of(path) for way in ways for path in checkpoint.list_newest_first(way)})
        there = ", ".join(f"{each:,}" for each in steps[-6:]) or "none"
        raise CheckpointError(f"run {source.name} has no checkpoint of step {step:,}; there are: {there}")
    checkpoint.verify(paths[0])
    return paths[0]


def make(source: Run, path: Path, name: str | None) -> Run:
    """A new run beside `source` whose first checkpoint is the one at `path`, ready to be resumed.

    Its run.json says where it came from; its log is empty. Raises RunError, with nothing left behind, where the name
    will not do or the disk refuses.
    """
    facts = {key: value for key, value in source.read_facts().items() if key not in _OWN_FACTS}
    fork = Run.create(source.path.parent, name, source.profile_name or source.name)
    try:
        adopted = checkpoint.adopt(path, fork.checkpoints_path)
        fork.write_profile((source.path / "profile.toml").read_text(encoding="utf-8"))
        fork.write_facts(_facts(fork, source, checkpoint.step_of(adopted)) | facts)
    except OSError as error:
        discard(fork)
        raise RunError(f"run {source.name} cannot be forked: {error.strerror or error}; see to its folder") from None
    except BaseException:
        discard(fork)
        raise
    return fork


def discard(fork: Run) -> None:
    """Removes a fork that has not taken a step: all that is in it, the run that it came from has too."""
    if not fork.has_step():
        shutil.rmtree(fork.path, ignore_errors=True)


def _facts(fork: Run, source: Run, step: int) -> dict[str, Any]:
    return {
        "run": fork.name, "created": time.time(), "pid": os.getpid(), "argv": sys.argv[1:], "cockpit": __version__,
        "forked_from": {"run": source.name, "step": step},
    }  # fmt: skip


def command(fork: Run, profile: Path, overrides: tuple[str, ...]) -> list[str]:
    """What to type to go on with a fork, without the program's name."""
    settings = [part for override in overrides for part in ("--set", override)]
    return [str(profile), "--run", fork.name, "--runs-dir", str(fork.path.parent), "--resume", *settings]


def become(arguments: list[str]) -> None:
    """Makes this process the program anew, with other arguments: the one way to be sure that nothing of the run before
    is left in memory, on a GPU above all. Does not return."""
    sys.stdout.flush()
    sys.stderr.flush()
    ours = len(sys.orig_argv) - len(sys.argv) + 1  # interpreter, its options, and the script or -m module
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:ours], *arguments])
