"""nanoGPT's checkpoints, `ckpt.pt`, as checkpoints of ours: weights, AdamW's moments, step and settings.

The pickle itself is opened by gpt.interop.unpickle, in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt.config import Profile, decode
from gpt.errors import CheckpointError, ProfileError

READ_SECONDS = 600.0
"""Longest time that reading may take; 18 GB of GPT-2 XL from a slow disk take less."""

_SHAPE = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size", "bias", "dropout")

_SETTINGS = {
    "max_iters": "train.max_steps", "batch_size": "train.micro_batch_size",
    "gradient_accumulation_steps": "train.grad_accum_steps", "eval_interval": "train.eval_interval",
    "eval_iters": "train.eval_steps", "log_interval": "train.log_interval",
    "learning_rate": "optim.learning_rate", "min_lr": "optim.min_lr", "warmup_iters": "optim.warmup_steps",
    "lr_decay_iters": "optim.decay_steps", "weight_decay": "optim.weight_decay", "beta1": "optim.beta1",
    "beta2": "optim.beta2", "grad_clip": "optim.grad_clip",
}  # fmt: skip
"""nanoGPT's setting → ours. Device, precision and compile are the machine's, and chosen anew."""


@dataclass(frozen=True)
class Imported:
    """A nanoGPT checkpoint, read."""

    source: Path
    profile: Profile
    """Its settings as a profile; its data is the folder that was given."""
    dropped: tuple[str, ...]
    """Its settings that no profile takes, for people: `key = value: reason`."""
    step: int
    best_val_loss: float | None
    weights: dict[str, Any]
    """float32, by the model's parameter names."""
    moments: dict[str, Any]
    """AdamW's state as gpt.snapshot saves it; empty where the file holds none."""


def read(source: Path, *, data_dir: Path | None, name: str) -> Imported:
    """Reads a `ckpt.pt`. Runs no code from the file.

    Args:
        data_dir: the folder of its tokens, as nanoGPT's prepare.py makes it; goes into the profile. None: the one
            nanoGPT itself would read, `data/DATASET` in the current folder or in one above the checkpoint's.
        name: the profile's name.

    Raises CheckpointError where it is no whole checkpoint of nanoGPT, with the reason.
    """
    from safetensors.torch import load_file

    if not source.is_file():
        raise CheckpointError(f"{source}: no such file; nanoGPT writes ckpt.pt into its out_dir")
    with tempfile.TemporaryDirectory(prefix="gpt-cockpit-import-") as folder:
        _extract(source, Path(folder))
        facts = json.loads((Path(folder) / "facts.json").read_bytes())
        weights = load_file(Path(folder) / "weights.safetensors")
        there = (Path(folder) / "moments.safetensors").exists()
        moments = load_file(Path(folder) / "moments.safetensors") if there else {}
    folder_of_data = data_dir or _find_data(source, facts["config"].get("dataset"))
    profile, dropped = _profile(source, facts, str(folder_of_data), name)
    names = _parameters(source, weights, profile)
    step = facts["iter_num"]
    if not isinstance(step, int) or step < 0:
        raise CheckpointError(f"{source}: its iter_num is {step!r}, not a number of steps; it cannot be resumed")
    return Imported(
        source, profile, dropped, step, facts["best_val_loss"], {key: weights[key] for key in names},
        _moments(source, moments, facts["groups"], weights, names),
    )  # fmt: skip


def _find_data(source: Path, dataset: Any) -> Path:
    if isinstance(dataset, str) and dataset:
        parents = source.resolve().parents
        for place in (Path(), *parents[:3]):
            folder = place / "data" / dataset
            if (folder / "train.bin").is_file():
                return folder
    named = f" data/{dataset}" if isinstance(dataset, str) else ""
    raise CheckpointError(
        f"{source}: its data{named} is not at hand; give the folder of train.bin and val.bin as --data"
    )


def _extract(source: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "gpt.interop.unpickle", str(source), str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=READ_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise CheckpointError(f"{source}: reading it took over {READ_SECONDS:.0f} s; nothing was imported") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        reason = lines[-1] if lines and done.returncode == 2 else f"reading it ended with {done.returncode}"
        raise CheckpointError(f"{source}: not a checkpoint of nanoGPT: {reason}; give the ckpt.pt of its out_dir")


def _profile(source: Path, facts: dict[str, Any], data_dir: str, name: str) -> tuple[Profile, tuple[str, ...]]:
    """The settings as a profile, and those that did not fit one."""
    arguments, config = facts["model_args"], facts["config"]
    missing = [key for key in ("n_layer", "n_head", "n_embd", "block_size", "vocab_size") if key not in arguments]
    if missing:
        raise CheckpointError(f"{source}: its model_args lack {', '.join(missing)}; it is not a checkpoint of nanoGPT")
    tree: dict[str, dict[str, Any]] = {
        "model": {key: arguments[key] for key in _SHAPE if arguments.get(key) is not None} | {"activation": "gelu_erf"},
        "data": {"dir": data_dir, "sampling": "replacement"},
        "train": {}, "optim": {},
    }  # fmt: skip
    if config.get("decay_lr") is False:
        tree["optim"]["schedule"] = "constant"
    try:
        profile = decode({"name": name, **tree})
    except ProfileError as error:
        raise CheckpointError(f"{source}: its model_args are not a GPT-2's: {error}") from None
    dropped: list[str] = []
    for theirs, ours in _SETTINGS.items():
        if theirs not in config:
            continue
        section, _, key = ours.partition(".")
        attempt = {**tree, section: {**tree[section], key: config[theirs]}}
        try:
            profile, tree = decode({"name": name, **attempt}), attempt
        except ProfileError as error:
            dropped.append(f"{theirs} = {config[theirs]!r}: {error}")
    return profile, tuple(dropped)


def _parameters(source: Path, weights: dict[str, Any], profile: Profile) -> list[str]:
    """The names of the model's parameters, in its order; all of them are there, in the right shape."""
    import torch

    from gpt.model import GPT

    assert profile.model.vocab_size is not None
    with torch.device("meta"):
        model = GPT(profile.model, profile.model.vocab_size)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    for name, shape in shapes.items():
        if name not in weights:
            raise CheckpointError(f"{source}: {name} is missing; it is not a whole checkpoint of nanoGPT")
        if tuple(weights[name].shape) != shape:
            got = tuple(weights[name].shape)
            raise CheckpointError(f"{source}: {name} is {got}, its model_args promise {shape}")
    head = weights.get("lm_head.weight")
    if head is not None and not torch.equal(head, weights["transformer.wte.weight"]):
        raise CheckpointError(f"{source}: its head is not its token embedding; nanoGPT's are one matrix")
    strange = [n for n in weights if n not in shapes and n != "lm_head.weight" and not n.endswith(".attn.bias")]
    if strange:
        raise CheckpointError(f"{source}: {strange[0]} is no part of nanoGPT's model; it cannot be imported")
    return list(shapes)


def _moments(
    source: Path, moments: dict[str, Any], groups: list[list[int]] | None, weights: dict[str, Any], names: list[str]
) -> dict[str, Any]:
    """AdamW's state under our numbers. Both number the matrices first, then the rest, each in the model's order."""
    if not moments or groups is None:
        return {}
    ordered = [n for n in names if weights[n].dim() >= 2] + [n for n in names if weights[n].dim() < 2]
    theirs = [number for group in groups for number in group]
    if len(theirs) != len(ordered):
        raise CheckpointError(
            f"{source}: its optimizer knows {len(theirs)} parameters, the model has {len(ordered)}; it does not fit"
        )
    state: dict[str, Any] = {}
    for ours, (number, name) in enumerate(zip(theirs, ordered, strict=True)):
        for kind in ("exp_avg", "exp_avg_sq", "step"):
            tensor = moments.get(f"{number}.{kind}")
            if tensor is None or (kind != "step" and tensor.shape != weights[name].shape):
                raise CheckpointError(f"{source}: its optimizer's {kind} of {name} is missing or of another shape")
            state[f"state.{ours}.{kind}"] = tensor.reshape(()) if kind == "step" else tensor
    return state
