"""Gate 6: whatever is read from files, sockets and keyboards may hold anything; only typed errors come of it.

Each input is a sound one, mutated: bits, lengths, nesting, numbers, splices with others of its kind. Its reader may
raise what it says it raises, must be done soon, and must not take memory that the input does not account for.
"""

from __future__ import annotations

import random
import resource
import signal
import time
import traceback
from pathlib import Path

from tests.chaos import fuzzed_data, fuzzed_words
from tests.chaos.gate import Effort, Outcome, gate, scratch_folder, spread

TARGETS = (*fuzzed_data.TARGETS, *fuzzed_words.TARGETS)
"""All readers of what somebody else may have written."""
assert abs(sum(target.share for target in TARGETS) - 1) < 1e-9

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


@gate("6", "fuzzing: only typed errors, soon, in little memory", unit="inputs", weight=37)
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
    with scratch_folder() as folder:
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
