"""Deleting a run, with all that it saved."""

from __future__ import annotations

import shutil

from cockpit.runs import Run
from cockpit.sanitize import shown
from gpt.errors import RunError


def delete(run: Run) -> None:
    """Deletes a run's folder. What a link in it points to is left alone.

    First goes run.json: from then on it is no run any more, and one that is only half deleted is none that trains.
    Raises RunError, with nothing touched, where a process has the run or its folder is a link; and where the disk
    refuses.
    """
    if run.path.is_symlink():
        raise RunError(f"{shown(run.path)} is a link to another place; delete it there")
    if not (run.path / "run.json").is_file():
        raise RunError(f"{shown(run.path)} holds no run")
    with run.lock():  # nobody can begin to train it meanwhile
        try:
            (run.path / "run.json").unlink()
            shutil.rmtree(run.path)  # goes by descriptors: no link put in its way leads it elsewhere
        except OSError as error:
            where = f" ({shown(error.filename)})" if error.filename else ""
            raise RunError(f"run {run.name} is not wholly deleted: {error.strerror}{where}") from None
