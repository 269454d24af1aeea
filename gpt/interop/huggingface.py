"""GPT-2 weights as Hugging Face keeps them: a folder of `config.json` and safetensors. Pickles are never opened."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from gpt.config import HUB_NAMES, ModelConfig, as_toml
from gpt.errors import CheckpointError

_HUB_FILES = ["config.json", "*.safetensors", "*.safetensors.index.json", "tokenizer*.json", "vocab.json", "merges.txt"]
TRANSPOSED = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
"""Hugging Face keeps GPT-2's linear weights as OpenAI released them, (in, out); torch's Linear is (out, in)."""

_SAME_MATHEMATICS: dict[str, tuple[Any, ...]] = {
    "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
    "layer_norm_epsilon": (1e-5,),
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
}
"""Settings of config.json that change what is computed, and the values GPT-2 has; they are also the defaults."""


def load_gpt2(source: str, config: ModelConfig) -> tuple[dict[str, Tensor], int]:
    """Weights for a gpt.model.GPT of this shape, float32, and the rows of its token embedding.

    A block_size shorter than the source's takes its first positions; a larger vocab_size adds rows of zeros, which no
    token id names. Everything else must be equal.

    Args:
        source: a folder with `config.json` and `model.safetensors` (or shards with an index), or one of HUB_NAMES,
            which is downloaded where no folder of that name is at hand.

    Raises:
        CheckpointError: missing, damaged, not GPT-2, or of another shape, with every field that differs.
    """
    folder = local_folder(source)
    theirs = read_config(folder)
    vocab_size = config.vocab_size or theirs["vocab_size"]
    _check_shape(source, theirs, config, vocab_size)
    expected = _expected_shapes(config, theirs)
    tensors = _read_tensors(folder, expected.keys())
    missing = sorted(expected.keys() - tensors.keys())
    if missing:
        raise CheckpointError(
            f"{folder}: {len(missing)} of GPT-2's {len(expected)} tensors are missing, the first is {missing[0]}; "
            "save the model again with save_pretrained"
        )
    weights: dict[str, Tensor] = {}
    for name, shape in expected.items():
        tensor = tensors[name].float()
        if tuple(tensor.shape) != shape:
            raise CheckpointError(f"{folder}: {name} is {tuple(tensor.shape)}, its config.json promises {shape}")
        weights[f"transformer.{name}"] = tensor.t().contiguous() if name.endswith(TRANSPOSED) else tensor
    positions, embedding = weights["transformer.wpe.weight"], weights["transformer.wte.weight"]
    weights["transformer.wpe.weight"] = positions[: config.block_size].clone()
    if vocab_size > len(embedding):
        padding = torch.zeros(vocab_size - len(embedding), config.n_embd)
        weights["transformer.wte.weight"] = torch.cat([embedding, padding])
    return weights, vocab_size


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's `config.json`, with `n_layer`, `n_head`, `n_embd`, `n_positions` and `vocab_size` as whole numbers.

    Raises CheckpointError where it is missing, not JSON, or not a GPT-2's.
    """
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read ({error.strerror}); a Hugging Face folder holds config.json and model.safetensors"
        ) from None
    except (ValueError, RecursionError):
        raise CheckpointError(f"{path}: is not JSON; copy the folder again") from None
    if not isinstance(config, dict) or config.get("model_type", "gpt2") != "gpt2":
        got = config.get("model_type") if isinstance(config, dict) else type(config).__name__
        raise CheckpointError(f"{path}: describes no GPT-2 but {got!r}; give a folder whose model_type is gpt2")
    for key in ("n_layer", "n_head", "n_embd", "n_positions", "vocab_size"):
        if type(config.get(key)) is not int or config[key] < 1:
            raise CheckpointError(f"{path}: {key} is {config.get(key)!r}, not a positive whole number; copy it again")
    return config


def _check_shape(source: str, theirs: dict[str, Any], ours: ModelConfig, vocab_size: int) -> None:
    """Raises CheckpointError with every field in which the profile's model is not the source's."""
    pairs: list[tuple[str, Any, Any]] = [
        (key, theirs[key], getattr(ours, key))
        for key in ("n_layer", "n_head", "n_embd")
        if theirs[key] != getattr(ours, key)
    ]
    if not ours.bias:
        pairs.append(("bias", True, False))
    pairs += [(key, gpt2, mine) for key, (gpt2, mine) in ours.departures().items()]
    if ours.block_size > theirs["n_positions"]:
        pairs.append(("block_size", f"at most {theirs['n_positions']}", ours.block_size))
    if vocab_size < theirs["vocab_size"]:
        pairs.append(("vocab_size", f"at least {theirs['vocab_size']}", vocab_size))
    if pairs:
        fields = ", ".join(f"{key} is {_toml(got)} there and {_toml(mine)} in the profile" for key, got, mine in pairs)
        raise CheckpointError(f"{source} has another shape: {fields}; set [model] to its values")
    strange = [
        f"{key} = {json.dumps(theirs[key])}"
        for key, allowed in _SAME_MATHEMATICS.items()
        if key in theirs and theirs[key] not in allowed
    ]
    if theirs.get("n_inner") not in (None, 4 * theirs["n_embd"]):
        strange.append(f"n_inner = {theirs['n_inner']}")
    if strange:
        raise CheckpointError(f"{source} computes something else than GPT-2: {', '.join(strange)}; it cannot be loaded")


def _expected_shapes(ours: ModelConfig, theirs: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every tensor of a GPT-2, by its name without prefix, in the file's own orientation."""
    width = ours.n_embd
    shapes: dict[str, tuple[int, ...]] = {
        "wte.weight": (theirs["vocab_size"], width),
        "wpe.weight": (theirs["n_positions"], width),
    }
    for layer in range(ours.n_layer):
        linears = {"attn.c_attn": (width, 3 * width), "attn.c_proj": (width, width)}
        linears |= {"mlp.c_fc": (width, 4 * width), "mlp.c_proj": (4 * width, width)}
        for name, shape in linears.items():
            shapes[f"h.{layer}.{name}.weight"] = shape
            shapes[f"h.{layer}.{name}.bias"] = shape[1:]
        for name in ("ln_1", "ln_2"):
            shapes[f"h.{layer}.{name}.weight"] = shapes[f"h.{layer}.{name}.bias"] = (width,)
    return shapes | {"ln_f.weight": (width,), "ln_f.bias": (width,)}


def _read_tensors(folder: Path, wanted: Collection[str]) -> dict[str, Tensor]:
    """The wanted tensors that are there, by their names without `transformer.`. Old files also hold causal masks."""
    tensors: dict[str, Tensor] = {}
    for path in _tensor_files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 (it is no dict)
                    short = name.removeprefix("transformer.")
                    if short in wanted:
                        tensors[short] = file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{path}: is not a whole safetensors file ({error}); copy it again") from None
    return tensors


def _tensor_files(folder: Path) -> list[Path]:
    """The safetensors files that make up the model: one, or the shards its index names."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError):
            raise CheckpointError(f"{index}: is not an index of shards; copy it again") from None
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise CheckpointError(f"{folder}: {missing[0]} is missing, one of {len(names)} shards; copy it too")
        return [folder / name for name in names]
    if (folder / "pytorch_model.bin").is_file():
        raise CheckpointError(
            f"{folder}: holds only pytorch_model.bin, a pickle, which could run code when opened; "
            "save the model as model.safetensors with transformers' save_pretrained"
        )
    raise CheckpointError(f"{folder}: holds no model.safetensors; a Hugging Face folder has one beside config.json")


def local_folder(source: str) -> Path:
    """The local folder of `source`, downloaded where it is one of HUB_NAMES. Raises CheckpointError."""
    local = Path(source).expanduser()
    if local.is_dir():
        return local
    if source not in HUB_NAMES:
        raise CheckpointError(
            f"{source!r} is neither a folder nor one of {', '.join(HUB_NAMES)}; "
            "give the folder that holds config.json and model.safetensors"
        )
    by_hand = "or bring a folder with its config.json and model.safetensors and give its path instead of the name"
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise CheckpointError(
            f"{source} needs the package huggingface_hub to be downloaded; pip install 'gpt-cockpit[hf]', {by_hand}"
        ) from None
    try:
        return Path(snapshot_download(f"openai-community/{source}", allow_patterns=_HUB_FILES))
    except Exception as error:  # its network libraries' errors have no common base
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{source} could not be downloaded from huggingface.co ({reason}); try again with a network, {by_hand}"
        ) from None


def _toml(value: Any) -> str:
    return as_toml(value) if isinstance(value, bool | None) else str(value)
