"""What it takes to open the log of a month: 2.6 million steps, one a second, on 256 ranks.

    python tests/bench/month.py [--steps N] [--ranks N] [--log FILE]

Writes a log as such a run would (in pieces, nothing of it kept in memory), then reads and reduces it as an attached
screen does, and prints seconds of CPU time, bytes a step on disk, and how much memory it took at most.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path

from cockpit.runs import Run
from cockpit.state import RunState, reduce
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
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.process_time()
        state = RunState()
        for event in run.read_stretches():
            state = reduce(state, event)
        seconds = time.process_time() - start
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(
        f"{state.step:,} steps, {size / 1e6:,.0f} MB, {size / max(1, state.step):.0f} bytes a step\n"
        f"read and reduced in {seconds:.1f} s of CPU time, {(most - before) / 1024:,.0f} MB more memory at most\n"
        f"ranks: {state.ranks.newest.ranks if state.ranks.newest else 1}, {len(state.ranks.calls)} roll calls kept\n"
    )


if __name__ == "__main__":
    main()
