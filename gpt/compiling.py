"""Whether a run's step is compiled, where its profile leaves that open; and what a machine may lack for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from gpt import compiler_cache
from gpt.config import Profile
from gpt.errors import DeviceError
from gpt.flops import flops_per_token, parameter_count
from gpt.joint_graph import can_take
from gpt.lanes import count_lanes
from gpt.manual_backprop import writes_out

SWITCHES = "TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE"
"""torch's own: with either, torch.compile gives a function back as it is."""
CUDA_STEPS = 500
"""On CUDA compiling costs about a minute; below this many steps it is seldom won back."""
CPU_COST = 35.0
"""Seconds that it costs on a CPU the first time, with the first evaluation and the trial; later about five."""
SAVING_WRITTEN_OUT, SAVING = 0.05, 0.3
"""Share of a step that it saves there: of one whose backward pass is written out (gpt.manual_backprop), and of others.
Measured with 4 layers of 128 on two cores, in turns: 17.9 ms to 16.2, with modern switches 25.1 to 17.0; with 6 layers
of 384 882 to 839."""
_RATES = {"AVX512": 2.5e11, "AVX2": 1.25e11}
"""FLOP/s of matrix products in float32, of a fast core by its instructions: a slower one repays compiling sooner."""
_OTHERS_RATE = 1e11
_SHARE_OF_RATE = 0.5
"""Of it, what a step reaches."""
_SMALL, _LARGE = 256, 50_304
"""Tokens of a vocabulary of letters, and of GPT-2's, where a profile leaves it to its data."""


def decide(
    profile: Profile, device_type: str, dtype: str, ranks: int, begun: Mapping[str, Any] | None = None,
    *, tries: bool = True,
) -> tuple[bool, str]:  # fmt: skip
    """(whether the step is compiled, why).

    Args:
        ranks: how many there are.
        begun: the environment (gpt.exactness) of the checkpoint that is gone on from, where that was made on this
            device: what is left open stays on a CPU as it was there, so that the same bits come out.
        tries: also tries whether a CPU's compiler works, where it would be used; takes seconds.
    """
    for switch in SWITCHES:
        if os.environ.get(switch) == "1":
            return False, f"the environment switches the compiler off ({switch})"
    asked = profile.train.compile
    if isinstance(asked, bool):
        return asked, "the profile says so"
    if device_type == "cuda":
        steps = profile.train.max_steps
        return steps >= CUDA_STEPS, f"{steps} steps {'repay' if steps >= CUDA_STEPS else 'do not repay'} it"
    if device_type != "cpu":
        return False, f"on {device_type} it gains little and takes long"
    if begun is None:
        pays, why = _on_cpu(profile, dtype, ranks)
    else:
        pays, why = begun["compile"], "as in the checkpoint that is gone on from"
    if pays and tries and (fault := _fault()):
        return False, f"this machine cannot ({fault})"
    return pays, why


def _on_cpu(profile: Profile, dtype: str, ranks: int) -> tuple[bool, str]:
    if ranks > 1:
        return False, "on cpu it gains little where several ranks share the cores"
    model, rows = profile.model, profile.train.micro_batch_size
    parameters = parameter_count(model, model.vocab_size or (_SMALL if _is_of_letters(profile) else _LARGE))[0]
    lanes = 1
    if isinstance(rows, int):
        lanes = count_lanes(torch.get_num_threads(), rows, dropout=model.dropout, parameters=parameters)
    if lanes == 1 or not can_take(profile, dtype):
        return False, "on cpu it pays only where threads share a micro-batch: in float32, small and without dropout"
    saving = SAVING_WRITTEN_OUT if writes_out(model) else SAVING
    seconds = _seconds(profile)
    pays = seconds * saving >= CPU_COST
    return pays, f"about {_told(seconds)} of steps on fast cores {'repay' if pays else 'do not repay'} it"


def _seconds(profile: Profile) -> float:
    """What the steps of a run take on fast cores, at least. By arithmetic alone: a measurement differs each time."""
    rate = torch.get_num_threads() * _RATES.get(torch.backends.cpu.get_cpu_capability(), _OTHERS_RATE)
    usual = _LARGE if profile.data.tokenizer == "gpt2" else _SMALL
    per_token = flops_per_token(profile.model, vocab_size=profile.model.vocab_size or usual)
    return per_token * profile.tokens_per_step * profile.train.max_steps / (rate * _SHARE_OF_RATE)


def _is_of_letters(profile: Profile) -> bool:
    data = profile.data
    return data.tokenizer in ("byte", "char") or (data.tokenizer is None and data.dir is None)


def _told(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def _fault() -> str | None:
    """Why nothing can be compiled on this CPU, tried on next to nothing; None where it can."""
    compiler_cache.keep_apart()
    try:
        with machines_faults():
            torch.compile(lambda x: x + 1, fullgraph=True, options={"cpp_wrapper": True})(torch.zeros(8))
    except MachineFault as fault:
        return str(fault)
    return None


class MachineFault(Exception):
    """What this machine lacks, in the compiler's words, one line."""


@contextlib.contextmanager
def machines_faults() -> Iterator[None]:
    """Inside the block something may be compiled for the first time.

    Raises MachineFault where this machine has not what the compiler calls: one for C++, or Triton and a card that is
    new enough. What else may go wrong is not the machine's fault, and stays the error it is.
    """
    # A second's import, which compiling makes anyway.
    from torch._dynamo.exc import BackendCompilerFailed
    from torch._inductor import exc

    try:
        yield
    except (BackendCompilerFailed, exc.TritonMissing, exc.GPUTooOldForTriton) as error:
        cause = error.inner_exception if isinstance(error, BackendCompilerFailed) else error
        machines = exc.InvalidCxxCompiler, exc.CppCompileError, exc.TritonMissing, exc.GPUTooOldForTriton, OSError
        if not isinstance(cause, machines):
            raise
        raise MachineFault(
            next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
        ) from error


@contextlib.contextmanager
def told_to_the_user() -> Iterator[None]:
    """Inside the block a step may be compiled for the first time. Raises DeviceError where the machine cannot."""
    try:
        with machines_faults():
            yield
    except MachineFault as fault:
        raise DeviceError(
            f"train.compile: this machine cannot compile the step ({fault}); install what is missing (on a CPU a "
            "C++ compiler, such as Debian's g++), or set train.compile = false"
        ) from fault
