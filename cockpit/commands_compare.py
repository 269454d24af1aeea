"""`gpt-cockpit compare`: runs, logs and published losses beside each other."""

from __future__ import annotations

import sys
from json import dumps
from shutil import get_terminal_size
from typing import Annotated, Literal

from cyclopts import Parameter

from cockpit.arguments import AsJson, RunsDir
from cockpit.runs import DEFAULT_RUNS_DIR
from cockpit.sanitize import clean
from gpt.errors import RunError


def compare(
    *names: Annotated[
        str,
        Parameter(name="RUN", help="A run, nanoGPT's log as a file, or a reference such as gpt2-124m; two or more."),
    ],
    at: Annotated[
        Literal["step", "tokens", "flops", "seconds"] | None,
        Parameter(help="Losses at several places along this; without it: as far as all have come, on each."),
    ] = None,
    profile: Annotated[str | None, Parameter(help="A profile: the settings of the logs among them.")] = None,
    runs_dir: RunsDir = DEFAULT_RUNS_DIR,
    json: AsJson = False,
) -> int:
    """Compares runs: losses at equal steps, tokens, FLOPs and seconds, what differs, and why one is lower.

    Losses on other texts are not ranked; on the same text in other tokens, in bits per byte.
    """
    if len(set(names)) < 2:
        raise RunError("compare takes two or more different ones: runs, nanoGPT logs, or references such as gpt2-124m")
    from cockpit import profile as profiles
    from cockpit.comparing import report
    from cockpit.comparing.comparison import compare as side_by_side
    from cockpit.comparing.reading import read

    settings = profiles.load(profiles.find(profile)).profile if profile is not None else None
    found = side_by_side([read(each, runs_dir, settings) for each in dict.fromkeys(names)])
    width = get_terminal_size().columns if sys.stdout.isatty() else None
    text = dumps(report.as_json(found, at), indent=1) if json else clean(report.as_text(found, at, width))
    sys.stdout.write(f"{text}\n")
    return 0
