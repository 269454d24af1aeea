"""Gate 8: nobody else is let in, and no link and no name leads out of the runs' folder."""

from __future__ import annotations

import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cockpit.eventlog import EventLog
from cockpit.link.place import Door, knock
from cockpit.link.server import LinkServer
from cockpit.link.wire import LinkError
from cockpit.runs import Run
from gpt.config import Profile
from gpt.errors import RunError
from tests.chaos.gate import MOST_FINDINGS, Effort, Outcome, gate

NOBODY = 65534
"""User id that owns nothing here."""


Attempted = tuple[int, list[str], str]
"""How many attempts, what was wrong, and what could not be tried here."""


@gate("8b", "access: modes, users, links and names", unit="attempts", weight=4)
def attempts(effort: Effort) -> Outcome:
    """Each way in that is refused, tried."""
    return tried((_modes, _foreign_user, _links, _names), effort)


def tried(ways: Iterable[Callable[[Effort], Attempted]], effort: Effort) -> Outcome:
    """What came of trying several ways."""
    done, findings, notes = 0, [], []
    for way in ways:
        count, found, why_not = way(effort)
        done += count
        findings += found
        notes.append(why_not or f"{way.__name__.strip('_').replace('_', ' ')} {count:,}")
    return Outcome(done, findings[:MOST_FINDINGS], note=", ".join(notes))


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that another user can get to, were he let in."""
    folder = Path(tempfile.mkdtemp(prefix="access-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _modes(effort: Effort) -> Attempted:
    """Whatever the umask: folders of runs and sockets are their user's alone."""
    findings, count = [], 0
    before = os.umask(0)
    try:
        for mask in (0, 0o022, 0o077):
            os.umask(mask)
            with open_folder() as folder:
                run = Run.create(folder / "runs", "x", "p")
                log = EventLog(run.events_path)
                door = Door(run)
                for path, wanted in (
                    (run.path, 0o700),
                    (run.checkpoints_path, 0o700),
                    (door.path, 0o600),
                    (run.events_path, 0o600),
                ):
                    count += 1
                    mode = stat.S_IMODE(path.stat().st_mode)
                    if mode & ~wanted:
                        findings.append(f"umask {mask:03o}: {path.name} has the mode {mode:03o}")
                with run.lock():
                    count += 1
                    if stat.S_IMODE((run.path / "lock").stat().st_mode) & 0o077:
                        findings.append(f"umask {mask:03o}: the lock is open to others")
                door.close()
                log.close()
    finally:
        os.umask(before)
    return count, findings, ""


def _foreign_user(effort: Effort) -> Attempted:
    """A process of another user connects to a socket whose modes somebody has widened: its uid is not ours."""
    if os.getuid() != 0:
        return 0, [], "not tried: a second user, which takes root"
    knock = (
        "import os, socket, sys\nos.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(20)\n"
        "try:\n s.connect(sys.argv[1])\nexcept PermissionError:\n print('no permission'); sys.exit()\n"
        "for line in sys.argv[2:]:\n try:\n  s.sendall(line.encode() + b'\\n')\n except OSError: pass\n"
        "got = b''\ntry:\n while (more := s.recv(65536)): got += more\nexcept OSError: pass\nprint(got.decode())\n"
    )
    told = (
        '{"link":"ask","protocol":1,"version":"x","name":"eve","screen":true}', '{"link":"take"}',
        '{"link":"order","number":1,"command":{"command":"Stop"}}',
    )  # fmt: skip
    findings: list[str] = []
    obeyed: list[object] = []
    with open_folder() as folder:
        run = Run.create(folder / "runs", "x", "p")
        log = EventLog(run.events_path)
        server = LinkServer(run, Profile(), log, obey=obeyed.append, tell=lambda event: None, attended=True)
        server.start()
        try:
            said = []
            for widened in (False, True):
                if widened:
                    for path, mode in ((run.path.parent, 0o777), (run.path, 0o777), (run.path / "control.sock", 0o777)):
                        path.chmod(mode)
                done = subprocess.run(
                    [sys.executable, "-I", "-c", knock, str(run.path / "control.sock"), *told],
                    capture_output=True, text=True, timeout=60, cwd="/",
                )  # fmt: skip
                said.append(done.stdout + done.stderr[-200:])
        finally:
            log.close()
            server.close()
        if "no permission" not in said[0]:
            findings.append(f"another user can connect: {said[0]!r:.120}")
        if "another user's" not in said[1] or "hello" in said[1]:
            findings.append(f"another user is not turned away: {said[1]!r:.120}")
        if obeyed:
            findings.append(f"another user was obeyed: {obeyed}")
        count = 2 + _foreign_files(run.path, findings)
    return count, findings, ""


def _foreign_files(folder: Path, findings: list[str]) -> int:
    """Another user's socket, and another user's pointer, in the place of ours."""
    for name in ("control.sock", "control.path"):
        path = folder / name
        path.unlink(missing_ok=True)
        if name.endswith(".sock"):
            with socket.socket(socket.AF_UNIX) as line:
                line.bind(os.fspath(path))
        else:
            path.write_text("/tmp/x.sock")
        os.chown(path, NOBODY, NOBODY)
        refused(lambda: knock(Run(folder)), LinkError, f"another user's {name}", findings)
        path.unlink()
    return 2


def _links(effort: Effort) -> Attempted:
    """Links in the places of a run's socket and pointer."""
    findings: list[str] = []
    count = 0
    for name in ("control.sock", "control.path"):
        for target in ("/etc/passwd", "/nowhere", "."):
            with open_folder() as folder:
                run = Run.create(folder, "x", "p")
                (run.path / name).symlink_to(target)
                refused(lambda run=run: knock(run), LinkError, f"a link {name} to {target} (attaching)", findings)
                refused(lambda run=run: Door(run), LinkError, f"a link {name} to {target} (serving)", findings)
                count += 2
    return count, findings, ""


def _names(effort: Effort) -> Attempted:
    """Names of runs that would lead elsewhere."""
    findings: list[str] = []
    chance = random.Random(effort.seed)
    names = [
        "..",
        ".",
        "../x",
        "a/../../x",
        "/etc",
        "\\x",
        "a\0b",
        "",
        " ",
        "a\n",
        "-x",
        ".x",
        "\x1b[2J",
        "x" * 101,
        "\u202ex",
        "\udce9",
    ]
    pieces = ["..", "/", "\\", "\0", "x", ".", "%2e", "~", "\n", "é"]
    names += ["".join(chance.choices(pieces, k=chance.randrange(1, 6))) for _ in range(effort.count(2000))]
    with open_folder() as folder:
        runs, outside = folder / "runs", folder / "outside"
        runs.mkdir()
        outside.mkdir()
        secret = outside / "run.json"
        secret.write_text("{}")
        for name in names:
            leads_out = not name or "/" in name or "\\" in name or "\0" in name or name.startswith((".", "-"))
            for attempt in (lambda name=name: Run.create(runs, name, "p"), lambda name=name: Run.open(runs, name)):
                try:
                    run = attempt()
                except RunError:
                    continue
                except (ValueError, OSError, UnicodeError) as error:
                    findings.append(f"the name {name!r}: {error!r:.80}")
                    continue
                if leads_out or run.path.parent != runs:
                    findings.append(f"the name {name!r} leads to {run.path}")
        (runs / "link").symlink_to(outside)
        refused(lambda: Run.open(runs, "link"), RunError, "a run that is a link", findings)
        refused(lambda: Run.create(runs, "link", "p"), RunError, "a new run in the place of a link", findings)
        if sorted(path.name for path in outside.iterdir()) != ["run.json"]:
            findings.append("something was written where a link leads")
    return 2 * len(names) + 2, findings, ""


def refused(attempt: Callable[[], object], kind: type[Exception], what: str, findings: list[str]) -> None:
    """Adds to the findings what is wrong, unless the attempt raises that kind of error."""
    try:
        attempt()
    except kind:
        return
    except Exception as error:  # another kind is a finding, too
        findings.append(f"{what}: {error!r:.100}")
        return
    findings.append(f"{what} is not refused")
