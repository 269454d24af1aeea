"""Whether the doctor's forecasts come true: small real runs, each forecast from its first half.

    python tests/bench/forecasting.py --make CURVES.json TEXT… --kind long --draw 3    trains them, 5 to 20 s each
    python tests/bench/forecasting.py CURVES.json [--share 0.5]                        forecasts them

The runs differ in text, size, context, batch, rate, schedule, length, dropout and seed. Their settings and their losses
at each evaluation are written as numbers; tests/doctor holds those of `brief` 0 and `long` 3, on tiny Shakespeare and
WikiText-2's validation and test texts. The constants of the forecast were chosen on `brief` 1 and
`long` 2. A forecast knows what the doctor would: the evaluations so far and the profile's schedule. It has come true
where the last evaluation lies in its interval. Prints one line a run, then how many came true, the median width of the
intervals, and that width as a share of what the steps not seen have brought.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from cockpit.doctor.forecast import Forecast, forecast, scheduled
from gpt.config import OptimConfig, Profile, decode
from gpt.events import EvalDone, Event

SHAPES = {
    "brief": ((2, 2, 32, 32), (2, 2, 64, 64), (3, 4, 64, 32), (4, 4, 64, 32), (2, 4, 96, 32)),
    "long": ((2, 2, 32, 32), (2, 2, 48, 32), (2, 2, 64, 32), (2, 2, 48, 64), (3, 3, 48, 32)),
}
"""(n_layer, n_head, n_embd, block_size) by kind of run."""
STEPS = {"brief": [400, 600, 800, 1200], "long": [800, 1600, 2400]}
RATES = {"brief": [1e-3, 2e-3, 4e-3], "long": [2e-3, 4e-3, 8e-3]}
BATCHES = {"brief": [6, 12], "long": [6, 10]}
"""Sequences in a step."""
SCHEDULES = ("cosine", "cosine", "linear", "wsd", "constant")
EVALUATIONS = 40
"""In a run, one more before its first step."""


def draw_profile(dice: np.random.Generator, number: int, texts: list[str], kind: str) -> Profile:
    """One run's settings. Texts and schedules take turns; the rest is drawn."""
    layers, heads, width, block = SHAPES[kind][dice.integers(5)]
    steps = int(dice.choice(STEPS[kind]))
    return decode({
        "name": f"run-{number}",
        "model": {"n_layer": layers, "n_head": heads, "n_embd": width, "block_size": block,
                  "dropout": float(dice.choice([0.0, 0.0, 0.1]))},
        "data": {"input": texts[number % len(texts)], "tokenizer": "char"},
        "train": {"max_steps": steps, "micro_batch_size": int(dice.choice(BATCHES[kind])),
                  "device": "cpu", "threads": 1, "noise_scale_interval": 0,
                  "eval_interval": steps // EVALUATIONS, "eval_steps": int(dice.choice([4, 8])),
                  "seed": int(dice.integers(10**6))},
        "optim": {"learning_rate": float(dice.choice(RATES[kind])), "schedule": SCHEDULES[number % 5],
                  "warmup_steps": int(dice.choice([0, 20, 100]))},
        "checkpoint": {"interval": 0, "best": False},
        "device": {"peak_tflops": 1.0},  # not measured: nobody asks
    })  # fmt: skip


def train(profile: Profile) -> dict[str, Any]:
    """Trains it in a folder that is thrown away; its curve."""
    from gpt.trainer import Trainer

    events: list[Event] = []
    with tempfile.TemporaryDirectory() as folder:
        Trainer(profile, Path(folder), events.append).run()
    losses = [event.val_loss or math.nan for event in events if isinstance(event, EvalDone)]
    shape, optim = profile.model, profile.optim
    return {
        "run": f"{shape.n_layer}x{shape.n_embd} context {shape.block_size} {optim.schedule} {optim.learning_rate:g}",
        "max_steps": profile.train.max_steps, "every": profile.train.eval_interval,
        "optim": {"learning_rate": optim.learning_rate, "schedule": optim.schedule, "warmup_steps": optim.warmup_steps},
        "val_loss": [round(loss, 4) for loss in losses],
    }  # fmt: skip


def make(path: Path, texts: list[str], kind: str, count: int, draw: int) -> None:
    """Trains and writes so many runs, each as soon as it is there."""
    dice = np.random.default_rng(draw)
    curves: list[dict[str, Any]] = []
    for number in range(count):
        began = time.perf_counter()
        curves.append(train(draw_profile(dice, number, texts, kind)))
        seconds = time.perf_counter() - began
        sys.stdout.write(f"{number + 1:3} {curves[-1]['run']:45} {curves[-1]['val_loss'][-1]:.4f} {seconds:5.1f} s\n")
        sys.stdout.flush()
        path.write_text("[\n" + ",\n".join(json.dumps(curve) for curve in curves) + "\n]\n")


def foretell(curve: dict[str, Any], share: float = 0.5) -> Forecast | None:
    """The end of a curve, foretold from the first share of its steps."""
    losses = np.array(curve["val_loss"])
    steps = curve["every"] * np.arange(len(losses))
    seen = steps <= share * curve["max_steps"]
    rate = scheduled(OptimConfig(**curve["optim"]), curve["max_steps"])
    return forecast(steps[seen], losses[seen], curve["max_steps"], rate)


def report(curves: list[dict[str, Any]], share: float) -> None:
    """Says how each forecast compares with what came."""
    widths, parts, hits, say = [], [], 0, sys.stdout.write
    for curve in curves:
        found = foretell(curve, share)
        if found is None:
            say(f"{curve['run']:45} nothing foretold\n")
            continue
        end, width = curve["val_loss"][-1], found.high - found.low
        brought = found.final + found.gain - end
        true = found.low <= end <= found.high
        hits += true
        widths.append(width)
        parts.append(width / max(brought, 1e-3))
        say(f"{curve['run']:45} end {end:.4f}  foretold {found.final:.4f}, {found.low:.4f} to {found.high:.4f}  "
            f"{'  ' if true else 'no'}  half {found.final + found.gain:.4f}  alpha {found.exponent:.2f}\n")  # fmt: skip
    say(f"{hits} of {len(curves)} came true; median width {statistics.median(widths):.4f} nats, "
        f"{statistics.median(parts):.2f} of what the rest of the run brought\n")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("curves", type=Path)
    parser.add_argument("--make", nargs="+", metavar="TEXT")
    parser.add_argument("--kind", choices=sorted(SHAPES), default="long")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--draw", type=int, default=0, help="other runs")
    parser.add_argument("--share", type=float, default=0.5, help="of the steps that a forecast sees")
    options = parser.parse_args()
    if options.make:
        make(options.curves, options.make, options.kind, options.count, options.draw)
        return
    report(json.loads(options.curves.read_text()), options.share)


if __name__ == "__main__":
    main()
