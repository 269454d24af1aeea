"""What it takes to attach to a run: until the whole picture is there, and what readers cost the run.

    python tests/bench/attaching.py [--steps 100000,1000000] [--readers 50] [--seconds 5] [--repeats 3]

First: a run whose trainer stands still, with a log of so many steps, served by a process; the program attaches to it in
a pseudo-terminal, from the start of its process until the last step of the log is on its screen. Second: a process that
tells of 100 steps a second and computes none, in turns with so many readers attached, which a process of its own
drains, and with none: the CPU time that it takes more is what training has less, as a share of one core. Prints one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from cockpit.link.client import SocketLine
from cockpit.link.place import knock
from cockpit.link.wire import PROTOCOL, Ask, encode
from cockpit.pseudoterminal import PseudoTerminal
from cockpit.runs import Run
from gpt import events as ev
from tests.terminal.harness import PROFILE, ROOT

SERVE = """\
import sys
from pathlib import Path
from types import SimpleNamespace
class Still:
    failure = None
    def __init__(self, profile, run_dir, emit, **_): self.emit = emit
    def send(self, command): pass
    def run(self):
        from gpt.events import StepDone
        import time
        step = 2_000_000
        while True:
            time.sleep(1 / rate if rate else 1000)
            step += 1
            self.emit(StepDone(step=step, loss=1.0, lr=1e-3, grad_norm=0.8, ms=9.5, tokens=step, tokens_per_s=5e4))
sys.modules["gpt.trainer"] = SimpleNamespace(Trainer=Still)
from cockpit.link.local import LocalLink
from cockpit.profile import load
from cockpit.runs import Run
run, rate = Run(Path(sys.argv[1])), int(sys.argv[2])
with run.lock():
    LocalLink(run, load(run.path / "profile.toml").profile).start()
    print("up", flush=True)
    sys.stdin.read()
"""


def started() -> ev.RunStarted:
    return ev.RunStarted(
        run="long", profile="sums", step=0, max_steps=100_000_000, parameters=60_000,
        parameters_without_positions=59_000, block_size=32, micro_batch_size=8, grad_accum_steps=1,
        tokens_per_step=256, vocab_size=20, tokenizer="char", train_tokens=10**6, val_tokens=10**5, device="CPU",
        device_type="cpu", dtype="float32", compiled=False, flops_per_token=1e6, pid=1, versions="",
    )  # fmt: skip


def write_long(folder: Path, steps: int) -> None:
    """A run's folder with a log of so many steps, a clock and meters beside every twelfth."""
    folder.mkdir(mode=0o700)
    run = Run(folder)
    run.write_profile(PROFILE.replace("max_steps = 200_000", "max_steps = 100_000_000"))
    run.write_facts({"run": folder.name})
    at = time.time() - steps * 0.08
    done = ev.StepDone(
        step=0, loss=1.0, lr=1e-3, grad_norm=0.8, ms=76.123, data_ms=0.8, tokens=0, tokens_per_s=53_900.5
    )
    meters = ev.TelemetrySampled(
        rss=10**9, host_memory_used=5 * 10**9, host_memory_total=16 * 10**9, cpu_percent=97.0, process_cpu_percent=188.0
    )
    with run.events_path.open("wb", buffering=2**20) as file:
        file.write(ev.encode(msgspec.structs.replace(started(), time=at)))
        file.write(ev.encode(ev.StateChanged(time=at, state="running")))
        for step in range(1, steps + 1):
            now, loss = at + step * 0.08, 1.5 + 4.0 / (1 + step / 1000) + 0.01 * (step * 7919 % 13)
            file.write(ev.encode(msgspec.structs.replace(done, time=now, step=step, loss=loss, tokens=256 * step)))
            if step % 12 == 0:
                file.write(ev.encode(ev.LedgerUpdated(time=now, seconds={"train": step * 0.08}, wall=step * 0.08)))
                file.write(ev.encode(msgspec.structs.replace(meters, time=now)))


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)}


def time_to_picture(folder: Path, steps: int) -> float:
    """Seconds from the start of the process until the log's last step is on its screen."""
    run = folder / "runs" / "long"
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(run), "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment()
    ) as server:
        assert server.stdout and server.stdout.readline()
        command = [sys.executable, "-m", "cockpit", "attach", "long", "--watch", "--runs-dir", str(folder / "runs")]
        with PseudoTerminal(command, columns=120, rows=35, env=environment()) as terminal:
            seen = terminal.wait_until(lambda: f"{steps:,}".encode() in terminal.output, 120.0)
            assert seen is not None, bytes(terminal.output[-2000:])
            found = seen - terminal.started
        server.communicate(b"")
    return found


def drain(run: Run, readers: int) -> None:
    """Attaches so many times and reads all that comes, until standard input ends."""
    lines = []
    for number in range(readers):
        line = knock(run)
        assert line is not None
        SocketLine(line).send(
            encode(Ask(protocol=PROTOCOL, version="bench", name=f"reader {number}", screen=True, watch=True))
        )
        lines.append(line)
    sys.stdout.write("up\n")
    sys.stdout.flush()
    while True:
        for ready in select.select([sys.stdin, *lines], [], [])[0]:
            if ready is sys.stdin:
                return
            ready.recv(1 << 16)


def cost_of_readers(folder: Path, readers: int, seconds: float, repeats: int) -> dict[str, object]:
    """CPU of the process that serves, as shares of a core, without readers and with them, in turns."""
    run = Run(folder / "runs" / "long")
    alone: list[float] = []
    read: list[float] = []
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(run.path), "100"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=environment(),
    ) as server:  # fmt: skip
        assert server.stdout and server.stdout.readline()

        def share() -> float:
            time.sleep(1)
            began, before = time.monotonic(), _cpu_seconds(server.pid)
            time.sleep(seconds)
            return (_cpu_seconds(server.pid) - before) / (time.monotonic() - began)

        for _ in range(repeats):
            alone.append(share())
            with subprocess.Popen(
                [sys.executable, __file__, "--drain", str(run.path), "--readers", str(readers)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment(),
            ) as reader:  # fmt: skip
                assert reader.stdout and reader.stdout.readline()
                read.append(share())
                reader.communicate(b"")
        server.communicate(b"")
    more = [with_them - without for without, with_them in zip(alone, read, strict=True)]
    return {"share_alone": alone, "share_read": read, "more": statistics.median(more)}


def _cpu_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", default="100000,1000000")
    parser.add_argument("--readers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--drain")
    given = parser.parse_args()
    if given.drain:
        drain(Run(Path(given.drain)), given.readers)
        return
    found: dict[str, object] = {}
    for steps in map(int, filter(None, given.steps.split(","))):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "runs").mkdir()
            write_long(Path(folder) / "runs" / "long", steps)
            found[f"attach_{steps}_s"] = [round(time_to_picture(Path(folder), steps), 3) for _ in range(given.repeats)]
    if given.readers:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "runs").mkdir()
            write_long(Path(folder) / "runs" / "long", 100)
            found["readers"] = cost_of_readers(Path(folder), given.readers, given.seconds, given.repeats)
    sys.stdout.write(f"{json.dumps(found, indent=1)}\n")


if __name__ == "__main__":
    main()
