"""A model to be used, wherever it comes from: a checkpoint of ours, a Hugging Face folder, or one of GPT-2's names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gpt import checkpoint
from gpt.config import ModelConfig, Profile, TrainConfig
from gpt.device import Device, choose
from gpt.errors import CheckpointError, DeviceError
from gpt.interop.hftokenizer import tokenizer_of
from gpt.interop.huggingface import load_gpt2, local_folder, read_config
from gpt.model import GPT
from gpt.snapshot import load_weights
from gpt.tokenizer import Tokenizer, tokenizer_from_dict


@dataclass(frozen=True)
class Source:
    """A model in evaluation mode on its device, what turns text into its tokens, and what is known of it."""

    name: str
    """For people."""
    model: GPT
    tokenizer: Tokenizer
    device: Device
    profile: Profile | None
    """The settings it was trained with; None where it is not from a checkpoint of ours."""
    step: int | None
    """The checkpoint's."""
    data_fingerprint: str | None
    """Of the data it was trained and evaluated on (gpt.data)."""

    @property
    def block_size(self) -> int:
        """Its longest context, tokens."""
        return self.model.config.block_size


def load(
    place: str, *, name: str | None = None, state: dict[str, Any] | None = None,
    device: str | None = None, dtype: str | None = None,
) -> Source:  # fmt: skip
    """The model at a place.

    Args:
        place: a checkpoint's folder, a Hugging Face GPT-2 folder, or one of gpt.config.HUB_NAMES, which is downloaded
            where no folder of that name is at hand.
        state: the checkpoint's state.json, where it has been verified already.
        device, dtype: as in [train]. None: what the run was trained in, where this machine has it, so that a loss comes
            out as in training; else `auto`.

    Raises CheckpointError, DataError and DeviceError.
    """
    folder = Path(place).expanduser()
    if state is None and (folder / "state.json").is_file():
        state = checkpoint.verify(folder)
    if state is None:
        return _load_huggingface(place, name or place, _device(None, device, dtype))
    try:
        profile = msgspec.convert(state["profile"], Profile)
        tokenizer = tokenizer_from_dict(state["tokenizer"])
        vocab_size = state["model"]["vocab_size"]
    except (msgspec.ValidationError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{place}: its settings are not readable ({error}); use the program that wrote it"
        ) from None
    chosen = _device(profile, device, dtype)
    model = GPT(profile.model, vocab_size)
    load_weights(model, checkpoint.load_tensors(folder, "model"), folder)
    return Source(
        name or folder.name, model.to(chosen.torch_device).eval(), tokenizer, chosen, profile, state["step"],
        state.get("data_fingerprint"),
    )  # fmt: skip


def _load_huggingface(place: str, name: str, device: Device) -> Source:
    folder = local_folder(place)
    theirs = read_config(folder)
    shape = {key: theirs[key] for key in ("n_layer", "n_head", "n_embd")}
    config = ModelConfig(**shape, block_size=theirs["n_positions"])
    weights, vocab_size = load_gpt2(str(folder), config)
    tokenizer = tokenizer_of(folder, vocab_size)
    model = GPT(config, vocab_size)
    load_weights(model, weights, folder)
    return Source(name, model.to(device.torch_device).eval(), tokenizer, device, None, None, None)


def _device(profile: Profile | None, device: str | None, dtype: str | None) -> Device:
    """The device asked for, or else the profile's where it is here; how fast it could be is not measured."""
    profile = profile or Profile()
    if device is None and dtype is None:
        try:
            return choose(profile, measure=False)
        except DeviceError:  # trained on another machine
            return choose(msgspec.structs.replace(profile, train=TrainConfig()), measure=False)
    elsewhere = device is not None and device != profile.train.device
    asked = {
        "device": device or profile.train.device,
        "dtype": dtype or ("auto" if elsewhere else profile.train.dtype),
    }
    try:
        train = msgspec.convert(msgspec.to_builtins(profile.train) | asked, TrainConfig)
    except msgspec.ValidationError:
        raise DeviceError(f"dtype {dtype!r} is not one of float32, bfloat16, float16 and auto") from None
    return choose(msgspec.structs.replace(profile, train=train), measure=False)
