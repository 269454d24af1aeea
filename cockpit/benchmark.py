"""`gpt-cockpit bench`: how fast a profile's real step is here, alone or against a plain loop.

Every measurement is a process of its own, and those that are compared take turns, so that a machine that drifts drifts
for both.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from cockpit import format as fmt
from gpt.config import Profile
from gpt.errors import RunError

_PLAIN_LOOP = Path(__file__).resolve().parents[1] / "tests" / "bench" / "plain_loop.py"


def bench(profile: Profile, *, steps: int, warmup: int, repeats: int, baseline: bool) -> dict[str, Any]:
    """Measures a profile; the keys are those of `gpt.bench.measure`, each figure the median over the repeats.

    With `baseline` also baseline_ms_per_iter, ratio (baseline / ours, the median over the pairs), ratios, and
    largest_loss_difference (nats/token, over all steps: the same work gives the same curve).

    Raises RunError where a measurement fails.
    """
    if baseline and not _PLAIN_LOOP.exists():
        raise RunError("--baseline needs the plain loop of the source checkout; install with pip install -e .")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "profile.json"
        path.write_bytes(msgspec.json.encode(profile))
        options = [str(path), "--steps", str(steps), "--warmup", str(warmup)]
        ours, plain = [], []
        for _ in range(repeats):
            ours.append(_measure(["-m", "gpt.bench", *options]))
            if baseline:
                plain.append(_measure([str(_PLAIN_LOOP), *options]))
    result = ours[0] | {
        key: statistics.median(run[key] for run in ours)
        for key, value in ours[0].items()
        if isinstance(value, float) and all(run[key] is not None for run in ours)
    }
    result["breakdown"] = {
        part: statistics.median(run["breakdown"][part] for run in ours) for part in ours[0]["breakdown"]
    }
    result["repeats"] = repeats
    losses = result.pop("losses")
    if baseline:
        ratios = [b["ms_per_iter"] / a["ms_per_iter"] for a, b in zip(ours, plain, strict=True)]
        result |= {
            "baseline_ms_per_iter": statistics.median(run["ms_per_iter"] for run in plain),
            "ratio": statistics.median(ratios),
            "ratios": ratios,
            "largest_loss_difference": max(abs(a - b) for a, b in zip(losses, plain[0]["losses"], strict=True)),
        }
    return result


def as_table(profile: Profile, result: dict[str, Any]) -> str:
    """The result in a few aligned lines."""
    compiled = f", compiled in {result['compile_s']:.1f} s" if result["compiled"] else ""
    known = f"{fmt.percent(result['mfu'])} % of the peak" if result["mfu"] is not None else "peak unknown"
    spread = f"5…95 % {result['ms_per_iter_p05']:.2f}…{result['ms_per_iter_p95']:.2f}"
    parts = "   ".join(f"{part} {ms:.2f}" for part, ms in result["breakdown"].items())
    peak = result["measured_peak_flops"] / 1e12
    lines = [
        f"{profile.name} on {result['device']}, {result['dtype']}{compiled}, torch {result['torch']}",
        f"  ms/iter    {result['ms_per_iter']:.2f}   {spread}   {result['steps']} steps × {result['repeats']}",
        f"  tokens/s   {result['tokens_per_s']:,.0f}",
        f"  MFU        {known}; {fmt.percent(result['mfu_measured_peak'])} % of the measured {peak:.3g} TFLOP/s",
        f"  memory     {result['peak_memory_bytes'] / 2**30:.2f} GiB peak",
        f"  a step     {parts}   (ms)",
    ]
    if "ratio" in result:
        ratios = ", ".join(f"{ratio:.2f}" for ratio in result["ratios"])
        lines += [
            f"  plain loop {result['baseline_ms_per_iter']:.2f} ms/iter: ours is {result['ratio']:.2f}× as fast "
            f"({ratios}); losses differ by {result['largest_loss_difference']:.1e} at most",
        ]
    return "\n".join(lines)


def _measure(arguments: list[str]) -> dict[str, Any]:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode == 2:
        raise RunError(done.stderr.strip().rsplit("\n", 1)[-1])
    if done.returncode:
        sys.stderr.write(done.stderr)
        raise RunError(f"the measurement ended with {done.returncode}; what it said is above")
    return json.loads(done.stdout.strip().rsplit("\n", 1)[-1])
