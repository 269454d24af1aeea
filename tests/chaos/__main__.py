"""Runs the gates and prints what each has tried, in how long, and what it found: `make chaos`, `make chaos-long`."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.chaos.lanes import Report

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: what is forked from here must have no threads

MODULES = {
    "crash_states": ("1",), "slim": ("2a",), "kills": ("2b",), "refusals": ("3a", "3b"), "small_disk": ("3c",),
    "signalled": ("4",), "damage": ("5a",), "faults": ("5b",), "racing": ("5c",), "mishaps": ("5d",),
    "read_only": ("5e",), "fuzzing": ("6",), "escapes": ("7a",), "views": ("7b",), "calls": ("8a",), "access": ("8b",),
    "licences": ("8c",), "intruders": ("8d",), "soak": ("9",), "mutants": ("10",),
}  # fmt: skip
"""Those that register gates, and which, in the order in which these are told."""

LONG = 20.0
"""How many times as much `make chaos-long` tries."""


def main() -> int:
    """0: all passed. 1: something was found. 2: no such gate."""
    options = _options()
    from tests.chaos.gate import GATES, Effort
    from tests.chaos.lanes import reports

    chosen = {number for numbers in MODULES.values() for number in numbers if is_meant(number, options.gate)}
    if not chosen:
        print(f"no gate {', '.join(options.gate)}; there are {', '.join(n for each in MODULES.values() for n in each)}")
        return 2
    for name, numbers in MODULES.items():
        if chosen & {*numbers}:
            importlib.import_module(f"tests.chaos.{name}")
    effort = Effort(scale=LONG if options.long else options.scale, seed=options.seed, workers=options.workers)
    gates = [gate for gate in GATES if gate.number in chosen]
    start = time.monotonic()
    if len(gates) > 1:
        importlib.import_module("tests.chaos.tiny").warm_up()  # once for all of them
    if not options.json:
        print(f"{'gate':<5} {'':<52} {'count':>15}  {'time':>8}  {'CPU':>8}  result", flush=True)
    told: list[Report] = []
    for report in reports(gates, effort, options.lanes):
        told.append(report)
        if not options.json:
            _tell(report)
    seconds, failed = time.monotonic() - start, sum(report.result == "failed" for report in told)
    if options.json:
        print(json.dumps({"seconds": round(seconds, 1), "failed": failed, "gates": [*map(_facts, told)]}, indent=1))
    else:
        cpu = sum(report.cpu_seconds for report in told)
        print(f"{len(told)} gates, {failed} failed, in {seconds:,.0f} s; {cpu:,.0f} s of CPU")
    return int(failed > 0)


def is_meant(number: str, asked: list[str]) -> bool:
    """Whether a gate is among those that were asked for, by its number, or that without its letter; all are by none."""
    return not asked or bool({number, number.rstrip("abcde")} & {*asked})


def _tell(report: Report) -> None:
    gate, outcome = report.gate, report.outcome
    count = f"{outcome.count:,} {gate.unit}"
    print(
        f"{gate.number:<5} {gate.name:<52} {count:>15}  {report.seconds:>6,.0f} s  {report.cpu_seconds:>6,.0f} s  "
        f"{report.result}"
    )
    print(f"      {outcome.note or outcome.skipped}")
    for finding in outcome.findings:
        print(f"    ! {finding}")
    sys.stdout.flush()


def _facts(report: Report) -> dict[str, Any]:
    gate, outcome = report.gate, report.outcome
    return {
        "gate": gate.number, "name": gate.name, "count": outcome.count, "unit": gate.unit,
        "seconds": round(report.seconds, 1), "cpu_seconds": round(report.cpu_seconds, 1), "result": report.result,
        "note": outcome.note or outcome.skipped, "findings": outcome.findings,
    }  # fmt: skip


def _options() -> argparse.Namespace:
    from tests.chaos.lanes import LANES

    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--gate", nargs="*", default=[], help="which: 1 2a 3; 2 is both 2a and 2b")
    parser.add_argument("--scale", type=float, default=1.0, help="how many times what one push is worth")
    parser.add_argument("--long", action="store_true", help=f"{LONG:.0f} times as much")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes that share one gate's work")
    parser.add_argument("--lanes", type=int, default=LANES, help="gates at once; 1: one after the other")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
