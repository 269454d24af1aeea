"""A checkpoint of ours, read so that it can be written in another program's form."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from torch import Tensor

from gpt import checkpoint
from gpt.config import ModelConfig, Profile, as_toml
from gpt.errors import CheckpointError


@dataclass(frozen=True)
class Trained:
    """A verified checkpoint: its weights, and what its `state.json` says of them."""

    path: Path
    step: int
    profile: Profile
    """The settings in force at the checkpoint."""
    vocab_size: int
    """Rows of the token embedding; those beyond the tokenizer's ids are padding."""
    weights: dict[str, Tensor]
    """By nanoGPT's names, on the CPU; a tied head has none of its own."""
    tokenizer: dict[str, Any]
    """What gpt.tokenizer.tokenizer_from_dict takes."""
    state: dict[str, Any]
    """`state.json`, whole."""

    @property
    def model(self) -> ModelConfig:
        """The shape."""
        return self.profile.model

    def need_gpt2(self, target: str, *, activations: tuple[str, ...]) -> None:
        """Raises CheckpointError, with every switch and its value, where the model computes something else than GPT-2.

        Args:
            target: who cannot hold it, for the line.
            activations: values of `activation` that the target has. How weights began, `zero_init`, is of no account.
        """
        strange = [
            f"model.{key} = {as_toml(value)}"
            for key, (_, value) in self.model.departures().items()
            if key != "zero_init" and not (key == "activation" and value in activations)
        ]
        if strange:
            raise CheckpointError(
                f"{self.path.name} cannot become {target}: {', '.join(strange)} is none of its architecture; "
                "--to safetensors keeps it as it is"
            )


def read_trained(path: Path) -> Trained:
    """The checkpoint in a folder. Raises CheckpointError where it is missing, damaged, or of another program."""
    state = checkpoint.verify(path)
    try:
        profile = msgspec.convert(state["profile"], Profile)
    except (KeyError, msgspec.ValidationError) as error:
        raise CheckpointError(
            f"{path}: its settings are not readable ({error}); use the program that wrote it"
        ) from None
    return Trained(
        path=path, step=state["step"], profile=profile, vocab_size=state["model"]["vocab_size"],
        weights=checkpoint.load_tensors(path, "model"), tokenizer=state["tokenizer"], state=state,
    )  # fmt: skip


def write_safetensors(trained: Trained, folder: Path) -> None:
    """`model.safetensors` by our own names, and `config.json` with the shape and the tokenizer, all switches kept."""
    from safetensors.torch import save_file

    save_file(trained.weights, folder / "model.safetensors", metadata={"format": "pt"})
    shape = msgspec.to_builtins(trained.model) | {"vocab_size": trained.vocab_size}
    shape.pop("init_from")
    write_json(folder / "config.json", {
        "architecture": "gpt-cockpit", "model": shape, "tokenizer": trained.tokenizer, "step": trained.step,
        "tokens": trained.state["tokens"], "sha256": trained.state["files"]["model.safetensors"],
    })  # fmt: skip


def write_json(path: Path, value: Any) -> None:
    """Writes a value as JSON, indented, in ASCII: any reader takes it, whatever characters it speaks of."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def drafted(place: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `place` once the block is left in order, and is gone otherwise."""
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
        draft.rename(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
