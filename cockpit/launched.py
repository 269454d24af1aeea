"""What a rank learns from whoever launched it: torchrun, or `--nproc`'s own use of the same elastic launcher.

When a rank has died the launcher ends the others and starts all anew, with the same command line. What is different
then stands in the environment: the number of the restart, and from our own launcher also which rank it was, and the
run's folder, which it has made and holds over restarts. No torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from cockpit.runs import Run, list_runs
from gpt.events import RanksRestarted

FOLDER, LOST = "GPT_COCKPIT_RUN", "GPT_COCKPIT_LOST"
"""Set by our own launcher: the run's folder; after a restart `RANK HOW`, the rank that ended first."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """The circumstances of this process's start; of one that nobody launched, all as by default."""

    id: str | None = None
    """The launcher's name for all it has started together."""
    restart: int = 0
    """0: the first start."""
    most: int = 0
    """Restarts that are allowed."""
    folder: Path | None = None
    rank: int | None = None
    how: str = ""
    nproc: int = 1
    """Ranks on this machine that our own launcher has started."""

    def run(self, runs_dir: Path, name: str | None) -> Run | None:
        """The run that is there already for these ranks; None where it is theirs to make.

        After a restart by torchrun it is that of the same name, or else the newest that the same launcher began.
        """
        if self.folder:
            return Run(self.folder)
        if not self.restart:
            return None
        if name:
            return Run.open(runs_dir, name)
        mine = [run for run in list_runs(runs_dir) if self.id and run.read_facts().get("launch") == self.id]
        return mine[-1] if mine else None

    def facts(self, step: int) -> dict[str, Any]:
        """What run.json says of a first start that begins at `step`."""
        return {"nproc": self.nproc} | ({"launch": self.id, "launched_from": step} if self.id else {})

    def has_saved(self, facts: Mapping[str, Any], step: int) -> bool:
        """Whether a checkpoint of `step` was written since the first start: after a restart its settings hold, whatever
        the command line, which is still the first start's, asks for."""
        return self.restart > 0 and facts.get("launch") == self.id and step > facts.get("launched_from", 0)

    def restarted(self, step: int) -> RanksRestarted | None:
        """What there is to say of a restart at whose end training goes on from `step`; None at the first start."""
        if not self.restart:
            return None
        return RanksRestarted(step=step, restart=self.restart, most=self.most, rank=self.rank, how=self.how)


def read(environment: Mapping[str, str] = os.environ) -> Launch:
    """How this process was started."""
    if "TORCHELASTIC_RUN_ID" not in environment:
        return Launch()
    rank, _, how = environment.get(LOST, "").partition(" ")
    folder = environment.get(FOLDER)
    return Launch(
        id=environment["TORCHELASTIC_RUN_ID"], restart=_number(environment.get("TORCHELASTIC_RESTART_COUNT")),
        most=_number(environment.get("TORCHELASTIC_MAX_RESTARTS")), folder=Path(folder) if folder else None,
        rank=int(rank) if rank.isdigit() else None, how=how,
        nproc=max(1, _number(environment.get("LOCAL_WORLD_SIZE"))) if folder else 1,
    )  # fmt: skip


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
