"""`gpt-cockpit import`: a run of ours made from a nanoGPT checkpoint."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import tomlkit

from cockpit import __version__
from cockpit.eventlog import EventLog
from cockpit.runs import Run
from gpt.config import Profile, flatten
from gpt.data import check_source
from gpt.errors import UserError


def import_nanogpt(source: Path, data_dir: Path | None, run_name: str | None, runs_dir: Path) -> str:
    """Makes a run whose first checkpoint is nanoGPT's; returns what to tell of it.

    Args:
        data_dir: the folder with its `train.bin` and `val.bin`; None: where nanoGPT keeps it, as seen from here or
            from the checkpoint.

    Raises a UserError, with no run made, where the file or the data will not do.
    """
    from gpt.interop import nanogpt_checkpoint
    from gpt.interop.adopt import Adopter

    imported = nanogpt_checkpoint.read(source, data_dir=data_dir, name=source.resolve().parent.name or "nanogpt")
    profile = imported.profile
    check_source(profile.data, profile.model)
    folder = Run.create(runs_dir, run_name, profile.name)
    try:
        with folder.lock():
            folder.write_profile(as_text(profile, source))
            folder.write_facts(_facts(folder, profile, source))
            log = EventLog(folder.events_path)
            try:
                Adopter(imported, folder.path, log.append).adopt()
            finally:
                log.close()
    except UserError:
        shutil.rmtree(folder.path, ignore_errors=True)  # made a moment ago, by us
        raise
    lines = [f"imported {source} as run {folder.name}: step {imported.step:,}" + _moments(bool(imported.moments))]
    lines += [f"  left out: {reason}" for reason in imported.dropped]
    return "\n".join([*lines, f"go on: {folder.resume_command()}"])


def as_text(profile: Profile, source: Path) -> str:
    """A profile as a TOML file: what differs from the defaults, and where it came from."""
    document = tomlkit.document()
    document.add(tomlkit.comment(f"Imported from {json.dumps(str(source))[1:-1]}, a checkpoint of nanoGPT."))
    usual, ours = msgspec.to_builtins(Profile()), msgspec.to_builtins(profile)
    document["name"] = profile.name
    for section, values in ours.items():
        if isinstance(values, dict):
            table = tomlkit.table()
            for key, value in values.items():
                if value is not None and value != usual[section][key]:
                    table[key] = value
            if table:
                document[section] = table
    return tomlkit.dumps(document)


def _facts(folder: Run, profile: Profile, source: Path) -> dict[str, Any]:
    return {
        "run": folder.name, "profile": profile.name, "profile_path": str((folder.path / "profile.toml").resolve()),
        "overrides": [], "file_settings": flatten(profile), "imported_from": str(source.resolve()),
        "profile_sha256": hashlib.sha256(msgspec.json.encode(profile)).hexdigest(),
        "created": time.time(), "argv": sys.argv[1:], "cockpit": __version__,
    }  # fmt: skip


def _moments(there: bool) -> str:
    return ", weights and optimizer" if there else ", weights only: the optimizer begins anew"
