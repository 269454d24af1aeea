"""Runs the gates and prints what each has tried, in how long, and what it found: `make chaos`, `make chaos-long`."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: what is forked from here must have no threads

MODULES = (
    "crash_states", "slim", "kills", "refusals", "small_disk", "signalled", "faults", "fuzzing", "escapes", "access",
    "soak", "mutants",
)  # fmt: skip
"""Those that register gates, in the order in which they run."""

LONG = 20.0
"""How many times as much `make chaos-long` tries."""


def main() -> int:
    """0: all passed. 1: something was found. 2: no such gate."""
    options = _options()
    from tests.chaos.gate import GATES, Effort

    for name in MODULES:
        importlib.import_module(f"tests.chaos.{name}")
    effort = Effort(scale=LONG if options.long else options.scale, seed=options.seed, workers=options.workers)
    gates = [gate for gate in GATES if not options.gate or {gate.number, gate.number.rstrip("abc")} & set(options.gate)]
    if not gates:
        print(f"no gate {', '.join(options.gate)}; there are {', '.join(gate.number for gate in GATES)}")
        return 2
    told: list[dict[str, Any]] = []
    if not options.json:
        print(f"{'gate':<5} {'':<47} {'count':>12}  {'time':>7}  result", flush=True)
    for gate in gates:
        start = time.monotonic()
        outcome = gate.run(effort)
        seconds = time.monotonic() - start
        result = "skipped" if outcome.skipped else "failed" if outcome.findings else "passed"
        told.append({
            "gate": gate.number, "name": gate.name, "count": outcome.count, "unit": gate.unit,
            "seconds": round(seconds, 1), "result": result, "note": outcome.note or outcome.skipped,
            "findings": outcome.findings,
        })  # fmt: skip
        if not options.json:
            _tell(told[-1])
    if options.json:
        print(json.dumps(told, indent=1))
    return int(any(each["result"] == "failed" for each in told))


def _tell(each: dict[str, Any]) -> None:
    count = f"{each['count']:,} {each['unit']}"
    print(f"{each['gate']:<5} {each['name']:<47.47} {count:>12}  {each['seconds']:>5.0f} s  {each['result']}")
    print(f"      {each['note']}")
    for finding in each["findings"]:
        print(f"    ! {finding}")
    sys.stdout.flush()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--gate", nargs="*", default=[], help="which: 1 2a 3; 2 is both 2a and 2b")
    parser.add_argument("--scale", type=float, default=1.0, help="how many times what one push is worth")
    parser.add_argument("--long", action="store_true", help=f"{LONG:.0f} times as much")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes at once")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
