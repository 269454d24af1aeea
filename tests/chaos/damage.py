"""Gate 5: a checkpoint with one bit flipped is refused, and the one before it is used."""

from __future__ import annotations

import random

from gpt import checkpoint
from gpt.errors import CheckpointError
from gpt.trainer import Trainer
from tests.chaos.gate import Effort, Outcome, gate, scratch_folder, spread
from tests.chaos.tiny import profile, warm_up


@gate("5a", "one bit of a checkpoint flipped: the one before is used", unit="bits")
def flipped_bits(effort: Effort) -> Outcome:
    """In the newest of three checkpoints, anywhere in any of its files."""
    warm_up()
    total = effort.count(1000)
    jobs = [(effort.seed + number, min(250, total - number)) for number in range(0, total, 250)]
    findings = [finding for each in spread(_flip, jobs, effort.workers) for finding in each]
    return Outcome(total, findings[:20], note="tensors, optimizer, state.json; all refused, by the file's name")


def _flip(job: tuple[int, int]) -> list[str]:
    seed, count = job
    chance, findings = random.Random(seed), []
    with scratch_folder() as folder:
        Trainer(profile(folder, train__max_steps=6), folder / "run", lambda event: None).run()
        parent = folder / "run" / "checkpoints"
        newest, before = checkpoint.list_newest_first(parent)[:2]
        files = [path for path in newest.iterdir() for _ in range(1 + path.stat().st_size // 4096)]
        for _ in range(count):
            path = chance.choice(files)
            sound = path.read_bytes()
            damaged = bytearray(sound)
            at = chance.randrange(len(sound))
            damaged[at] ^= 1 << chance.randrange(8)
            path.write_bytes(damaged)
            found, _, complaints = checkpoint.newest(parent)
            if found != before:
                findings.append(f"{path.name}, byte {at}: accepted")
            elif not any(path.name in each for each in complaints) and path.name != "state.json":
                findings.append(f"{path.name}, byte {at}: {complaints}")
            try:
                checkpoint.verify(newest)
                findings.append(f"{path.name}, byte {at}: verifies")
            except CheckpointError:
                pass
            path.write_bytes(sound)
        if checkpoint.newest(parent)[0] != newest:
            findings.append("the undamaged one is not found again")
    return findings
