"""Gate 10: the program with one of its safeguards taken out must be caught by a gate or a test.

Each mutant is a copy of the tree with one piece of text replaced; what watches over that piece runs in the copy and has
to fail there. A piece that is not found any more is a finding too: then the list below is out of date.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.gate import ROOT, Effort, Outcome, gate, spread

_COPIED = ("gpt", "cockpit", "tests", "profiles", "pyproject.toml")

CRASHES = ("-m", "tests.chaos", "--workers", "1", "--scale", "0.05", "--gate", "1")
RUNS = ("-m", "tests.chaos", "--workers", "1", "--scale", "0.014", "--gate", "2b")
REFUSALS = ("-m", "tests.chaos", "--workers", "1", "--scale", "0.1", "--gate", "3a")


@dataclass(frozen=True)
class Mutant:
    """A safeguard, how it is taken out, and what has to notice."""

    what: str
    file: str
    old: str
    new: str
    watch: tuple[str, ...]
    """Arguments for the interpreter, in the mutated copy."""


def _tests(*selection: str) -> tuple[str, ...]:
    return ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *selection)


MUTANTS = (
    Mutant("fsync of the tensors", "gpt/tensorfile.py", "        os.fsync(descriptor)\n", "", CRASHES),
    Mutant("fsync of state.json", "gpt/durable.py", "    os.fsync(file.fileno())\n", "", CRASHES),
    Mutant("fsync of folders", "gpt/durable.py", "        os.fsync(descriptor)\n", "        pass\n", CRASHES),
    Mutant(
        "fsync of a new run's folders", "cockpit/runs.py", "            durable.sync_folder(runs_dir)\n", "", CRASHES
    ),
    Mutant(
        "the rename: written where it is read", "gpt/checkpoint.py",
        'draft = parent / f".{place.name}.{os.getpid()}.tmp"\n    try:\n        shutil.rmtree(draft, ignore_errors=True)  # of',
        "draft = place\n    try:\n        shutil.rmtree(draft, ignore_errors=True)  # of", CRASHES,
    ),
    Mutant(
        "the old one kept until the new one is durable", "gpt/checkpoint.py", "    place.rename(aside)\n",
        "    shutil.rmtree(place)\n    aside.mkdir()\n", CRASHES,
    ),
    Mutant("the hash check", "gpt/checkpoint.py", "if durable.sha256_of(path / name) != expected:", "if False:", CRASHES),
    Mutant(
        "the hash of state.json itself", "gpt/checkpoint.py",
        'document.pop("sha256") != _document_hash(document)', 'not document.pop("sha256")', CRASHES,
    ),
    Mutant("the cut of a torn line", "cockpit/eventlog.py", "        os.ftruncate(file, keep)\n", "        pass\n", CRASHES),
    Mutant(
        "the second try to take back half a line", "cockpit/eventlog.py",
        "            self._take_back()\n            rest, ", "            rest, ", REFUSALS,
    ),
    Mutant("the next try of a refused save", "gpt/saver.py", ", self._try_again_later(job.reason))", ")", REFUSALS),
    Mutant(
        "the generators' restore", "gpt/snapshot.py", "            torch.set_rng_state(state)\n", "            pass\n", RUNS
    ),
    Mutant(
        "the escape filter", "cockpit/sanitize.py", "    if category in _UNSAFE:\n        return _CONTROL\n", "",
        _tests("tests/cockpit/test_sanitize.py"),
    ),
    Mutant(
        "the lock", "cockpit/runlock.py", "            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)\n", "",
        _tests("tests/cli/test_runs.py"),
    ),
)  # fmt: skip


@gate("10", "mutants: one safeguard taken out each", unit="mutants", weight=130)
def mutants(effort: Effort) -> Outcome:
    """Every mutant has to be caught, and what catches it has to pass on the program as it is."""
    chosen = MUTANTS[:: max(1, round(1 / effort.scale))]
    watches = sorted({mutant.watch for mutant in chosen})
    jobs = [*chosen, *watches]
    results = spread(_suffer, jobs, effort.workers)
    findings = [result for result in results if result]
    return Outcome(len(chosen), findings, f"all caught; {len(watches)} watches pass without" * (not findings))


def _suffer(job: Mutant | tuple[str, ...]) -> str:
    """What is wrong, if anything: a mutant that nobody noticed, or a watch that fails by itself."""
    mutant = job if isinstance(job, Mutant) else None
    watch = mutant.watch if mutant else job
    assert isinstance(watch, tuple)
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        home = Path(folder)
        for name in _COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, home / name, ignore=shutil.ignore_patterns("__pycache__", "__snapshots__"))
            else:
                shutil.copy(ROOT / name, home / name)
        if mutant:
            path = home / mutant.file
            text = path.read_text()
            if text.count(mutant.old) != 1:
                return f"{mutant.what}: {mutant.file} holds {text.count(mutant.old)} times what is to be replaced"
            path.write_text(text.replace(mutant.old, mutant.new))
        done = subprocess.run(
            [sys.executable, *watch], cwd=home, capture_output=True, text=True, check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(home)},
        )  # fmt: skip
    last = (done.stdout + done.stderr).strip().splitlines()[-1:]
    if mutant and done.returncode == 0:
        return f"{mutant.what}: nobody noticed ({' '.join(watch[1:])})"
    if not mutant and done.returncode:
        return f"{' '.join(watch[1:])} fails without a mutant: {last}"
    return ""
