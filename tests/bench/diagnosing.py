"""Whether the doctor finds what real runs have been made ill with, and lets sound ones be.

    python tests/bench/diagnosing.py TEXT [TEXT…] [--only NAME…] [--keep FOLDER]    5 minutes on 2 cores

TEXT is tiny Shakespeare, and others where they are there (WikiText-2's validation text). Each run is the program's
own, headless, of seconds, in a process of its own; what it is found to have is what the doctor beside it has written
to the run's log and not taken back by the end. Each ill run has one thing wrong; other findings of it are printed
too: they may be true of so short a run. A sound run must have none above `note`. Where other programs take the
processor that is found as well, rightly: it is said of the machine, and does not count against the run. Prints one
line a run, then how many rules fired where they should. The exit code is 1 where one did not, or a sound run was
called ill.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cockpit.checkup import Finding
from cockpit.glance import glance
from cockpit.runs import Run
from gpt.config import as_toml

MACHINE = {"crowded_cpu", "host_memory", "disk_full"}
"""Rules that speak of the machine, not of the run."""
MOST_SECONDS = 60.0
"""Of one run; it is then stopped as ctrl+c does, and the doctor looks once more."""
SOUND: dict[str, Any] = {
    "model.n_layer": 2, "model.n_head": 2, "model.n_embd": 64, "model.block_size": 64, "data.tokenizer": "char",
    "train.micro_batch_size": 12, "train.max_steps": 500, "train.eval_interval": 50, "train.eval_steps": 12,
    "train.device": "cpu", "train.threads": 1, "train.noise_scale_interval": 20, "optim.learning_rate": 2e-3,
    "optim.warmup_steps": 30, "checkpoint.interval": 0, "checkpoint.best": False, "device.peak_tflops": 1.0,
}  # fmt: skip
"""0.1 M parameters, 0.38 M characters: 4 s, with nothing wrong. The peak is given so that nobody measures it."""


@dataclass(frozen=True)
class Case:
    """One run."""

    name: str
    rule: str | None
    """What it must be found to have; None of a sound one."""
    changes: dict[str, Any] = field(default_factory=dict)
    text: int = 0
    """Which of the texts, by number; the last where there are fewer."""
    share: float = 1.0
    """Of the text, from its beginning."""
    twice: bool = False
    """Whether the text is there twice over."""
    neighbours: bool = False
    """Whether another program takes every core meanwhile."""
    seconds: float = MOST_SECONDS


ILL = (
    Case("a small text, many times over", "overfitting", {
        "model.n_embd": 128, "model.block_size": 32, "train.max_steps": 700, "train.eval_interval": 35,
        "optim.learning_rate": 4e-3,
    }, share=0.005),
    Case("100 times the usual rate", "learning_rate", {"optim.learning_rate": 0.1}),
    Case("no warm-up at a high rate", "warmup", {"optim.learning_rate": 4e-3, "optim.warmup_steps": 0}),
    Case("dropout in less than one epoch", "dropout_gap", {"model.dropout": 0.2}),
    Case("a tiny model, hundreds of tokens a parameter", "saturated", {
        "model.n_layer": 1, "model.n_embd": 16, "model.block_size": 32, "train.micro_batch_size": 32,
        "train.max_steps": 3000, "train.eval_interval": 500,
    }),
    Case("one batch an evaluation", "noisy_evaluation", {
        "train.eval_steps": 1, "train.micro_batch_size": 2, "model.block_size": 32, "train.max_steps": 800,
        "train.eval_interval": 20,
    }),
    Case("evaluations that take most of the time", "costly_evaluation", {
        "train.eval_interval": 10, "train.eval_steps": 30, "train.max_steps": 20_000,
    }, seconds=50.0),
    Case("other programs on every core", "crowded_cpu", {"train.threads": None, "train.max_steps": 1500},
         neighbours=True, seconds=50.0),
    Case("every step clipped", "clipping", {"optim.grad_clip": 0.05}),
    Case("a decay that ends half-way", "decay_end", {"optim.decay_steps": 250}),
    Case("the same text in both splits", "same_data", {}, share=0.4, twice=True),
    Case("a size that it has not", "model_size", {"expected_parameters": "1M"}),
)  # fmt: skip

WELL = (
    Case("as it should be", None),
    Case("another text", None, {"train.seed": 7}, text=1),
    Case("wider, and a linear decay", None, {"model.n_embd": 96, "model.n_head": 3, "optim.schedule": "linear",
                                             "train.max_steps": 400, "train.eval_interval": 40}),
    Case("bytes, and three layers", None, {"model.n_layer": 3, "data.tokenizer": "byte", "train.max_steps": 400,
                                           "train.eval_interval": 40}),
    Case("another text, and warm-up, stable, decay", None, {
        "optim.schedule": "wsd", "train.micro_batch_size": 16, "model.block_size": 48,
    }, text=1),
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="Real runs that are ill, and some that are well.")
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="runs with one of these words in name or rule")
    parser.add_argument("--keep", type=Path, help="folder that the runs stay in")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing that was started stays
    began, say = time.perf_counter(), sys.stdout.write
    fired: set[str] = set()
    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = (options.keep or Path(scratch)).resolve()
        texts = [path.resolve() for path in options.texts]
        for case in (*ILL, *WELL):
            if options.only and not any(word in f"{case.name} {case.rule}" for word in options.only):
                continue
            seconds, findings = trained(case, texts, folder, Path(scratch))
            found = {each.rule for each in findings}
            above = [each.rule for each in findings if each.severity != "note" and each.rule not in MACHINE]
            is_right = case.rule in found if case.rule else not above
            failed += not is_right
            fired |= found & {case.rule}
            words = ", ".join(f"{each.rule} {each.severity}" for each in findings) or "nothing"
            say(f"{'' if is_right else 'NOT '}{case.rule or 'sound':<19} {seconds:5.1f} s  {case.name}: {words}\n")
            sys.stdout.flush()
    say(f"{len(fired)} rules fired where they should; {failed} runs were not told as they are; "
        f"{time.perf_counter() - began:.0f} s\n")  # fmt: skip
    return 1 if failed else 0


def trained(case: Case, texts: list[Path], folder: Path, scratch: Path) -> tuple[float, list[Finding]]:
    """(seconds it took, what stands at its end) of a run, trained by a process of its own."""
    stem = case.name.replace(" ", "-").replace(",", "")
    folder.mkdir(parents=True, exist_ok=True)
    source = texts[min(case.text, len(texts) - 1)]
    if case.share != 1:
        text = source.read_text(encoding="utf-8")
        source = folder / f"{stem}.txt"
        source.write_text(text[: int(case.share * len(text))] * (2 if case.twice else 1), encoding="utf-8")
    profile = scratch / f"{stem}.toml"
    profile.write_text(f"[data]\ninput = {json.dumps(str(source))}\n")
    settings = {key: value for key, value in {**SOUND, **case.changes}.items() if value is not None}
    command = [sys.executable, "-m", "cockpit", str(profile), "--headless", "--run", stem, "--runs-dir", str(folder)]
    command += [word for key, value in settings.items() for word in ("--set", f"{key}={as_toml(value)}")]
    began = time.perf_counter()
    with neighbours() if case.neighbours else nullcontext():
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            said, _ = process.communicate(timeout=case.seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=MOST_SECONDS)
        finally:
            process.kill()
    if process.returncode not in (0, 130):
        raise SystemExit(f"{case.name}: exit code {process.returncode}\n{said[-2000:]}")
    return time.perf_counter() - began, list(glance(Run(folder / stem)).checkup.findings)


@contextmanager
def neighbours() -> Iterator[None]:
    """Programs that compute on every core."""
    code = f"import time; end = time.time() + {2 * MOST_SECONDS}\nwhile time.time() < end: pass"
    busy = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for each in busy:
            each.kill()
            each.wait()


if __name__ == "__main__":
    sys.exit(main())
