"""Whether training that goes on from a checkpoint is bit-identical to never having stopped, and if not, why not."""

from __future__ import annotations

import platform
from typing import Any

import msgspec
import torch

from gpt.config import Profile
from gpt.device import Device

_TRAIN_KEYS = {"max_steps", "micro_batch_size", "grad_accum_steps", "tokens_per_step", "seed"}
"""Settings of [train] that can change the weights; what the device makes of the others is in `environment`."""


def environment(device: Device) -> dict[str, Any]:
    """What must be the same for the same bits."""
    return {
        "torch": torch.__version__, "python": platform.python_version(), "device": device.name, "dtype": device.dtype,
        "compile": device.compile, "threads": torch.get_num_threads() if device.type == "cpu" else None,
    }  # fmt: skip


def reasons_against(state: dict[str, Any], profile: Profile, device: Device, data_fingerprint: str) -> list[str]:
    """Why going on from a checkpoint with `state` is not exact; empty where it is."""
    there, here = state["profile"], msgspec.to_builtins(profile)
    pairs = _differences(there, here) + _differences(state["environment"], environment(device))
    why = [f"{key} {old} → {new}" for key, old, new in pairs if _matters(key)]
    if state["data_fingerprint"] != data_fingerprint:
        why.append("the data is not the same")
    return why


def _differences(there: dict[str, Any], here: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    found = []
    for key in sorted(there.keys() | here.keys()):
        old, new = there.get(key), here.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append((prefix + key, old, new))
    return found


def _matters(key: str) -> bool:
    """Whether a setting, or a part of the environment, can change the weights."""
    section, dot, inner = key.partition(".")
    if not dot:
        return section not in ("name", "description", "expected_parameters", "python")
    return section in ("model", "optim") or (section == "train" and inner in _TRAIN_KEYS)
