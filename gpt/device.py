"""The device a run trains on: which one, in which precision, and how fast it could be at best."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil
import torch

from gpt import compiler_cache, compiling, processor, products
from gpt.config import Profile
from gpt.errors import DeviceError
from gpt.flops import datasheet_peak
from gpt.processor import has_amx
from gpt.ranks import ALONE, Ranks

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Device:
    """A device, a precision, and what is known of both."""

    torch_device: torch.device
    name: str
    """For people, e.g. `NVIDIA H200` or `AMD EPYC, 2 threads`."""
    dtype: str
    """`float32`, `bfloat16` or `float16`."""
    compile: bool
    compile_reason: str
    peak_flops: float | None
    """Dense peak in FLOP/s for the dtype in use."""
    peak_source: str | None
    """`profile`, `datasheet` or `measured`."""
    cuda_graphs: bool = False
    """Whether the compiled step is recorded and replayed (gpt.cudagraphs)."""

    @property
    def type(self) -> str:
        """`cuda`, `mps` or `cpu`."""
        return self.torch_device.type

    @property
    def lags(self) -> bool:
        """True where work is queued and the host must not wait for each step."""
        return self.type == "cuda"

    @property
    def uuid(self) -> str | None:
        """The card's UUID as NVML knows it, or None where it is not an NVIDIA card."""
        if self.type != "cuda" or torch.version.hip:
            return None
        return f"GPU-{torch.cuda.get_device_properties(self.torch_device).uuid}"

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context for forward passes in `dtype`."""
        if self.dtype == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.type, dtype=_DTYPES[self.dtype])

    def compiling(self) -> contextlib.AbstractContextManager[None]:
        """Inside the block something may be compiled. Raises DeviceError where this machine lacks what that takes."""
        return compiling.told_to_the_user() if self.compile else contextlib.nullcontext()

    def release_memory(self) -> None:
        """Gives back what nobody holds any more, after memory ran out. Not to be called while its error is handled:
        the error's frames hold on to the tensors that filled it."""
        gc.collect()
        if self.type == "cuda":
            torch.cuda.empty_cache()

    def synchronize(self) -> None:
        """Waits until the device has done all that was queued."""
        if self.type == "cuda":
            torch.cuda.synchronize(self.torch_device)
        elif self.type == "mps":
            torch.mps.synchronize()


def choose(
    profile: Profile, ranks: Ranks = ALONE, *, measure: bool = True, begun: Mapping[str, Any] | None = None
) -> Device:
    """The device that a profile asks for, or the best one here. Also sets the number of CPU threads, and where
    compiled code is kept.

    Args:
        measure: False, where nothing will be trained: what takes time is left out. A peak that neither profile nor
            datasheet knows stays unknown, and nothing is made ready for compiling.
        begun: the environment (gpt.exactness) of the checkpoint that is gone on from.

    Raises DeviceError where the device or the precision is not on this machine, or not there for each rank.
    """
    train = profile.train
    device = _torch_device(ranks.device(train.device))
    if device.type == "cuda":
        torch.cuda.set_device(device)  # of this thread: streams, events and meters are then this card's
    if device.type == "cpu":
        torch.set_num_threads(train.threads or max(1, usable_cores() // ranks.local_size))
        torch.set_flush_denormal(True)
    else:
        torch.set_float32_matmul_precision("high")  # TF32: what the float32 figures of the peak table mean
    dtype = _dtype(train.dtype, device)
    ranks.check_precision(dtype)
    name = _name(device)
    begun = begun if begun and begun["device"] == name else None
    compile_, reason = compiling.decide(profile, device.type, dtype, ranks.size, begun, tries=measure)
    if compile_ and measure:
        compiler_cache.keep_apart()
    if train.cuda_graphs and not (device.type == "cuda" and compile_ and ranks.size == 1):
        raise DeviceError("train.cuda_graphs needs one CUDA device and train.compile = true; leave it out")
    peak, source = _peak(profile.device.peak_tflops, name, dtype, device, measure)
    return Device(device, name, dtype, compile_, reason, peak, source, train.cuda_graphs)


def dtype_of(name: str) -> torch.dtype:
    """torch's dtype of a name in the profile."""
    return _DTYPES[name]


def usable_cores() -> int:
    """Physical cores that this process may run on: two threads on one core only get in each other's way."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, psutil.cpu_count(logical=False) or allowed))


def _torch_device(asked: str) -> torch.device:
    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise DeviceError(f"train.device {asked!r} is not a device; use auto, cpu, mps, cuda or cuda:N") from None
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(f"train.device {asked!r}: this machine has {count} CUDA devices; use auto or cpu")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("train.device 'mps': not on this machine; use auto or cpu")
    if device.type not in ("cpu", "mps"):
        raise DeviceError(f"train.device {asked!r} is not supported; use auto, cpu, mps, cuda or cuda:N")
    return device


def _dtype(asked: str, device: torch.device) -> str:
    if device.type == "cuda":
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        if asked == "auto":
            return "bfloat16" if has_bf16 else "float16"
        if asked == "bfloat16" and not has_bf16:
            raise DeviceError("train.dtype bfloat16: this GPU has none; use float16 or auto")
        return asked
    if device.type == "mps":
        if asked == "float16":
            raise DeviceError("train.dtype float16 needs a gradient scaler, which only CUDA has; use float32 or auto")
        return "float32" if asked == "auto" else asked
    if asked == "auto":
        return "bfloat16" if has_amx() else "float32"
    if asked == "bfloat16" and not has_amx():
        raise DeviceError("train.dtype bfloat16: this CPU has no AMX and would be slower; use float32 or auto")
    if asked == "float16":
        raise DeviceError("train.dtype float16 needs a gradient scaler, which only CUDA has; use float32 or auto")
    return asked


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"Apple {platform.processor() or 'GPU'} (MPS)"
    threads = torch.get_num_threads()
    return f"{processor.name()}, {threads} thread{'s' * (threads != 1)}"


def _peak(
    tflops: float | None, name: str, dtype: str, device: torch.device, measure: bool
) -> tuple[float | None, str | None]:  # fmt: skip
    if tflops is not None:
        return tflops * 1e12, "profile"
    if device.type == "cuda":
        known = datasheet_peak(name, "tfloat32" if dtype == "float32" else dtype) or datasheet_peak(name, dtype)
        if known:
            return known[0], "datasheet"
    return (measure_matmul(device, _DTYPES[dtype]), "measured") if measure else (None, None)


def measure_matmul(device: torch.device, dtype: torch.dtype, *, seconds: float = 0.3) -> float:
    """FLOP/s of square matrix products, by the library that training takes (gpt.products): the best of all done in
    about `seconds`, over several sizes.

    The best of many short ones is what the machine can do even while something else runs on it. Uses no random numbers,
    so a run's generators stay as they are.
    """
    sizes = (384, 512, 768, 1024) if device.type == "cpu" else (2048, 4096)
    wait = torch.cuda.synchronize if device.type == "cuda" else torch.mps.synchronize if device.type == "mps" else None
    best, by_onednn = 0.0, device.type == "cpu" and dtype == torch.float32 and products.is_onednn_faster()
    for size in sizes:
        a = torch.full((size, size), 1 / size, device=device, dtype=dtype)
        out = torch.empty_like(a)
        end, done = time.perf_counter() + seconds / len(sizes), 0
        while time.perf_counter() < end or done < 4:
            start = time.perf_counter()
            products.product(a, a) if by_onednn else torch.mm(a, a, out=out)
            if wait:
                wait()
            done += 1
            if done > 2:  # the first ones load kernels and wake the clocks
                best = max(best, 2.0 * size**3 / (time.perf_counter() - start))
    return best
