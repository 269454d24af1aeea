"""Gate 6: whatever is read from files, sockets and keyboards may hold anything; only typed errors come of it.

Each input is a sound one, mutated: bits, lengths, nesting, numbers, splices with others of its kind. Its reader may
raise what it says it raises, must be done soon, and must not take memory that the input does not account for.
"""

from __future__ import annotations

import importlib
import random
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.gate import Effort, Outcome, gate, scratch, spread

MOST_SECONDS = 1.0
"""CPU time of a thread that one input may take; the slowest sound one takes a hundredth."""
MOST_GROWTH = 400 << 20
"""Bytes of memory by which a process may grow over all of its inputs."""
LIMITED = ("ckpt.pt",)
"""Read in processes of their own, which a time limit ends: torch's reader goes on for minutes at some inputs."""
PIECE = 2000
"""Inputs of one job."""

_WORDS = (
    b"\x00", b"\xff" * 8, b"\x7f" * 8, b"\xff\xff\xff\x7f", b"-1", b"1e999", b"-0", b"NaN", b"inf",
    b"9" * 400, b"9" * 5000,
    b"[" * 300, b"{" * 300, b"[" * 100_000, b'{"a":' * 20_000, b"a." * 3000, b'"', b"'''", b"\\ud800", b"\\u0000",
    b"\n", b"\r", b"=",
    b"\xed\xa0\x80", b"\xe2\x80\xae", b"\x1b]52;c;x\x07", b"true", b"null", b"[[x]]", b"x = {",
    b"1979-05-27T07:32:00Z", b"0x",
    b" " * 1000, b"A" * 70_000,
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A reader of what may be hostile."""

    name: str
    share: float
    """Of all inputs."""
    seeds: Callable[[], list[bytes]]
    """Sound inputs."""
    ready: Callable[[Path], Callable[[bytes], None]]
    """Given an empty folder: what reads one input, and swallows the errors that the reader promises."""


def mutated(sound: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """An input like a sound one, with one to four things wrong with it."""
    made = bytearray(sound)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(made) + 1)
        to = min(len(made), at + chance.choice((1, 2, 4, 8, 32, 500)))
        match chance.randrange(9):
            case 0 if made:
                made[at % len(made)] ^= 1 << chance.randrange(8)
            case 1:
                made[at:to] = chance.randbytes(to - at)
            case 2:
                del made[at:to]
            case 3:
                del made[at:]
            case 4 | 5:
                made[at : chance.choice((at, to))] = chance.choice(_WORDS)
            case 6:
                made[at:at] = made[at:to] * chance.choice((1, 3, 100))
            case 7:
                other = chance.choice(others)
                cut = chance.randrange(len(other) + 1)
                made[at:to] = other[cut : cut + chance.choice((4, 40, 4000))]
            case _:
                made[at:to] = chance.randrange(-(2**63), 2**64).to_bytes(9, "little", signed=True)[
                    : chance.choice((1, 2, 4, 8))
                ]
    return bytes(made[: 1 << 20])


@gate("6", "fuzzing: only typed errors, soon, in little memory", unit="inputs")
def fuzzing(effort: Effort) -> Outcome:
    """Each target its share of the inputs, in pieces that processes share."""
    jobs: list[tuple[int, int, int]] = []
    total = effort.count(100_000, least=len(TARGETS))
    for index, target in enumerate(TARGETS):
        left = max(1, round(total * target.share))
        while left:
            jobs.append((index, min(PIECE, left), effort.seed * 1_000_003 + len(jobs)))
            left -= min(PIECE, left)
    done = spread(_fuzz, jobs, effort.workers)
    findings = sorted({finding for found in done for finding in found})
    shares = " · ".join(target.name for target in TARGETS)
    return Outcome(sum(job[1] for job in jobs), findings, note=shares)


def _fuzz(job: tuple[int, int, int]) -> list[str]:
    """The findings of one job: (index of the target, inputs, seed)."""
    index, count, seed = job
    target = TARGETS[index]
    chance = random.Random(seed)
    seeds = target.seeds()
    findings: dict[str, str] = {}
    signal.signal(signal.SIGVTALRM, _give_up)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with _folder() as folder:
        feed = target.ready(folder)
        for number in range(-len(seeds), count):  # the sound ones first: imports and caches are not the inputs' doing
            data = mutated(chance.choice(seeds), seeds, chance) if number >= 0 else seeds[number]
            start = time.thread_time()
            try:
                signal.setitimer(signal.ITIMER_VIRTUAL, 10 * MOST_SECONDS)
                feed(data)
            except Exception as error:  # the finding
                where = traceback.extract_tb(error.__traceback__)[-1]
                what = f"{target.name}: {type(error).__name__} in {Path(where.filename).name}:{where.lineno}"
                findings.setdefault(what, f"{what}: {str(error)[:80]!r} from {data[:60]!r}…")
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            seconds = time.thread_time() - start
            if seconds > MOST_SECONDS and number >= 0 and target.name not in LIMITED:
                findings.setdefault(
                    "slow", f"{target.name}: {seconds:.1f} s of CPU for {len(data):,} bytes {data[:60]!r}…"
                )
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    if grown > MOST_GROWTH:
        findings["grown"] = f"{target.name}: {grown / 2**20:,.0f} MiB more after {count:,} inputs (seed {seed})"
    return list(findings.values())


def _give_up(number: int, frame: object) -> None:
    """An input has taken ten times what it may: it might go on for ever."""
    raise TimeoutError("it did not end")


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="fuzzing-", dir=scratch()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _of_file(
    name: str, promised: Callable[[], tuple[type[BaseException], ...]], read: Callable[[Path], object]
) -> Callable[[Path], Callable[[bytes], None]]:
    """A reader of a file of that name, and what it says it raises."""

    def ready(folder: Path) -> Callable[[bytes], None]:
        path, errors = folder / name, promised()

        def feed(data: bytes) -> None:
            path.write_bytes(data)
            with suppress(errors):
                read(path)

        return feed

    return ready


# Checkpoints


def _only(name: str) -> Callable[[], tuple[type[BaseException], ...]]:
    """That error of gpt.errors, imported when it is needed."""

    def errors() -> tuple[type[BaseException], ...]:
        return (getattr(importlib.import_module(module), kind),)

    module, _, kind = name.rpartition(".")
    return errors


def _tensor_files() -> list[bytes]:
    import torch

    from gpt import tensorfile

    with _folder() as folder:
        tensorfile.write(folder / "a", {"weight": torch.ones(3, 2), "bias": torch.zeros(2, dtype=torch.float16)})
        tensorfile.write(folder / "b", {"x": torch.arange(4), "é": torch.ones(0)})
        return [path.read_bytes() for path in sorted(folder.iterdir())]


def _load_tensors(path: Path) -> None:
    from gpt import checkpoint

    for tensor in checkpoint.load_tensors(path.parent, path.stem).values():
        tensor.numel()


def _states() -> list[bytes]:
    from gpt import checkpoint

    document = {"format": 1, "step": 20, "files": {"model.safetensors": "0" * 64}, "evaluation": {"val_loss": 1.5}}
    document["sha256"] = checkpoint._document_hash(document)
    import json

    return [json.dumps(document, indent=1).encode(), b'{"format":2,"step":1,"files":{}}', b"[]"]


def _verify(path: Path) -> None:
    from gpt import checkpoint

    checkpoint.verify(path.parent)


# Tokens


def _shards() -> list[bytes]:
    import numpy as np

    from gpt.shards import header

    tokens = np.arange(300)
    small, large = np.dtype("<u2"), np.dtype("<u4")
    return [
        header(300, small) + tokens.astype(small).tobytes(), header(300, large) + tokens.astype(large).tobytes(),
        tokens.astype(small).tobytes(), b"",
    ]  # fmt: skip


def _open_shard(in_memory: bool, path: Path) -> None:
    import numpy as np

    from gpt.tokens import Tokens

    tokens = Tokens.open(path, vocab_size=50_304, in_memory=2**20 if in_memory else 0)
    if len(tokens) > 8:
        tokens.gather(np.array([0, len(tokens) - 8]), 8)
        tokens.fingerprint()


def _open_both(path: Path) -> None:
    from gpt.errors import DataError

    for in_memory in (True, False):
        with suppress(DataError):
            _open_shard(in_memory, path)


def _metas() -> list[bytes]:
    import pickle

    chars = "\n abcé"
    meta = {"vocab_size": len(chars), "stoi": {c: i for i, c in enumerate(chars)}, "itos": dict(enumerate(chars))}
    return [pickle.dumps(meta, protocol) for protocol in range(6)]


def _read_meta(path: Path) -> None:
    from gpt.interop.nanogpt import read_meta

    _ = read_meta(path).chars


def _datasets() -> list[bytes]:
    import msgspec

    from gpt.dataset_file import DatasetFile, ShardEntry, SplitEntry

    split = SplitEntry(shards=(ShardEntry(file="a.bin", tokens=3, sha256="0"),), tokens=3, bytes=9, documents=1)
    dataset = DatasetFile(
        tokenizer={"kind": "bytes"}, vocab_size=257, end_of_text=256, dtype="uint16", layout="llm.c", source="x",
        splits={"train": split, "val": split},
    )  # fmt: skip
    return [msgspec.json.encode(dataset)]


def _read_dataset(path: Path) -> None:
    from gpt.dataset_file import read_dataset_file

    read_dataset_file(path.parent)


def _nanogpt_checkpoints() -> list[bytes]:
    import io

    import torch

    weights = {"transformer.wte.weight": torch.ones(5, 2), "transformer.wpe.weight": torch.ones(4, 2)}
    arguments = {"n_layer": 1, "n_head": 1, "n_embd": 2, "block_size": 4, "vocab_size": 5, "bias": False}
    made = []
    for old in (False, True):
        file = io.BytesIO()
        torch.save(
            {"model": weights, "model_args": arguments, "iter_num": 3, "best_val_loss": torch.tensor(2.0),
             "config": {"max_iters": 9, "dataset": "x"}, "optimizer": {"state": {}, "param_groups": []}},
            file, _use_new_zipfile_serialization=not old,
        )  # fmt: skip
        made.append(file.getvalue())
    return made


def _import_checkpoint(path: Path) -> None:
    """The reading of a `ckpt.pt`; what its process would end with is an error here."""
    import logging
    import warnings
    from unittest import mock

    from gpt.errors import CheckpointError
    from gpt.interop import nanogpt_checkpoint, unpickle

    def extract(source: Path, folder: Path) -> None:
        try:
            unpickle.extract(source, folder)
        except Exception as error:  # any other one ends that process with 1
            raise CheckpointError(str(error)) from None

    logging.disable(logging.CRITICAL)
    with mock.patch.object(nanogpt_checkpoint, "_extract", extract), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nanogpt_checkpoint.read(path, data_dir=path.parent, name="x")


# Settings


def _profiles() -> list[bytes]:
    from tests.terminal.harness import PROFILE, ROOT

    return [PROFILE.encode(), *(path.read_bytes() for path in sorted((ROOT / "profiles").glob("*.toml"))[:4])]


def _load_profile(path: Path) -> None:
    from cockpit import profile

    profile.load(path)


def _overrides(folder: Path) -> Callable[[bytes], None]:
    from cockpit import profile
    from gpt.errors import ProfileError

    path = folder / "p.toml"
    path.write_text('name = "x"\n')

    def feed(data: bytes) -> None:
        with suppress(ProfileError):
            profile.load(path, data.decode(errors="surrogateescape").split("\n")[:3])

    return feed


def _keymaps() -> list[bytes]:
    return [b'pause = "p"\nevaluate = ["e", "f5"]\n', b"sample = []\n", b'quit = "ctrl+k"\n']


def _load_keymap(path: Path) -> None:
    from cockpit import keymap

    try:
        keymap.load(path)
    finally:
        keymap.REBOUND.clear()


# What crosses


def _frames() -> list[bytes]:
    from cockpit.link import wire
    from gpt.commands import Pause, Sample

    messages = (
        wire.Ask(protocol=1, version="1", name="ada", screen=True), wire.Order(number=1, command=Pause()),
        wire.Order(number=2, command=Sample(prompt="x")), wire.TakeControls(), wire.GoOn(offset=3), wire.Over(),
        wire.Answer(number=1, refused="no"), wire.Refused(why="x"), wire.Papers(facts={"a": 1}, profile="x"),
    )  # fmt: skip
    return [wire.encode(message) for message in messages] + [b"".join(map(wire.encode, messages))]


def _frame(folder: Path) -> Callable[[bytes], None]:
    from cockpit.link import wire

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
    from cockpit.link.place import knock
    from cockpit.runs import Run

    knock(Run(path.parent))


def _keys() -> list[bytes]:
    return [
        b"\x1b[A", b"\x1b[<0;10;20M", b"\x1b[200~paste\x1b[201~", b"q", b"\x1b[97;5u", b"\x1b[?2026;2$y", b"\x1bO",
        b"\x1b[I",
        b"\x1b[48;35;120;700;1200t", b"\xc3\xa9", b"\x1b]11;rgb:0000/0000/0000\x1b\\", b"\x1b[M !!", b"\x1b[1;1R",
    ]  # fmt: skip


def _type(folder: Path) -> Callable[[bytes], None]:
    """As cockpit.driver reads keys."""
    from cockpit.driver import Keys

    def feed(data: bytes) -> None:
        keys, data = Keys(), data[:1000]
        for at in range(0, len(data), 97):
            for _ in (*keys.feed(data[at : at + 97]), *keys.tick()):
                pass
        keys.close()

    return feed


# Logs


def _logs() -> list[bytes]:
    from gpt import events as ev
    from tests.chaos.hostile import every_event

    lines = list(map(ev.encode, every_event("words")))
    return [b"".join(lines), *lines]


def _read_log(path: Path) -> None:
    """All that reads a log, up to what it is reduced to."""
    from cockpit import glance, logfile
    from cockpit.runs import Run
    from cockpit.state import RunState, reduce, reduce_all

    run = Run(path.parent)
    state = RunState()
    for event in run.read_events():
        state = reduce(state, event)
    reduce_all(RunState(), run.read_stretches())
    logfile.sampled_steps(path, 4)
    logfile.decoded(logfile.tail(path, 4096))
    logfile.changed_settings(path)
    _ = (run.read_facts(), run.in_use_by(), glance.__name__)


def _nothing() -> tuple[type[BaseException], ...]:
    return ()


def _facts() -> list[bytes]:
    return [b'{"run": "x", "pid": 3, "forked_from": {"run": "y", "step": 3}, "profile_path": "a.toml"}']


def _read_facts(path: Path) -> None:
    from cockpit.runs import Run

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
    from cockpit import nanogpt_log
    from gpt.config import Profile

    nanogpt_log.read(path, None)
    nanogpt_log.read(path, Profile(), 65, 1000)


TARGETS = (
    Target(
        "safetensors",
        0.06,
        _tensor_files,
        _of_file("model.safetensors", _only("gpt.errors.CheckpointError"), _load_tensors),
    ),
    Target("state.json", 0.12, _states, _of_file("state.json", _only("gpt.errors.CheckpointError"), _verify)),
    Target("shards", 0.08, _shards, _of_file("train.bin", _nothing, _open_both)),
    Target("dataset.json", 0.12, _datasets, _of_file("dataset.json", _only("gpt.errors.DataError"), _read_dataset)),
    Target("meta.pkl", 0.14, _metas, _of_file("meta.pkl", _only("gpt.errors.DataError"), _read_meta)),
    Target(
        "ckpt.pt",
        0.02,
        _nanogpt_checkpoints,
        _of_file("ckpt.pt", _only("gpt.errors.CheckpointError"), _import_checkpoint),
    ),
    Target("profiles", 0.03, _profiles, _of_file("p.toml", _only("gpt.errors.ProfileError"), _load_profile)),
    Target("--set", 0.05, lambda: [b"optim.lr=3", b"train.max_steps=10\noptim.name=adamw"], _overrides),
    Target("keys.toml", 0.06, _keymaps, _of_file("keys.toml", _only("cockpit.keymap.KeymapError"), _load_keymap)),
    Target("socket frames", 0.16, _frames, _frame),
    Target("control.path", 0.04, _pointers, _of_file("control.path", _only("cockpit.link.wire.LinkError"), _knock)),
    Target("keys", 0.03, _keys, _type),
    Target("events.jsonl", 0.04, _logs, _of_file("events.jsonl", _nothing, _read_log)),
    Target("run.json, lock", 0.03, _facts, _of_file("run.json", _nothing, _read_facts)),
    Target(
        "nanoGPT's logs", 0.02, _nanogpt_logs, _of_file("log.txt", _only("gpt.errors.DataError"), _read_nanogpt_log)
    ),
)
"""All readers of what somebody else may have written."""
assert abs(sum(target.share for target in TARGETS) - 1) < 1e-9
