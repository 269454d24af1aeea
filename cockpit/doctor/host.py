"""The machine as the doctor sees it: read here, without torch."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

import psutil

from cockpit.doctor.evidence import Host
from cockpit.planning import here
from gpt import processor


def read_host(run_dir: Path) -> Host:
    """The machine that this process runs on, and the disk that a run's folder is on, or would be. Never raises."""
    return Host(
        cores=_cores(), disk_free_bytes=_disk_free(run_dir), memory_bytes=psutil.virtual_memory().total,
        has_amx=processor.has_amx(), card=_card(),
    )  # fmt: skip


def _cores() -> int | None:
    """Those that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count()


def _disk_free(path: Path) -> int | None:
    for folder in (path, *path.absolute().parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return None


@functools.cache
def _card() -> str | None:
    card = here.card_here()
    return card.name if card else None
