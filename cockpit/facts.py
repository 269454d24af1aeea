"""run.json: who trains a run, since when, with what."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import subprocess
import sys
import time
from typing import Any

import msgspec

from cockpit import __version__
from cockpit.profile import Loaded
from cockpit.resuming import file_settings
from cockpit.runs import Run


def facts_of(loaded: Loaded, folder: Run) -> dict[str, Any]:
    """What run.json says of a run that begins now."""
    return {
        "run": folder.name, "profile": loaded.profile.name, "profile_path": str(loaded.path.resolve()),
        "overrides": list(loaded.overrides), "file_settings": file_settings(loaded),
        "profile_sha256": hashlib.sha256(msgspec.json.encode(loaded.profile)).hexdigest(),
        "created": time.time(), "user": _user(), "host": platform.node(), "pid": os.getpid(), "argv": sys.argv[1:],
        "cockpit": __version__, "python": platform.python_version(), "system": platform.platform(), "git": _git(),
    }  # fmt: skip


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a passwd entry
        return None


def _git() -> dict[str, Any] | None:
    """Commit and cleanliness of the folder the run was started in, where it is a checkout."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
        changes = subprocess.run(
            ["git", "status", "--porcelain"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.stdout.strip(), "clean": not changes.stdout.strip()}
