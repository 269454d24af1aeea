"""Options that several commands have: each in the same words, and with the same default, everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

ProfileName = Annotated[str, Parameter(help="A profile: a TOML file, or the bare name of one that is there.")]
RunName = Annotated[str, Parameter(help="Name of the run.")]
NewRunName = Annotated[str | None, Parameter(help="Name of the run; without it one is made.")]
RunsDir = Annotated[Path, Parameter(help="Folder that holds the runs.", show_default=True)]
Overrides = Annotated[
    tuple[str, ...],
    Parameter(
        name="--set",
        help="Another value for a key of the profile, section.key=value; may be repeated.",
        consume_multiple=False,
    ),
]
Data = Annotated[
    tuple[str, ...],
    Parameter(
        help="Train on this instead: what data prepare takes, or a folder of token files; may be repeated.",
        consume_multiple=False,
    ),
]
ForkSource = Annotated[
    str | None, Parameter(help="Go on from another run's checkpoint, RUN[@STEP], in a new run; --run names it.")
]
Theme = Annotated[
    Literal["dark", "light", "ansi", "colorblind"] | None,
    Parameter(help="Colours: dark, light, ansi (the terminal's own) or colorblind."),
]
AsJson = Annotated[bool, Parameter(help="As JSON, for scripts.")]
