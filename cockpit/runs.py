"""Runs on disk: their folders, logs and facts. What is in a run's folder is in CONTRIBUTING.md."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import tomli

from cockpit import runlock
from cockpit.naming import check_name, names
from cockpit.sanitize import shown
from gpt import durable
from gpt.errors import RunError
from gpt.events import AnyEvent, Event, Origin, decode

if TYPE_CHECKING:
    from cockpit.longlog import Reader
    from cockpit.state import Past
    from cockpit.stretch import Stretch

DEFAULT_RUNS_DIR = Path("runs")
_BLOCK = 2**17
_OWN_FILES = (
    "run.json", "profile.toml", "events.jsonl", "events.digest", "console.log", *runlock.FILES, "control.sock",
    "control.path",
)  # fmt: skip
_OWN_FOLDERS = ("checkpoints", "tensorboard", "wandb")


class Run:
    """A run's folder.

    Make one with `create`, `open` or `latest`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.skipped_lines = 0
        """Lines that the newest `read_events` could not read."""
        self._made_parent = False

    @classmethod
    def create(cls, runs_dir: Path, name: str | None, profile_name: str) -> Run:
        """A new run. Without a name it gets one of the profile's name and two words, `demo-amber-heron`.

        Raises RunError where the name will not do, is taken, or the folder cannot be made.
        """
        if name is not None:
            check_name(name)
        new_folder = not runs_dir.exists()
        try:
            durable.make_folder(runs_dir)
            path = _claim(runs_dir, [name] if name else names(profile_name))
            if path is None:
                there = cls(runs_dir / str(name))
                if there.in_use:
                    raise RunError(f"{there.in_use_by()}, or give another name to --run")
                go_on = f"go on with it by --resume --run {name}"
                if there.checkpoint_time() is None:
                    go_on = f"it has no checkpoint to go on from: delete {shown(there.path)}"
                raise RunError(f"run {name} exists in {shown(runs_dir)}; {go_on}, or give another name to --run")
            run = cls(path)
            run._made_parent = new_folder
            run.checkpoints_path.mkdir(mode=0o700)
            durable.sync_folder(path)  # or a power failure could take a checkpoint with the folder it is in
            durable.sync_folder(runs_dir)
        except OSError as error:
            raise RunError(f"no run can be made in {shown(runs_dir)}: {error.strerror}; see --runs-dir") from None
        return run

    @classmethod
    def open(cls, runs_dir: Path, name: str) -> Run:
        """An existing run. Raises RunError where there is none of that name, or a link that leads out of the folder."""
        check_name(name)
        run = cls(runs_dir / name)
        if run.path.is_symlink():
            raise RunError(f"{shown(run.path)} is a link, which is not followed; see --runs-dir for where it leads")
        if not run.path.is_dir():
            raise RunError(f"no run {name} in {shown(runs_dir)}; gpt-cockpit runs lists them")
        return run

    @property
    def events_path(self) -> Path:
        """The log: one event a line."""
        return self.path / "events.jsonl"

    @property
    def digest_path(self) -> Path:
        return self.path / "events.digest"

    @property
    def console_path(self) -> Path:
        """All that was printed to descriptors 1 and 2."""
        return self.path / "console.log"

    @property
    def checkpoints_path(self) -> Path:
        """The folder of its checkpoints."""
        return self.path / "checkpoints"

    @contextmanager
    def lock(self, *, launching: bool = False) -> Iterator[None]:
        """Holds the run for this process inside the block; a crash lets go of it too.

        Args:
            launching: for ranks that are yet to be started, and may be started anew: one child of this process at a
                time can hold the run inside the block, and nobody else.

        Raises RunError where another process holds it.
        """
        with ExitStack() as held:
            try:
                held.enter_context(runlock.hold(self.path, launching=launching))
            except runlock.Held:
                raise RunError(f"{self.in_use_by()}, wait for its end, or give another name to --run") from None
            yield

    def in_use_by(self) -> str:
        """`run NAME is in use by process 123 on HOST since 13:05; see it by gpt-cockpit attach NAME`."""
        attach = shlex.join(["gpt-cockpit", "attach", self.name, *self.where()])
        return f"run {self.name} is in use by {runlock.holder(self.path)}; see it by {attach}"

    @property
    def in_use(self) -> bool:
        """True while a process holds the lock."""
        return runlock.is_held(self.path)

    @property
    def is_launched(self) -> bool:
        """True while a launcher holds the run for its ranks, which may be started anew."""
        return runlock.is_launched(self.path)

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        """Writes run.json, whole or not at all. Raises RunError where the disk refuses."""
        self._write("run.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")

    def read_facts(self) -> dict[str, Any]:
        """run.json, or nothing where it is missing or not readable."""
        try:
            facts = json.loads((self.path / "run.json").read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return facts if isinstance(facts, dict) else {}

    def write_profile(self, text: str) -> None:
        """Writes profile.toml, whole or not at all. Raises RunError where the disk refuses."""
        self._write("profile.toml", text)

    @property
    def profile_name(self) -> str | None:
        """The profile's name, from the profile.toml that was kept; None where it is not readable."""
        try:
            name = tomli.loads((self.path / "profile.toml").read_text(encoding="utf-8")).get("name")
        except (OSError, ValueError, RecursionError):
            return None
        return name if isinstance(name, str) else None

    @property
    def forked_from(self) -> Origin | None:
        """The run and step that it was forked from; None for a run of its own."""
        try:
            return msgspec.convert(self.read_facts().get("forked_from"), Origin | None)
        except (msgspec.ValidationError, UnicodeEncodeError):  # its words about a lone surrogate hold that
            return None

    def resume_arguments(self) -> list[str]:
        """The program's arguments with which it goes on with this run, from this folder."""
        facts = self.read_facts()
        profile = Path(str(facts.get("profile_path") or self.path / "profile.toml"))
        profile = profile.relative_to(Path.cwd()) if profile.is_relative_to(Path.cwd()) else profile
        nproc = facts.get("nproc")
        ranks = ["--nproc", str(nproc)] if isinstance(nproc, int) and nproc > 1 else []
        return [str(profile), "--run", self.name, *self.where(), *ranks, "--resume"]

    def where(self) -> list[str]:
        """The arguments that say in which folder it lies; none where that is the usual one."""
        return [] if self.path.parent == DEFAULT_RUNS_DIR else ["--runs-dir", str(self.path.parent)]

    def resume_command(self) -> str:
        """What to type in this folder to go on with this run."""
        return shlex.join(["gpt-cockpit", *self.resume_arguments()])

    def read_events(self) -> Iterator[AnyEvent]:
        """The events of the log, oldest first.

        A torn last line is dropped; what is not an event is skipped and counted in `skipped_lines`.
        """
        self.skipped_lines = 0
        try:
            file = self.events_path.open("rb")
        except FileNotFoundError:
            return
        with file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                try:
                    yield decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    self.skipped_lines += 1

    def read_stretches(self, start: int = 0, end: int | None = None) -> Iterator[Event | Stretch]:
        """What `read_events` gives, steps in stretches: ten times as fast to reduce, and little of it in memory.

        Args:
            start, end: bytes of the log between which it is read, both where a line begins; None: to its end.
        """
        from cockpit import stretch  # brings numpy, which most commands need not load

        self.skipped_lines = 0
        with suppress(FileNotFoundError), self.events_path.open("rb") as file:
            yield from stretch.read(file, start, end, self._count_skipped)

    def read_past(self, end: int | None = None, ahead: Reader | None = None) -> Iterator[Event | Stretch | Past]:
        """The same from the log's beginning on, of a long one as a whole: what it comes to, ever more of it.

        Args:
            end: byte of the log up to which it is read, where a line begins; None: to its end.
            ahead: a reader that has begun before the end was known.
        """
        end = self.size_of_log() if end is None else end
        if ahead and ahead.end > end:
            ahead.close()
            ahead = None
        reader = ahead or self.read_ahead(end)
        if reader is None:
            yield from self.read_stretches(0, end)
            return
        skipped = 0
        for past in reader.told():
            skipped = past.skipped
            yield past
        if reader.end < end:
            yield from self.read_stretches(reader.end, end)
        else:
            self.skipped_lines = 0
        self.skipped_lines += skipped

    def read_ahead(self, end: int | None = None) -> Reader | None:
        """Has another process begin to read the log for `read_past`; None where it is short."""
        from cockpit import longlog

        end = self.size_of_log() if end is None else end
        return longlog.Reader(self.events_path, end) if end >= longlog.LONG else None

    def _count_skipped(self, lines: int) -> None:
        self.skipped_lines += lines

    def checkpoint_time(self) -> float | None:
        """Unix time of the newest checkpoint, or None where there is none."""
        times = [_modified(state) for state in self.checkpoints_path.glob("step-*/state.json")]
        return max((at for at in times if at is not None), default=None)

    def size_of_log(self) -> int:
        """Bytes of its whole lines."""
        try:
            with self.events_path.open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                while end:
                    start = max(0, end - _BLOCK)
                    file.seek(start)
                    if newline := file.read(end - start).rfind(b"\n") + 1:
                        return start + newline
                    end = start
        except OSError:
            pass
        return 0

    def discard(self) -> bool:
        """Removes the run if it holds nothing worth keeping: no checkpoint, and no step in its log.

        True if it is gone.
        """
        if any(self.checkpoints_path.glob("*/state.json")) or self.has_step():
            return False
        for name in _OWN_FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)
        for path in (*map(self.path.joinpath, _OWN_FILES), *self.path.glob("console-*.log")):
            path.unlink(missing_ok=True)
        with suppress(OSError):
            self.path.rmdir()  # fails, rightly, where somebody has put a file of theirs
            if self._made_parent:
                self.path.parent.rmdir()  # and here where there are other runs
        return not self.path.exists()

    def has_step(self) -> bool:
        """True once the log holds a step."""
        try:
            return b'"event":"StepDone"' in self.events_path.read_bytes()
        except OSError:
            return False

    def _write(self, name: str, text: str) -> None:
        draft = None
        try:
            file, draft = tempfile.mkstemp(dir=self.path, prefix=f".{name}-")
            with os.fdopen(file, "w", encoding="utf-8") as stream:
                stream.write(text)
                durable.flush(stream)
            Path(draft).replace(self.path / name)
        except OSError as error:
            if draft:
                with suppress(OSError):  # a disk that refuses the one may refuse the other
                    Path(draft).unlink(missing_ok=True)
            raise RunError(f"{shown(self.path / name)} cannot be written: {error.strerror}") from None


def latest(runs_dir: Path, profile_name: str) -> Run | None:
    """The run of a profile whose newest checkpoint is the newest of all, or None where none has one."""
    runs = [(run.checkpoint_time(), run) for run in list_runs(runs_dir)]
    whole = [(at, run) for at, run in runs if at is not None and run.profile_name == profile_name]
    return max(whole, key=lambda pair: (pair[0], pair[1].name))[1] if whole else None


def list_runs(runs_dir: Path) -> list[Run]:
    """All runs in a folder, the one that was touched last at the end. Links are not followed."""
    folders = [path.parent for path in runs_dir.glob("*/run.json") if not path.parent.is_symlink()]
    return [Run(path) for path in sorted(folders, key=lambda path: (_modified(path / "events.jsonl") or 0, path.name))]


def _claim(runs_dir: Path, names: Iterable[str]) -> Path | None:
    """Makes a folder of the first name that is free; None: none is. Of two starters with one name, one gets it."""
    for name in names:
        with suppress(FileExistsError):
            (runs_dir / name).mkdir(mode=0o700)
            return runs_dir / name
    return None


def _modified(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None
