"""A report on disk: a folder that is there whole or not at all, and never in the place of another."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.segment import Segment

from cockpit.reporting.contents import Subject, compose
from cockpit.reporting.figure import file_of
from cockpit.reporting.markdown import FIGURES, as_markdown, figures
from cockpit.reporting.page import as_html
from cockpit.reporting.picture import as_svg, draw_png
from cockpit.sanitize import shown
from gpt import durable
from gpt.errors import RunError

Screen = Sequence[Sequence[Segment]]
"""Rows of the screen as they were drawn."""


@dataclass(frozen=True)
class Written:
    """What was written."""

    folder: Path
    files: Sequence[str]
    """Names in the folder, report.html first."""
    notes: Sequence[str] = field(default=())
    """What is missing, and why."""

    @property
    def page(self) -> Path:
        """What to open."""
        return self.folder / "report.html"


def write(subject: Subject, parent: Path, screen: Screen | None = None, out: Path | None = None) -> Written:
    """Writes a report of a run.

    Args:
        parent: the run's folder; the report becomes `report-STEP` in it, with a number behind where that is taken.
        screen: what is on the screen, to be shown too.
        out: another folder, which must not be there yet.

    Raises RunError, with nothing left behind, where that is not possible.
    """
    if out is not None and (out.exists() or out.is_symlink()):
        raise RunError(f"{shown(out)} is there already; give --out another name")
    home = parent if out is None else out.absolute().parent
    draft = None
    try:
        draft = Path(tempfile.mkdtemp(dir=home, prefix=".report-"))
        notes = _fill(draft, subject, screen)
        files = sorted(str(path.relative_to(draft)) for path in draft.rglob("*") if path.is_file())
        durable.sync_folder(draft)
        folder = out if out is not None else _free_name(parent, subject.state.step)
        while not _moved(draft, folder):
            if out is not None:
                raise RunError(f"{shown(out)} is there already; give --out another name")
            folder = _free_name(parent, subject.state.step)
        draft = None
        durable.sync_folder(home)
    except OSError as error:
        where = shown(error.filename or home)
        raise RunError(f"no report can be written: {where}: {error.strerror or error}; see --out") from None
    finally:
        if draft is not None:
            shutil.rmtree(draft, ignore_errors=True)
    return Written(folder, sorted(files, key=lambda name: not name.endswith(".html")), notes)


def _fill(draft: Path, subject: Subject, screen: Screen | None) -> list[str]:
    """Writes all files; what is missing of them."""
    document = compose(subject, subject.diagnoses())
    notes: list[str] = []
    picture = None
    if screen is not None:
        picture = as_svg(screen, subject.run)
        durable.write(draft / "screen.svg", picture.encode())
        if why := draw_png(draft / "screen.svg", draft / "screen.png"):
            notes.append(why)
    (draft / FIGURES).mkdir()
    for name, plot in figures(document).items():
        durable.write(draft / name, file_of(plot.svg).encode())
    text = as_markdown(document, "screen.svg" if picture else None)
    durable.write(draft / "report.md", text.encode())
    durable.write(draft / "report.html", as_html(document, picture).encode())
    return notes


def _free_name(parent: Path, step: int) -> Path:
    for number in itertools.count(1):
        path = parent / (f"report-{step:08}" + (f"-{number}" if number > 1 else ""))
        if not (path.exists() or path.is_symlink()):
            return path
    raise AssertionError("there is always another number")


def _moved(draft: Path, folder: Path) -> bool:
    """Gives the draft its name; False where another has taken it meanwhile."""
    try:
        draft.rename(folder)
    except OSError:
        if folder.exists():
            return False
        raise
    return True
