"""Writes a Hugging Face folder that `transformers` loads as a GPT-2, with the tokenizer of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from gpt.errors import DataError
from gpt.interop.hftokenizer_out import write_tokenizer
from gpt.interop.huggingface import TRANSPOSED
from gpt.interop.trained import Trained, write_json
from gpt.layers import NORM_EPS
from gpt.model import INIT_STD
from gpt.tokenizer import tokenizer_from_dict

ACTIVATIONS = {"gelu": "gelu_new", "gelu_erf": "gelu"}
"""Ours by transformers' name: `gelu_new` is the tanh form, `gelu` the exact one."""


def write_huggingface(trained: Trained, folder: Path) -> list[str]:
    """Writes config.json, model.safetensors, generation_config.json and what says the tokenizer; not the model card.

    Rows of the embedding beyond the tokenizer's ids are left out: no text ever names them. What a model without biases
    lacks is written as zeros. Returns what its user should know.

    Raises CheckpointError where the model is no GPT-2.
    """
    trained.need_gpt2("a Hugging Face GPT-2", activations=tuple(ACTIVATIONS))
    rows, end, notes = trained.vocab_size, None, []
    try:
        tokenizer = tokenizer_from_dict(trained.tokenizer)
        rows, end = min(rows, tokenizer.vocab_size), tokenizer.end_of_text
    except DataError as error:
        notes.append(f"the vocabulary keeps all its rows: {error}")
    if rows < trained.vocab_size:
        notes.append(f"the vocabulary's padding is left out, {trained.vocab_size:,} rows became {rows:,}")
    save_file(_weights(trained, rows), folder / "model.safetensors", metadata={"format": "pt"})
    write_json(folder / "config.json", _config(trained, rows, end))
    write_json(folder / "generation_config.json", _generation(trained, end))
    return notes + write_tokenizer(trained.tokenizer, trained.model.block_size, folder)


def _weights(trained: Trained, rows: int) -> dict[str, Tensor]:
    """The tensors under Hugging Face's names and in its orientation; the tied head is not written twice."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in trained.weights.items():
        tensors[name] = tensor.t().contiguous() if name.endswith(TRANSPOSED) else tensor
        stem, kind = name.rsplit(".", 1)
        if kind == "weight" and f"{stem}.bias" not in trained.weights and not stem.endswith(("wte", "wpe")):
            tensors[f"{stem}.bias"] = torch.zeros(tensor.shape[0])  # ours is (out, in)
    tensors["transformer.wte.weight"] = tensors["transformer.wte.weight"][:rows].contiguous()
    return tensors


def _config(trained: Trained, rows: int, end: int | None) -> dict[str, Any]:
    model = trained.model
    return {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2",
        "n_layer": model.n_layer, "n_head": model.n_head, "n_embd": model.n_embd, "n_inner": None,
        "n_positions": model.block_size, "vocab_size": rows,
        "activation_function": ACTIVATIONS[model.activation], "layer_norm_epsilon": NORM_EPS,
        "scale_attn_weights": True, "tie_word_embeddings": True, "initializer_range": INIT_STD,
        "attn_pdrop": model.dropout, "embd_pdrop": model.dropout, "resid_pdrop": model.dropout,
        "bos_token_id": end, "eos_token_id": end, "torch_dtype": "float32",
    }  # fmt: skip


def _generation(trained: Trained, end: int | None) -> dict[str, Any]:
    """How the run's own samples were drawn."""
    sample = trained.profile.sample
    drawn: dict[str, Any] = {"do_sample": sample.temperature > 0, "bos_token_id": end, "eos_token_id": end}
    if sample.temperature > 0:
        drawn |= {"temperature": sample.temperature, "top_k": sample.top_k, "top_p": sample.top_p}
    if sample.repetition_penalty != 1:
        drawn["repetition_penalty"] = sample.repetition_penalty
    return drawn | {"max_new_tokens": min(sample.max_new_tokens, trained.model.block_size)}
