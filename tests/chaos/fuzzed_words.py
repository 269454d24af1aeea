"""Sound inputs of gate 6 and their readers: what people write, what crosses the socket, and what is logged."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cockpit import keymap, logfile, nanogpt_log, profile
from cockpit.driver import Keys
from cockpit.link import wire
from cockpit.link.place import knock
from cockpit.reducer import reduce, reduce_all
from cockpit.runs import Run
from cockpit.state import RunState
from gpt import events as ev
from gpt.commands import Pause, Sample
from gpt.config import Profile
from gpt.errors import DataError, ProfileError
from tests.chaos.hostile import every_event
from tests.chaos.target import Target, of_file
from tests.terminal.harness import PROFILE, ROOT

# Settings


def _profiles() -> list[bytes]:
    return [PROFILE.encode(), *(path.read_bytes() for path in sorted((ROOT / "profiles").glob("*.toml"))[:4])]


def _load_profile(path: Path) -> None:
    profile.load(path)


def _overrides(folder: Path) -> Callable[[bytes], None]:
    path = folder / "p.toml"
    path.write_text('name = "x"\n')

    def feed(data: bytes) -> None:
        with suppress(ProfileError):
            profile.load(path, data.decode(errors="surrogateescape").split("\n")[:3])

    return feed


def _keymaps() -> list[bytes]:
    return [b'pause = "p"\nevaluate = ["e", "f5"]\n', b"sample = []\n", b'quit = "ctrl+k"\n']


def _load_keymap(path: Path) -> None:
    try:
        keymap.load(path)
    finally:
        keymap.REBOUND.clear()


# What crosses


def _frames() -> list[bytes]:
    messages = (
        wire.Ask(protocol=1, version="1", name="ada", screen=True), wire.Order(number=1, command=Pause()),
        wire.Order(number=2, command=Sample(prompt="x")), wire.TakeControls(), wire.GoOn(offset=3), wire.Over(),
        wire.Answer(number=1, refused="no"), wire.Refused(why="x"), wire.Papers(facts={"a": 1}, profile="x"),
    )  # fmt: skip
    return [wire.encode(message) for message in messages] + [b"".join(map(wire.encode, messages))]


def _frame(folder: Path) -> Callable[[bytes], None]:
    def feed(data: bytes) -> None:
        lines = wire.Lines(wire.LONGEST_ORDER)
        half = len(data) // 2
        whole = b""
        for piece in (data[:half], data[half:], b"\n"):
            try:
                whole += lines.feed(piece)
            except wire.LinkError:
                return
        for line in whole.splitlines():
            for read in (wire.from_reader, wire.to_reader):
                with suppress(wire.LinkError):
                    read(line)
        with suppress(wire.LinkError):
            wire.parts(whole)

    return feed


def _pointers() -> list[bytes]:
    return [b"/run/user/0/gpt-cockpit/0123456789abcdef.sock"]


def _knock(path: Path) -> None:
    knock(Run(path.parent))


def _keys() -> list[bytes]:
    return [
        b"\x1b[A", b"\x1b[<0;10;20M", b"\x1b[200~paste\x1b[201~", b"q", b"\x1b[97;5u", b"\x1b[?2026;2$y", b"\x1bO",
        b"\x1b[I",
        b"\x1b[48;35;120;700;1200t", b"\xc3\xa9", b"\x1b]11;rgb:0000/0000/0000\x1b\\", b"\x1b[M !!", b"\x1b[1;1R",
    ]  # fmt: skip


def _type(folder: Path) -> Callable[[bytes], None]:
    """As cockpit.driver reads keys."""

    def feed(data: bytes) -> None:
        keys, data = Keys(), data[:1000]
        for at in range(0, len(data), 97):
            for _ in (*keys.feed(data[at : at + 97]), *keys.tick()):
                pass
        keys.close()

    return feed


# Logs


def _logs() -> list[bytes]:
    lines = list(map(ev.encode, every_event("words")))
    return [b"".join(lines), *lines]


def _read_log(path: Path) -> None:
    """All that reads a log, up to what it is reduced to."""
    run = Run(path.parent)
    state = RunState()
    for event in run.read_events():
        state = reduce(state, event)
    reduce_all(RunState(), run.read_stretches())
    logfile.sampled_steps(path, 4)
    logfile.decoded(logfile.tail(path, 4096))
    logfile.changed_settings(path)
    _ = (run.read_facts(), run.in_use_by())


def _facts() -> list[bytes]:
    return [b'{"run": "x", "pid": 3, "forked_from": {"run": "y", "step": 3}, "profile_path": "a.toml"}']


def _read_facts(path: Path) -> None:
    run = Run(path.parent)
    (path.parent / "lock").write_bytes(path.read_bytes())
    (path.parent / "profile.toml").write_bytes(path.read_bytes())
    _ = (run.read_facts(), run.forked_from, run.profile_name, run.in_use_by(), run.in_use, run.resume_arguments())


def _nanogpt_logs() -> list[bytes]:
    return [
        b"tokens per iteration will be: 16,384\nfound vocab_size = 65 (inside data/meta.pkl)\n"
        b"number of parameters: 10.65M\n"
        b"compiling the model... (takes a ~minute)\nstep 0: train loss 4.2874, val loss 4.2823\n"
        b"iter 0: loss 4.2654, time 26849.47ms, mfu -100.00%\niter 10: loss 3.2411, time 20.47ms, mfu 12.00%\n"
        b"step 250: train loss nan, val loss inf\niter 5: loss 1e-3, time 20.47ms\n"
    ]  # fmt: skip


def _read_nanogpt_log(path: Path) -> None:
    nanogpt_log.read(path, None)
    nanogpt_log.read(path, Profile(), 65, 1000)


TARGETS = (
    Target("profiles", 0.03, _profiles, of_file("p.toml", _load_profile, ProfileError)),
    Target("--set", 0.05, lambda: [b"optim.lr=3", b"train.max_steps=10\noptim.name=adamw"], _overrides),
    Target("keys.toml", 0.06, _keymaps, of_file("keys.toml", _load_keymap, keymap.KeymapError)),
    Target("socket frames", 0.16, _frames, _frame),
    Target("control.path", 0.04, _pointers, of_file("control.path", _knock, wire.LinkError)),
    Target("keys", 0.03, _keys, _type),
    Target("events.jsonl", 0.04, _logs, of_file("events.jsonl", _read_log)),
    Target("run.json, lock", 0.03, _facts, of_file("run.json", _read_facts)),
    Target("nanoGPT's logs", 0.02, _nanogpt_logs, of_file("log.txt", _read_nanogpt_log, DataError)),
)
