"""The processor, as Linux describes it: its name and its instructions. Without torch; elsewhere little is known."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
_TELLING = ("vendor_id", "model name", "flags", "CPU implementer", "CPU part", "Features")  # the latter three on ARM


def described() -> dict[str, str]:
    """What the system says of the first processor, under the system's own names; empty where it says nothing."""
    said: dict[str, str] = {}
    try:
        with CPUINFO.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if not line.strip():
                    break
                key, _, value = line.partition(":")
                said[key.strip()] = value.strip()
    except OSError:
        return {}
    return said


def name() -> str:
    """For people, e.g. `AMD EPYC`."""
    said = described().get("model name", "").replace("(R)", "").replace("(TM)", "")
    return " ".join(said.split()) or platform.processor() or platform.machine() or "CPU"


def has_amx() -> bool | None:
    """Whether it multiplies bfloat16 tiles; None where the system does not say. Without it bfloat16 is slower than
    float32 (0.4 times)."""
    flags = described().get("flags")
    return None if flags is None else "amx_bf16" in flags.split()


def is_from_amd() -> bool:
    """Whether AMD made it, as far as is known."""
    return described().get("vendor_id") == "AuthenticAMD"


def kind() -> str:
    """A word that two processors share only where code made for the one also runs, and runs right, on the other.

    Instructions that torch is told to keep to (`ATEN_CPU_CAPABILITY`) count as a processor of their own.
    """
    said = described()
    telling = [said.get(key, "") for key in _TELLING] if said else [platform.processor()]
    telling += [platform.machine(), os.environ.get("ATEN_CPU_CAPABILITY", "")]
    return "cpu-" + hashlib.sha256("\n".join(telling).encode()).hexdigest()[:12]
