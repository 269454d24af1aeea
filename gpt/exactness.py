"""Whether training that goes on from a checkpoint is bit-identical to never having stopped, and if not, why not."""

from __future__ import annotations

import platform
from typing import Any

import msgspec
import torch

from gpt import products
from gpt.config import Profile
from gpt.device import Device
from gpt.ranks import Ranks
from gpt.stepper import Stepper

_UNSAID = {"ranks": 1, "backward": "autograd", "products": products.USUAL}
"""How checkpoints were made that do not say it yet."""

_HARMLESS = {
    "name", "description", "expected_parameters", "checkpoint", "sample", "screen", "track",
    "device.peak_tflops", "model.zero_init",
    "data.input", "data.dir", "data.name", "data.tokenizer", "data.val_fraction",
    "train.eval_interval", "train.eval_steps", "train.log_interval", "train.noise_scale_interval",
    "train.stalled_after",
    "train.device", "train.dtype", "train.compile", "train.cuda_graphs", "train.threads",
    "train.parallel", "train.shard_ranks",
}  # fmt: skip
"""Settings, and sections, that cannot change the weights. The data is compared by its tokens, and what becomes of
device, dtype, compile, threads, parallel and shard_ranks is in `environment`; cuda_graphs launches the same kernels. A
key that is not here counts."""


def environment(device: Device, stepper: Stepper, ranks: Ranks) -> dict[str, Any]:
    """What must be the same for the same bits, how the stepper takes its gradients (gpt.lanes) included."""
    lanes = stepper.lanes
    return {
        "torch": torch.__version__, "python": platform.python_version(), "device": device.name, "dtype": device.dtype,
        "compile": device.compile, "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "lanes": stepper.lane_count, "backward": lanes.backward if lanes else "autograd",
        "products": products.name(device.type, device.dtype),
        "ranks": ranks.size, "parallel": ranks.parallel,
    }  # fmt: skip


def reasons_against(
    state: dict[str, Any], profile: Profile, device: Device, stepper: Stepper, data_fingerprint: str, ranks: Ranks
) -> list[str]:
    """Why going on from a checkpoint with `state` is not exact; empty where it is."""
    pairs = _differences(_completed(state["profile"], msgspec.to_builtins(Profile())), msgspec.to_builtins(profile))
    then = _UNSAID | state["environment"]
    pairs += [pair for pair in _differences(then, environment(device, stepper, ranks)) if pair[0] != "python"]
    why = [f"{key} {old} → {new}" for key, old, new in pairs if _matters(key)]
    if state["data_fingerprint"] != data_fingerprint:
        why.append("the data is not the same")
    if device.type != "cpu":
        why.append("a GPU's kernels are not promised to repeat their bits")
    if ranks.size > 2:  # of two the sum is the same in either order
        why.append(f"the sums of {ranks.size} ranks are not promised to be formed in the same order")
    return why


def _completed(saved: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """A saved profile with the keys that are younger than it: their defaults are how it was trained."""
    sections = [key for key, value in defaults.items() if isinstance(value, dict)]
    return defaults | saved | {key: _completed(saved.get(key, {}), defaults[key]) for key in sections}


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
    return key not in _HARMLESS and key.partition(".")[0] not in _HARMLESS
