"""How fast a profile's real step is here, and where its time goes.

    python -m gpt.bench PROFILE.json [--steps N] [--warmup N] [--take FD --give FD]

Reads a profile as JSON (what `msgspec.to_builtins` makes of one), prints one JSON object. It is a program of its own,
so that two measurements never share an allocator, a thread pool or a compiled kernel. With --take and --give it takes
turns with another one (gpt.turns).
"""

from __future__ import annotations

import itertools
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from gpt.config import Profile
from gpt.errors import UserError
from gpt.ledger import TimeLedger
from gpt.runtime import prepare_process
from gpt.turns import Turns


def measure(profile: Profile, *, steps: int, warmup: int, turns: Turns | None = None) -> dict[str, Any]:
    """Trains `warmup + steps` steps of a profile and times the last `steps` of them.

    On a GPU the times come from events on its own stream and the host never waits inside the timed steps.

    Args:
        turns: with whom the machine is shared, step by step; None: with nobody.

    Returns:
        ms_per_iter (median), ms_per_iter_p05 and _p95, ms_per_iter_wall (all timed steps by the host's clock, over
        their number: what the steps' own times leave out would show here), tokens_per_s (by the median), mfu (against
        the datasheet's or the profile's peak; None where there is none), mfu_measured_peak, measured_peak_flops,
        peak_memory_bytes, compile_s, compiled, breakdown {part: ms} (see `break_down`), losses (one a step, warm-up
        included; None where it was not finite), device, dtype, threads, lanes, torch, steps.
    """
    import torch

    from gpt.data import open_dataset
    from gpt.device import choose, dtype_of, measure_matmul
    from gpt.evaluate import finite
    from gpt.flops import flops_per_token, mfu
    from gpt.guard import Guard
    from gpt.schedule import learning_rate
    from gpt.snapshot import build
    from gpt.stepclock import StepResult

    device = choose(profile)
    data = open_dataset(profile.data, profile.model)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device.torch_device)
    snapshot = build(profile, device, data, TimeLedger("other"))
    stepper = snapshot.stepper
    start = time.perf_counter()
    if device.compile:
        stepper.warm_up()
    compile_s = time.perf_counter() - start if device.compile else 0.0

    turns = turns or Turns()
    guard = Guard()
    results: list[StepResult] = []

    def take(step: int) -> None:
        result = stepper.take(
            step + 1, step * profile.grad_accum_steps * profile.micro_batch_size,
            lr=learning_rate(step, profile.optim, profile.train.max_steps), weight_decay=profile.optim.weight_decay,
            grad_clip=profile.optim.grad_clip, between=lambda: True, limits=guard.limits(profile.guard),
        )  # fmt: skip
        if result:
            guard.judge(result.step, result.loss, result.grad_norm, profile.guard, applied=result.applied)
            results.append(result)

    def drain() -> None:
        if result := stepper.drain():
            results.append(result)

    for step in range(warmup):
        turns.wait()
        take(step)
    drain()
    clock = PartClock(_ticker(device.type))
    stepper.on_part = clock.part_ended
    start, waited = time.perf_counter(), turns.waited
    for step in range(warmup, warmup + steps):
        turns.wait()
        clock.step_begins()
        take(step)
    drain()
    wall = time.perf_counter() - start - (turns.waited - waited)
    turns.finish()
    stepper.reader.close()
    memory = peak_memory(device.type)

    seconds = [result.seconds for result in results[warmup:]]
    median = statistics.median(seconds)
    per_token = flops_per_token(profile.model, vocab_size=snapshot.vocab_size)
    measured = measure_matmul(device.torch_device, dtype_of(device.dtype), seconds=1.0)
    datasheet = device.peak_flops if device.peak_source != "measured" else None
    tokens = profile.tokens_per_step
    return {
        "ms_per_iter": median * 1e3,
        "ms_per_iter_p05": percentile(seconds, 0.05) * 1e3,
        "ms_per_iter_p95": percentile(seconds, 0.95) * 1e3,
        "ms_per_iter_wall": wall / steps * 1e3,
        "tokens_per_s": tokens / median,
        "mfu": mfu(per_token, tokens, median, datasheet),
        "mfu_measured_peak": mfu(per_token, tokens, median, measured),
        "measured_peak_flops": measured,
        "peak_memory_bytes": memory,
        "compile_s": compile_s,
        "compiled": device.compile,
        "breakdown": break_down(seconds, clock.steps()),
        "losses": [finite(result.loss) for result in results],
        "device": device.name,
        "dtype": device.dtype,
        "threads": torch.get_num_threads(),
        "lanes": stepper.lane_count,
        "torch": str(torch.__version__),
        "steps": steps,
    }


class PartClock:
    """Notes when each part of each step ended, without waiting for anything; the differences are taken at the end.

    Args:
        now: a moment on the device's time line.
    """

    def __init__(self, now: Callable[[], Moment]) -> None:
        self._now = now
        self._steps: list[list[tuple[str, Moment]]] = []

    def step_begins(self) -> None:
        """A step is about to be taken."""
        self._steps.append([("", self._now())])

    def part_ended(self, part: str) -> None:
        """A part of the step is done, or queued; a part that has several turns in a step is told each time."""
        self._steps[-1].append((part, self._now()))

    def steps(self) -> list[dict[str, float]]:
        """Seconds by part, one dict a step. To be called once the device has done all of them."""
        spent: list[dict[str, float]] = []
        for moments in self._steps:
            spent.append({})
            for (_, before), (part, after) in itertools.pairwise(moments):
                spent[-1][part] = spent[-1].get(part, 0.0) + before.until(after)
        return spent


class Moment:
    """A moment of the host's clock."""

    def __init__(self) -> None:
        self.at = time.perf_counter()

    def until(self, later: Any) -> float:
        """Seconds from this moment to a later one of its kind."""
        return later.at - self.at


class QueuedMoment(Moment):
    """A moment of a GPU: when it has done what had been queued before. `event` is recorded here."""

    def __init__(self, event: Any) -> None:
        self.event = event
        event.record()

    def until(self, later: Any) -> float:
        return self.event.elapsed_time(later.event) / 1e3


def _ticker(device_type: str) -> Callable[[], Moment]:
    """Makes moments of a device."""
    import torch

    if device_type == "cuda":
        return lambda: QueuedMoment(torch.cuda.Event(enable_timing=True))
    if device_type == "mps":
        return lambda: QueuedMoment(torch.mps.event.Event(enable_timing=True))
    return Moment


def break_down(seconds: Sequence[float], parts: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean ms of each part over the middle half of the steps, and `other`: what is left of those steps' mean time.

    So they add up to a step that is neither the luckiest nor the unluckiest, and nothing of it is left out.

    Args:
        seconds: the whole of each step.
        parts: seconds by part of the same steps.
    """
    order = sorted(range(len(seconds)), key=lambda step: seconds[step])
    quarter = len(order) // 4
    middle = order[quarter : len(order) - quarter]
    means = {
        part: statistics.fmean(parts[step].get(part, 0.0) for step in middle) * 1e3
        for part in dict.fromkeys(part for step in middle for part in parts[step])
    }
    whole = statistics.fmean(seconds[step] for step in middle) * 1e3
    return means | {"other": max(0.0, whole - sum(means.values()))}


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` (0…1) of all lie, linear between the two nearest. `values` is not empty."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def peak_memory(device_type: str) -> int:
    """Bytes: the allocator's peak on a GPU, the process's own on a CPU."""
    if device_type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def main() -> None:
    """Measures the profile named on the command line. Exits with 2 and one line for what a user can mend."""
    prepare_process()
    path, *options = sys.argv[1:]
    numbers = dict(zip(options[::2], map(int, options[1::2]), strict=True))
    profile = msgspec.json.decode(Path(path).read_bytes(), type=Profile)
    import torch

    try:
        turns = Turns(numbers.get("--take"), numbers.get("--give"))
        result = measure(profile, steps=numbers.get("--steps", 50), warmup=numbers.get("--warmup", 10), turns=turns)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    except torch.OutOfMemoryError as error:
        said = str(error).splitlines()[0]
        sys.stderr.write(f"out of memory: {said}; lower train.micro_batch_size\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")


if __name__ == "__main__":
    main()
