"""What the machine says of itself, once a second: memory, CPU load, and the GPU's own meters where NVML answers."""

from __future__ import annotations

import collections
import contextlib
import resource
import statistics
import sys
from pathlib import Path
from typing import Any

import psutil

from gpt.events import LogLine, TelemetrySampled

CONSOLE_LINE_LIMIT = 500
"""Characters of a console line shown in the log pane; console.log has them all."""

MINUTE = 60
"""Readings that what comes and goes is told over: one alone says little of a neighbour, or of a clock held down."""
ENOUGH = 20
"""Readings before anything is told of them."""

_THROTTLES = (
    ("heat", ("HwThermalSlowdown", "SwThermalSlowdown")), ("power brake", ("HwPowerBrakeSlowdown",)),
    ("hardware slowdown", ("HwSlowdown",)), ("power cap", ("SwPowerCap",)),
)  # fmt: skip
"""Words for NVML's clock event reasons, the worst first: several may hold at once."""


class Telemetry:
    """Reads the meters. Every one that fails reads as None from then on; nothing here ever raises."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._process.cpu_percent()
        psutil.cpu_percent()
        self._cores = self._own_cores()
        psutil.cpu_percent(percpu=True)
        self._others: collections.deque[float] = collections.deque(maxlen=MINUTE)
        self._throttles: collections.deque[str] = collections.deque(maxlen=MINUTE)
        self._nvml: Any = None
        self._gpu: Any = None

    def watch_gpu(self, uuid: str) -> None:
        """Begins to read the meters of a card. NVML numbers cards its own way; the UUID is the same everywhere."""
        with contextlib.suppress(Exception):  # no library, no driver, no permission: the meters stay unknown
            import pynvml

            pynvml.nvmlInit()
            self._gpu = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            self._nvml = pynvml

    def sample(self, screen: tuple[int, float] | None = None) -> TelemetrySampled:
        """The meters now. `screen`: frames drawn and CPU seconds spent by the screen, where there is one."""
        frames, spent = screen or (None, None)
        memory = psutil.virtual_memory()
        own = self._process.cpu_percent()
        loads = psutil.cpu_percent(percpu=True)
        here = [loads[core] for core in self._cores if core < len(loads)] or loads
        self._others.append(max(0.0, statistics.fmean(here) - own / len(here)))
        held = self._process.memory_info().rss
        return TelemetrySampled(
            rss=held,
            rss_peak=max(held, _rss_peak()),  # the kernel's own peak lags a little behind its present
            host_memory_used=memory.total - memory.available,
            host_memory_total=memory.total,
            cpu_percent=psutil.cpu_percent(),
            process_cpu_percent=own,
            others_cpu_percent=statistics.fmean(self._others) if len(self._others) >= ENOUGH else None,
            screen_frames=frames,
            screen_cpu_s=spent,
            **self._sample_gpu(),
        )

    def _own_cores(self) -> list[int]:
        """The cores that this process may run on: what others do on the rest of them is no matter of its."""
        with contextlib.suppress(AttributeError, psutil.Error):  # macOS binds no process to cores
            return self._process.cpu_affinity() or []
        return list(range(psutil.cpu_count() or 1))

    def _sample_gpu(self) -> dict[str, Any]:
        """Each meter for itself: a card may refuse one (NVMLError), an older pynvml not know it (AttributeError)."""
        if self._nvml is None:
            return {}
        nvml, gpu = self._nvml, self._gpu
        found: dict[str, Any] = {}
        with contextlib.suppress(Exception):
            found["gpu_utilization"] = float(nvml.nvmlDeviceGetUtilizationRates(gpu).gpu)
        with contextlib.suppress(Exception):
            memory = nvml.nvmlDeviceGetMemoryInfo(gpu)
            found |= {"gpu_memory_used": int(memory.used), "gpu_memory_total": int(memory.total)}
        with contextlib.suppress(Exception):
            found["gpu_watts"] = nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3  # NVML gives milliwatts
        with contextlib.suppress(Exception):
            found["gpu_celsius"] = float(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU))
        with contextlib.suppress(Exception):
            self._throttles.append(throttle_of(nvml, nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu)))
            if len(self._throttles) >= ENOUGH:
                word, times = collections.Counter(self._throttles).most_common(1)[0]
                found["gpu_throttle"] = word if 2 * times > len(self._throttles) else ""
        return found


def throttle_of(nvml: Any, reasons: int) -> str:
    """What holds a card's clock down, by NVML's bits; empty where it is nothing, an idle card or a chosen clock."""
    for word, names in _THROTTLES:
        if any(reasons & getattr(nvml, f"nvmlClocksEventReason{name}") for name in names):
            return word
    return ""


class ConsoleTail:
    """Turns what is appended to console.log into log lines."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def read(self) -> list[LogLine]:
        """The whole lines written since the last call; of a flood (1 MB and more) only the end."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, 2)
                if size - self._offset > 1_000_000:
                    self._offset, self._rest = size - 100_000, b""
                file.seek(self._offset)
                new = file.read()
        except OSError:
            return []
        self._offset += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        if len(self._rest) > 65_536:
            lines, self._rest = [*lines, self._rest], b""
        texts = (line.decode(errors="replace").rstrip("\r").rsplit("\r", 1)[-1] for line in lines)
        return [
            LogLine(level=level_of(text), text=text[:CONSOLE_LINE_LIMIT], source="console")
            for text in texts
            if text.strip()
        ]


def level_of(text: str) -> str:
    """`error`, `warning` or `info`, by the words in a line that something printed."""
    lower = text.lower()
    if "error" in lower or "traceback" in lower:
        return "error"
    return "warning" if "warn" in lower else "info"


def _rss_peak() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts bytes, Linux KiB
