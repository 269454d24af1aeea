"""How fast a profile's real step is here, and where its time goes.

    python -m gpt.bench PROFILE.json [--steps N] [--warmup N]

Reads a profile as JSON (what `msgspec.to_builtins` makes of one), prints one JSON object. It is a program of its own,
so that two measurements never share an allocator, a thread pool or a compiled kernel.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from gpt.config import Profile
from gpt.errors import UserError
from gpt.ledger import TimeLedger
from gpt.runtime import prepare_process

PARTS = ("data", "forward", "backward", "optimizer")
"""Where a step's time goes: a batch is made, the loss is computed, its gradient, the update (clipping included)."""


def measure(profile: Profile, *, steps: int, warmup: int) -> dict[str, Any]:
    """Trains `warmup + steps` steps of a profile and times the last `steps` of them.

    Returns:
        ms_per_iter (median), ms_per_iter_p05 and _p95, tokens_per_s, mfu (against the datasheet or the profile's peak;
        None where there is none), mfu_measured_peak, measured_peak_flops, peak_memory_bytes, compile_s, compiled,
        breakdown {part: ms}, losses (one a step, warm-up included), device, dtype, threads, torch, steps.
    """
    import torch

    from gpt.data import open_dataset
    from gpt.device import choose, dtype_of, measure_matmul
    from gpt.flops import flops_per_token, mfu, parameter_count
    from gpt.schedule import learning_rate
    from gpt.snapshot import build

    device = choose(profile)
    data = open_dataset(profile.data, profile.model)
    snapshot = build(profile, device, data, TimeLedger("other"))
    stepper = snapshot.stepper
    start = time.perf_counter()
    if device.compile:
        stepper.warm_up()
    compile_s = time.perf_counter() - start if device.compile else 0.0

    losses: list[float] = []
    seconds: list[float] = []

    def take(step: int) -> None:
        result = stepper.take(
            step + 1, step * profile.grad_accum_steps * profile.train.micro_batch_size,
            lr=learning_rate(step, profile.optim, profile.train.max_steps), weight_decay=profile.optim.weight_decay,
            grad_clip=profile.optim.grad_clip, between=lambda: True,
        ) or stepper.drain()  # fmt: skip
        assert result is not None
        losses.append(result.loss)
        seconds.append(result.seconds)

    for step in range(warmup + steps):
        take(step)
    timed = sorted(seconds[warmup:])
    median = statistics.median(timed)
    per_token = flops_per_token(profile.model, parameter_count(profile.model, snapshot.vocab_size)[1])
    measured = measure_matmul(device.torch_device, dtype_of(device.dtype), seconds=1.0)
    datasheet = device.peak_flops if device.peak_source != "measured" else None
    tokens = profile.tokens_per_step
    return {
        "ms_per_iter": median * 1e3,
        "ms_per_iter_p05": timed[int(0.05 * (len(timed) - 1))] * 1e3,
        "ms_per_iter_p95": timed[round(0.95 * (len(timed) - 1))] * 1e3,
        "tokens_per_s": tokens / median,
        "mfu": mfu(per_token, tokens, median, datasheet),
        "mfu_measured_peak": mfu(per_token, tokens, median, measured),
        "measured_peak_flops": measured,
        "peak_memory_bytes": peak_memory(device.type),
        "compile_s": compile_s,
        "compiled": device.compile,
        "breakdown": break_down(stepper, device.synchronize),
        "losses": losses,
        "device": device.name,
        "dtype": device.dtype,
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "steps": steps,
    }


def break_down(stepper: Any, synchronize: Callable[[], None], *, repeats: int = 20) -> dict[str, float]:
    """Median ms of each part of a step, the device made to finish between them; their sum exceeds a step on a GPU."""
    from gpt.evaluate import to_device

    spent: dict[str, list[float]] = {part: [] for part in PARTS}

    def clock(part: str, start: float) -> float:
        synchronize()
        now = time.perf_counter()
        spent[part][-1] += now - start
        return now

    for repeat in range(repeats):
        for part in PARTS:
            spent[part].append(0.0)
        synchronize()
        now = time.perf_counter()
        for micro_step in range(stepper.accum):
            sequence = (repeat * stepper.accum + micro_step) * stepper.micro_batch_size
            starts = stepper.order.starts(sequence, stepper.micro_batch_size)
            inputs, targets = to_device(stepper.tokens.gather(starts, stepper.block_size + 1), stepper.device)
            now = clock("data", now)
            if stepper.lanes:  # both passes overlap with those of the other lanes: told apart by our own
                stepper.add_gradient(inputs, targets)
                spent["forward"][-1] += stepper.lanes.forward_seconds
                now = clock("backward", now + stepper.lanes.forward_seconds)
                continue
            loss = stepper.share_of_loss(inputs, targets)
            now = clock("forward", now)
            stepper.backward(loss)
            now = clock("backward", now)
        stepper.update(grad_clip=1.0)
        clock("optimizer", now)
    return {part: statistics.median(values) * 1e3 for part, values in spent.items()}


def peak_memory(device_type: str) -> int:
    """Bytes: the allocator's peak on a GPU, the process's own on a CPU."""
    if device_type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB


def main() -> None:
    """Measures the profile named on the command line."""
    prepare_process()
    path, *options = sys.argv[1:]
    numbers = dict(zip(options[::2], map(int, options[1::2]), strict=True))
    profile = msgspec.json.decode(Path(path).read_bytes(), type=Profile)
    try:
        result = measure(profile, steps=numbers.get("--steps", 50), warmup=numbers.get("--warmup", 10))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")


if __name__ == "__main__":
    main()
