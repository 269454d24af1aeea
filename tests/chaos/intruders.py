"""Gate 8: nobody comes in from a browser or another machine, and no program that lies in a file is run."""

from __future__ import annotations

import ast
import io
import os
import pickle
import random
from collections.abc import Callable

import torch

from cockpit.web.door import Door, check_host, is_called_by_loopback, is_own_page
from gpt.errors import RunError, UserError
from gpt.interop import nanogpt_checkpoint
from gpt.interop.nanogpt import read_meta
from tests.chaos.access import Attempted, open_folder, refused, tried
from tests.chaos.gate import ROOT, Effort, Outcome, gate


@gate("8d", "access: hosts, tokens, and programs in files", unit="attempts", weight=4)
def intruders(effort: Effort) -> Outcome:
    """Each way in that is refused, tried."""
    return tried((_hosts, _tokens, _programs_in_files), effort)


def _hosts(effort: Effort) -> Attempted:
    """Addresses that other machines can reach, and names of browsers' requests that are not this machine's."""
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
        refused(lambda host=host: check_host(host), RunError, f"serve --host {host!r}", findings)
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
    findings: list[str] = []
    with open_folder() as folder:
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
            refused(lambda read=read, name=name: read(folder / name), UserError, f"a program in {name}", findings)
        if mark.exists():
            findings.append("a pickle was run")
    return len(hostile), findings, ""
