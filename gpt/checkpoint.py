"""Checkpoints: whole or not there at all.

A checkpoint is a folder `step-00004000` with `model.safetensors`, `optimizer.safetensors` and `state.json`. It is
written beside its place under a name that nobody reads: its space is reserved, each file is hashed and made durable
(fsync), and only then is the folder renamed and its parent made durable. `state.json` holds the hashes, its own among
them, so that damage is recognised. The links `latest` and `best` move after that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpt import durable
from gpt.errors import CheckpointError

FORMAT = 1
"""Version of the layout described above."""

ABANDONED = "abandoned"
"""Folder in a run's `checkpoints` for those of ways that rewinds have left."""

_STATE = "state.json"
_REPLACED = ".replaced"


def folder_name(step: int) -> str:
    """Name of a checkpoint's folder."""
    return f"step-{step:08d}"


def write(parent: Path, step: int, files: Mapping[str, Mapping[str, Any]], state: Mapping[str, Any]) -> int:
    """Writes a checkpoint and returns its size in bytes once it is durable.

    Args:
        parent: the run's `checkpoints` folder; made if it is missing.
        files: tensors by file name without `.safetensors`, then by tensor name; contiguous, on the CPU.
        state: JSON values that go into `state.json`.

    Raises OSError where the disk refuses; whatever was there before is then untouched.
    """
    from gpt import tensorfile  # imports torch, which those who only look for checkpoints do without

    durable.make_folder(parent)
    place = parent / folder_name(step)
    draft = parent / f".{place.name}.{os.getpid()}.tmp"
    try:
        shutil.rmtree(draft, ignore_errors=True)  # of a process with our number that was killed: containers repeat them
        draft.mkdir()
        places = {name: draft / f"{name}.safetensors" for name in files}
        for name, path in places.items():
            durable.reserve(path, tensorfile.size_of(files[name]))
        hashes = {path.name: tensorfile.write(path, files[name]) for name, path in places.items()}
        document = {"format": FORMAT, "step": step, "files": hashes, **state}
        document["sha256"] = _document_hash(document)
        durable.write(draft / _STATE, json.dumps(document, indent=1, allow_nan=False).encode())
        size = sum(path.stat().st_size for path in draft.iterdir())
        durable.sync_folder(draft)
        with _moved_aside(place):
            draft.rename(place)
            durable.sync_folder(parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return size


def point(parent: Path, name: str, step: int) -> None:
    """Makes the link `name` (`latest` or `best`) lead to the checkpoint of `step`, at once or not at all."""
    draft = parent / f".{name}.{os.getpid()}.tmp"
    draft.unlink(missing_ok=True)
    draft.symlink_to(folder_name(step))
    draft.replace(parent / name)
    durable.sync_folder(parent)


def prune(parent: Path, keep: int) -> list[Path]:
    """Deletes all but the newest `keep` checkpoints, `latest` and `best`; returns what went.

    Drafts that killed savers left go too; to be called by the one process that writes here, while it writes nothing.
    """
    for path in list_newest_first(parent):
        place = parent / folder_name(step_of(path))
        if path.name.endswith(_REPLACED) and not place.exists():
            path.rename(place)  # a kill came between it and the one that was to replace it
    safe = {(parent / name).resolve() for name in ("latest", "best")}
    whole = [path for path in list_newest_first(parent) if not path.name.endswith(_REPLACED)]
    doomed = [path for path in whole[keep:] if path.resolve() not in safe]
    doomed += [
        path.with_name(path.name + _REPLACED) for path in whole if path.with_name(path.name + _REPLACED).exists()
    ]
    drafts = [path for path in parent.glob(".*.tmp") if not _belongs_to_another_process(path)]
    for path in doomed + drafts:
        if path.is_symlink():  # `latest` or `best` on its way
            path.unlink(missing_ok=True)
        else:
            shutil.rmtree(path, ignore_errors=True)
    return doomed


def set_aside(parent: Path, step: int, best: int | None = None) -> Path | None:
    """Moves the checkpoints of later steps to `abandoned/N`: the run goes on from `step` on another way.

    A resume would take them for the newest otherwise. `latest` leads to the checkpoint of `step` from now on, and
    `best`, where it led to one that was moved, to that of step `best`, if there is one. Nothing is deleted: they can be
    forked from. Returns the folder they are in now, or None where there was none.
    """
    later = [path for path in list_newest_first(parent) if step_of(path) > step]
    aside = None
    if later:
        aside = parent / ABANDONED / str(max((int(path.name) for path in abandoned(parent)), default=0) + 1)
        durable.make_folder(aside)
        for path in later:  # the newest first: killed in between, a resume finds the way as it was before it
            place = aside / folder_name(step_of(path))
            if place.exists():  # what a killed saver had moved aside for the one that was moved just now
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.rename(place)
        durable.sync_folder(aside)
    if (parent / folder_name(step)).exists() and not (parent / "latest").exists():
        point(parent, "latest", step)
    if not (parent / "best").exists():
        (parent / "best").unlink(missing_ok=True)
        if best is not None and (parent / folder_name(best)).exists():
            point(parent, "best", best)
    durable.sync_folder(parent)
    return aside


def abandoned(parent: Path) -> list[Path]:
    """The folders that rewinds have made, each with the checkpoints of one abandoned way, in their order."""
    if not (parent / ABANDONED).is_dir():
        return []
    folders = [path for path in (parent / ABANDONED).iterdir() if path.name.isdigit() and path.is_dir()]
    return sorted(folders, key=lambda path: int(path.name))


def adopt(source: Path, parent: Path) -> Path:
    """Gives another run's `checkpoints` folder a verified checkpoint as its first, durably; returns its new place.

    Its files are the same ones (hard links: no checkpoint is ever changed in place), or copies where the file systems
    differ. Raises OSError where the disk refuses; the folder is then as it was.
    """
    place = parent / folder_name(step_of(source))
    draft = parent / f".{place.name}.{os.getpid()}.tmp"
    try:
        shutil.rmtree(draft, ignore_errors=True)
        durable.make_folder(draft)
        for path in source.iterdir():
            _link_or_copy(path, draft / path.name)
        durable.sync_folder(draft)
        draft.rename(place)
        durable.sync_folder(parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    point(parent, "latest", step_of(place))
    return place


def step_of(path: Path) -> int:
    """The step in a checkpoint folder's name."""
    return int(path.name.removesuffix(_REPLACED).removeprefix("step-"))


def list_newest_first(parent: Path) -> list[Path]:
    """The folders of all checkpoints, the highest step first, not verified; of two of a step the newer one first."""
    if not parent.is_dir():
        return []
    folders = [path for path in parent.iterdir() if path.name.startswith("step-") and path.is_dir()]
    return sorted(folders, key=lambda p: (p.name.removesuffix(_REPLACED), not p.name.endswith(_REPLACED)), reverse=True)


def read_state(path: Path) -> dict[str, Any]:
    """`state.json` of a checkpoint. Raises CheckpointError where it is missing, damaged or of a newer format."""
    try:
        document = json.loads((path / _STATE).read_bytes())
        version, files = document["format"], document["files"]
        if not isinstance(files, dict) or not isinstance(document["step"], int):
            raise TypeError("not a checkpoint's state")
        if version == FORMAT and document.pop("sha256") != _document_hash(document):
            raise ValueError("its hash is not the one saved")
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no {_STATE}; choose a folder named step-…") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path / _STATE}: damaged ({error!r:.80}); use an earlier checkpoint") from None
    if version != FORMAT:
        raise CheckpointError(f"{path}: format {version}, this program reads {FORMAT}; use the program that wrote it")
    return document


def verify(path: Path) -> dict[str, Any]:
    """`state.json` of a checkpoint whose every file has the hash written there. Raises CheckpointError otherwise."""
    state = read_state(path)
    for name, expected in state["files"].items():
        try:
            if durable.sha256_of(path / name) != expected:
                raise CheckpointError(f"{path / name}: damaged, its hash is not the one saved; use an earlier one")
        except OSError as error:
            raise CheckpointError(f"{path / name}: {error.strerror}; use an earlier checkpoint") from None
    return state


def newest(parent: Path) -> tuple[Path, dict[str, Any], list[str]]:
    """(folder, state, complaints about newer ones) of the newest checkpoint that verifies.

    Raises CheckpointError where there is none.
    """
    complaints: list[str] = []
    for path in list_newest_first(parent):
        try:
            return path, verify(path), complaints
        except CheckpointError as error:
            complaints.append(str(error))
    raise CheckpointError(
        complaints[0] if complaints else f"{parent}: no checkpoint to resume from; start without --resume"
    )


def load_tensors(path: Path, name: str) -> dict[str, Any]:
    """All tensors of one file, on the CPU. Raises CheckpointError where it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path / f"{name}.safetensors")
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}/{name}.safetensors: {error}; use an earlier checkpoint") from None


def shape_difference(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Field by field, how two model shapes differ, or None where they do not."""
    keys = [key for key in wanted if saved.get(key) != wanted[key]]
    return ", ".join(f"{key} {saved.get(key)} there, {wanted[key]} here" for key in keys) or None


def _link_or_copy(source: Path, place: Path) -> None:
    try:
        os.link(source, place)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, place)
        with place.open("rb+") as file:
            os.fsync(file.fileno())


def _document_hash(document: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON document's content, itself left out."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, allow_nan=False).encode()).hexdigest()


@contextlib.contextmanager
def _moved_aside(place: Path) -> Iterator[None]:
    """Makes room at `place` where a checkpoint of the same step lies already; puts it back if the block fails."""
    if not place.exists():
        yield
        return
    aside = place.with_name(place.name + _REPLACED)  # still a checkpoint, should we be killed in between
    shutil.rmtree(aside, ignore_errors=True)
    place.rename(aside)
    try:
        yield
    except BaseException:
        if not place.exists():
            aside.rename(place)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _belongs_to_another_process(draft: Path) -> bool:
    """Whether a process that lives, and is not this one, may be writing it: containers give a number out again."""
    pid = draft.name.split(".")[2]
    if not pid.isdigit() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
