"""What it takes to open the log of a month: 2.6 million steps, one a second, on 256 ranks.

    python tests/bench/month.py [--steps N] [--ranks N] [--log FILE]

Writes a log as such a run would (in pieces, nothing of it kept in memory), then has it read and reduced as an attached
screen does, and a second time with the digest that the first has left. Prints seconds, CPU time, bytes a step on disk,
and how much memory the reading process took at most.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import threading
import time
from pathlib import Path

from cockpit.reducer import reduce
from cockpit.runs import Run
from cockpit.state import RunState
from gpt import events as ev
from gpt.rollcall import summary

MONTH = 30 * 24 * 3600
EVERY = 10
"""Steps between two roll calls: train.log_interval as it is by default."""


def write(path: Path, steps: int, ranks: int) -> None:
    """The log of a run of one step a second, with what the clock and the machine say in between."""
    call = ev.encode(summary(0, EVERY, [[1000.0, 0.5, 700.0 + rank / 10] for rank in range(ranks)]))
    head, tail = call.split(b'"step":0')
    held = {"rss": 2**31, "host_memory_used": 2**33, "host_memory_total": 2**36}
    with path.open("wb") as file:
        for step in range(1, steps + 1):
            at = 1.7e9 + step
            loss = 2.8 + 8 * step**-0.5
            file.write(ev.encode(ev.StepDone(
                time=at, step=step, loss=loss, lr=6e-4, grad_norm=0.4, ms=1000.0, data_ms=0.5, tokens=step * 524288,
                tokens_per_s=524288.0, mfu=0.4,
            )))  # fmt: skip
            file.write(ev.encode(ev.LedgerUpdated(time=at, seconds={"train": float(step)}, wall=float(step))))
            file.write(ev.encode(ev.TelemetrySampled(time=at, cpu_percent=90.0, process_cpu_percent=99.0, **held)))
            if ranks > 1 and step % EVERY == 0:
                file.write(head + b'"step":%d' % step + tail)
            if step % 1000 == 0:
                file.write(ev.encode(ev.EvalDone(
                    time=at, step=step, train_loss=loss, val_loss=loss, seconds=20.0, best=True
                )))  # fmt: skip


def timed(run: Run) -> tuple[float, RunState]:
    """Seconds until all of a run is known, and what is."""
    start, state = time.monotonic(), RunState()
    for event in run.read_past():
        state = reduce(state, event)
    return time.monotonic() - start, state


def main() -> None:
    parser = argparse.ArgumentParser(description="Opens the log of a month.")
    parser.add_argument("--steps", type=int, default=MONTH)
    parser.add_argument("--ranks", type=int, default=256)
    parser.add_argument("--log", type=Path, help="one that is there, instead of a made one")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpt-cockpit-") as folder:
        run = Run(Path(folder))
        if asked.log:
            run.events_path.symlink_to(asked.log.resolve())
        else:
            write(run.events_path, asked.steps, asked.ranks)
        size = run.events_path.stat().st_size
        first, state = timed(run)
        while threading.active_count() > 1:  # the reader leaves its digest, and is waited for
            time.sleep(0.01)
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        again, _ = timed(run)
    sys.stdout.write(
        f"{state.step:,} steps, {size / 1e6:,.0f} MB, {size / max(1, state.step):.0f} bytes a step\n"
        f"read and reduced in {first:.1f} s, {spent.ru_utime + spent.ru_stime:.1f} s of CPU time, "
        f"{spent.ru_maxrss / 1024:,.0f} MB at most; the second time in {again:.1f} s\n"
        f"ranks: {state.ranks.newest.ranks if state.ranks.newest else 1}, {len(state.ranks.calls)} roll calls kept\n"
    )


if __name__ == "__main__":
    main()
