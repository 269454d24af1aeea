"""Gate 8: nobody is let in, no name leads out of the runs' folder, and nothing that is read is run."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import tomli
from packaging.requirements import Requirement

from tests.chaos.gate import Effort, Outcome, gate

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
"""User id that owns nothing here."""

_CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "marshal.loads", "shelve.open", "yaml.load", "torch.load", "np.load", "numpy.load", "joblib.load", "dill.loads",
    "subprocess.getoutput", "subprocess.getstatusoutput", "os.spawnl", "os.execl", "pty.spawn", "input",
}  # fmt: skip
"""What runs text, or what pickles hold, or asks a shell to."""
_ALLOWED = {
    ("gpt/interop/unpickle.py", "torch.load"): "the import's own process, weights_only=True",
}
"""Where one of these stands, and why it may."""


@gate("8a", "access: no eval, exec, shell or pickle in the program", unit="calls")
def calls(effort: Effort) -> Outcome:
    """Every call in gpt/ and cockpit/, by its syntax tree."""
    count, findings, used = 0, [], set()
    for path in sorted([*(ROOT / "gpt").rglob("*.py"), *(ROOT / "cockpit").rglob("*.py")]):
        name = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            count += 1
            called = ast.unparse(node.func)
            if called in _CALLS:
                used.add((name, called))
                if (name, called) not in _ALLOWED:
                    findings.append(f"{name}:{node.lineno} calls {called}")
            findings += [f"{name}:{node.lineno} {wrong}" for wrong in _wrong_words(called, node)]
    findings += [f"{name} no longer calls {called}" for name, called in _ALLOWED.keys() - used]
    return Outcome(
        count, findings, note=" · ".join(f"{called} in {name}: {why}" for (name, called), why in _ALLOWED.items())
    )


def _wrong_words(called: str, node: ast.Call) -> Iterator[str]:
    """What is wrong with a call's arguments."""
    for word in node.keywords:
        value = ast.unparse(word.value)
        if word.arg == "shell" and value != "False":
            yield "asks for a shell"
        if word.arg == "weights_only" and value != "True":
            yield f"unpickles with weights_only={value}"
        if word.arg == "trust_remote_code" and value != "False":
            yield "trusts code from elsewhere"
    if called == "torch.load" and not any(word.arg == "weights_only" for word in node.keywords):
        yield "unpickles without weights_only"


@gate("8b", "access: modes, users, links and names", unit="attempts")
def attempts(effort: Effort) -> Outcome:
    """Each way in that is refused, tried."""
    done, findings, skipped = 0, [], []
    for attempt in (_modes, _foreign_user, _links, _names, _hosts, _tokens, _programs_in_files):
        count, found, why = attempt(effort)
        done += count
        findings += found
        skipped += [why] if why else []
    return Outcome(
        done,
        findings[:20],
        note="; ".join(["modes · users · links · names · hosts · tokens · programs in files", *skipped]),
    )


Attempted = tuple[int, list[str], str]
"""How many attempts, what was wrong, and what could not be tried here."""


@contextmanager
def _runs() -> Iterator[Path]:
    """A folder that another user can get to, were he let in."""
    folder = Path(tempfile.mkdtemp(prefix="access-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _modes(effort: Effort) -> Attempted:
    """Whatever the umask: folders of runs and sockets are their user's alone."""
    from cockpit.eventlog import EventLog
    from cockpit.link.place import Door
    from cockpit.runs import Run

    findings, count = [], 0
    before = os.umask(0)
    try:
        for mask in (0, 0o022, 0o077):
            os.umask(mask)
            with _runs() as folder:
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
    from cockpit.eventlog import EventLog
    from cockpit.link.server import LinkServer
    from cockpit.runs import Run
    from gpt.config import Profile

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
    with _runs() as folder:
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
    from cockpit.link.place import knock
    from cockpit.link.wire import LinkError
    from cockpit.runs import Run

    for name in ("control.sock", "control.path"):
        path = folder / name
        path.unlink(missing_ok=True)
        if name.endswith(".sock"):
            with socket.socket(socket.AF_UNIX) as line:
                line.bind(os.fspath(path))
        else:
            path.write_text("/tmp/x.sock")
        os.chown(path, NOBODY, NOBODY)
        _refused(lambda: knock(Run(folder)), LinkError, f"another user's {name}", findings)
        path.unlink()
    return 2


def _links(effort: Effort) -> Attempted:
    """Links in the places of a run's socket and pointer."""
    from cockpit.link.place import Door, knock
    from cockpit.link.wire import LinkError
    from cockpit.runs import Run

    findings: list[str] = []
    count = 0
    for name in ("control.sock", "control.path"):
        for target in ("/etc/passwd", "/nowhere", "."):
            with _runs() as folder:
                run = Run.create(folder, "x", "p")
                (run.path / name).symlink_to(target)
                _refused(lambda run=run: knock(run), LinkError, f"a link {name} to {target} (attaching)", findings)
                _refused(lambda run=run: Door(run), LinkError, f"a link {name} to {target} (serving)", findings)
                count += 2
    return count, findings, ""


def _names(effort: Effort) -> Attempted:
    """Names of runs that would lead elsewhere."""
    from cockpit.runs import Run
    from gpt.errors import RunError

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
    with _runs() as folder:
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
        _refused(lambda: Run.open(runs, "link"), RunError, "a run that is a link", findings)
        _refused(lambda: Run.create(runs, "link", "p"), RunError, "a new run in the place of a link", findings)
        if sorted(path.name for path in outside.iterdir()) != ["run.json"]:
            findings.append("something was written where a link leads")
    return 2 * len(names) + 2, findings, ""


def _hosts(effort: Effort) -> Attempted:
    """Addresses that other machines can reach, and names of browsers' requests that are not this machine's."""
    from cockpit.web.door import check_host, is_called_by_loopback, is_own_page
    from gpt.errors import RunError

    findings: list[str] = []
    reachable = [
        "0.0.0.0",
        "::",
        "",
        "*",
        "192.168.1.2",
        "10.0.0.1",
        "example.com",
        "127.0.0.1 ",
        "127.1",
        "localhost.evil",
        "0",
        "[::]",
    ]
    for host in reachable:
        _refused(lambda host=host: check_host(host), RunError, f"serve --host {host!r}", findings)
    called = [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil:8000",
        "127.0.0.1:8000@evil",
        "",
        "evil:80#localhost",
        "127.0.0.1:8000\r\nX: y",
    ]
    findings += [f"a request for {host!r} is let in" for host in called if is_called_by_loopback(host)]
    origins = [None, "null", "http://evil.example", "https://127.0.0.1:8000", "http://127.0.0.1:8001"]
    findings += [f"a page from {origin!r} is let in" for origin in origins if is_own_page(origin, "127.0.0.1:8000")]
    findings += [
        f"{host} is not let in"
        for host in ("127.0.0.1:8000", "localhost", "[::1]:80")
        if not is_called_by_loopback(host)
    ]
    return len(reachable) + len(called) + len(origins), findings, ""


def _tokens(effort: Effort) -> Attempted:
    """Guesses at the link's token, and at the cookie; and how they are compared."""
    from cockpit.web.door import Door

    findings: list[str] = []
    chance = random.Random(effort.seed)
    count = effort.count(20_000)
    door = Door()
    for _ in range(count):
        guess = list(door.token)
        guess[chance.randrange(len(guess))] = chance.choice("-_é\udce9A")
        wrong = "".join(guess)[: chance.choice((None, None, 5))]
        if wrong != door.token and (door.exchange(wrong) or door.admits(wrong)):
            findings.append(f"{wrong!r} was let in")
    key = door.exchange(door.token)
    if not key or door.exchange(door.token) or not door.admits(key) or door.admits(door.token) or len(door.token) < 43:
        findings.append("the token is not good for once, or has fewer than 256 bits")
    source = (ROOT / "cockpit" / "web" / "door.py").read_text()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Compare)
            and any(isinstance(each, ast.Eq) for each in node.ops)
            and {"token", "_key"} & set(ast.unparse(node).replace(".", " ").split())
        ):
            findings.append(f"door.py:{node.lineno} compares a secret in a time that tells of it")
    if "compare_digest" not in source:
        findings.append("door.py compares no secret in constant time")
    return count + 5, findings, ""


def _programs_in_files(effort: Effort) -> Attempted:
    """Pickles that would run a command, where pickles are read: none is run."""
    import io
    import pickle

    import torch

    from gpt.errors import UserError
    from gpt.interop import nanogpt_checkpoint
    from gpt.interop.nanogpt import read_meta

    findings: list[str] = []
    with _runs() as folder:
        mark = folder / "run-by-a-file"

        class Program:
            def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
                return os.system, (f"touch {mark}",)

        file = io.BytesIO()
        torch.save({"model": {"x": torch.ones(1)}, "model_args": Program()}, file)
        hostile = {
            "meta.pkl": pickle.dumps({"vocab_size": Program()}),
            "ckpt.pt": file.getvalue(),
            "old.pt": pickle.dumps(Program()),
        }
        for name, content in hostile.items():
            (folder / name).write_bytes(content)
            read = (
                read_meta
                if name == "meta.pkl"
                else lambda path: nanogpt_checkpoint.read(path, data_dir=path.parent, name="x")
            )
            _refused(lambda read=read, name=name: read(folder / name), UserError, f"a program in {name}", findings)
        if mark.exists():
            findings.append("a pickle was run")
    return len(hostile), findings, ""


def _refused(attempt: Callable[[], object], kind: type[Exception], what: str, findings: list[str]) -> None:
    try:
        attempt()
    except kind:
        return
    except Exception as error:  # another kind is a finding, too
        findings.append(f"{what}: {error!r:.100}")
        return
    findings.append(f"{what} is not refused")


@gate("8c", "licences of what is installed for it", unit="packages")
def licences(effort: Effort) -> Outcome:
    """By the packages' own metadata, offline: each has one, and none is copyleft beyond weak."""
    project = tomli.loads((ROOT / "pyproject.toml").read_text())["project"]
    found: dict[str, str] = {}
    _collect(project["dependencies"], found)
    unknown = sorted(name for name, licence in found.items() if not licence)
    strong = sorted(
        f"{name} ({licence})" for name, licence in found.items() if "AGPL" in licence or "GNU General Public" in licence
    )
    findings = [f"{name} names no licence" for name in unknown] + [f"{each} is copyleft" for each in strong]
    return Outcome(
        len(found), findings, note=" · ".join(f"{name} {licence}" for name, licence in sorted(found.items()))
    )


def _collect(requirements: list[str], found: dict[str, str]) -> None:
    """The licences of requirements and of what those require, by name; those that are not installed are left out."""
    for text in requirements:
        requirement = Requirement(text)
        name = requirement.name.lower()
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        try:
            package = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found[name] = _licence(package)
        _collect(package.requires or [], found)


def _licence(package: importlib.metadata.Distribution) -> str:
    facts = package.metadata
    said = facts.get("License-Expression") or ""
    classified = [
        each.rpartition(" :: ")[2] for each in facts.get_all("Classifier") or [] if each.startswith("License ::")
    ]
    lines = (facts.get("License") or "").strip().splitlines()
    return said or ", ".join(classified) or (lines[0][:40] if lines else "")
