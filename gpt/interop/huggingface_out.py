"""Writes a Hugging Face folder that `transformers` loads as a GPT-2, with a tokenizer where its format can say ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from gpt.errors import DataError
from gpt.interop.huggingface import TRANSPOSED
from gpt.interop.trained import Trained, write_json
from gpt.layers import NORM_EPS
from gpt.model import INIT_STD
from gpt.tokenizer import Gpt2Tokenizer, tokenizer_from_dict
from gpt.vocabulary import gpt2_files

ACTIVATIONS = {"gelu": "gelu_new", "gelu_erf": "gelu"}
"""Ours by transformers' name: `gelu_new` is the tanh form, `gelu` the exact one."""


def write_huggingface(trained: Trained, folder: Path) -> list[str]:
    """Writes config.json, model.safetensors, generation_config.json and what says the tokenizer; not the model card.

    Rows of the embedding beyond the tokenizer's ids are left out: no text ever names them. What a model without biases
    lacks is written as zeros. Returns what its user should know.

    Raises CheckpointError where the model is no GPT-2.
    """
    trained.need_gpt2("a Hugging Face GPT-2", activations=tuple(ACTIVATIONS))
    rows, notes = trained.vocab_size, []
    try:
        rows = min(rows, tokenizer_from_dict(trained.tokenizer).vocab_size)
    except DataError as error:
        notes.append(f"the vocabulary keeps all its rows: {error}")
    if rows < trained.vocab_size:
        notes.append(f"the vocabulary's padding is left out, {trained.vocab_size:,} rows became {rows:,}")
    save_file(_weights(trained, rows), folder / "model.safetensors", metadata={"format": "pt"})
    end = Gpt2Tokenizer.end_of_text if trained.tokenizer["name"] == "gpt2" else None
    write_json(folder / "config.json", _config(trained, rows, end))
    write_json(folder / "generation_config.json", _generation(trained, end))
    return notes + _write_tokenizer(trained, folder)


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


def _write_tokenizer(trained: Trained, folder: Path) -> list[str]:
    """Writes the files of the tokenizer, or says why there are none."""
    kind = trained.tokenizer["name"]
    settings: dict[str, Any] = {"model_max_length": trained.model.block_size, "clean_up_tokenization_spaces": False}
    if kind == "gpt2":
        try:
            vocab, merges = gpt2_files()
        except DataError as error:
            return [f"no tokenizer files: {error}"]
        (folder / "vocab.json").write_bytes(vocab)
        (folder / "merges.txt").write_bytes(merges)
        pairs = [line.split(" ") for line in merges.decode("utf-8").split("\n")[1:] if line]
        end = "<|endoftext|>"
        special = {"id": Gpt2Tokenizer.end_of_text, "content": end, "special": True}
        special |= dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        document = _tokenizer(json.loads(vocab), pairs, _byte_level(regex=True), _byte_level(regex=True), [special])
        settings |= {"tokenizer_class": "GPT2TokenizerFast", "bos_token": end, "eos_token": end, "unk_token": end}
        settings["add_prefix_space"] = False
    elif kind == "byte":
        vocabulary = {character: byte for byte, character in enumerate(_byte_characters())}
        document = _tokenizer(vocabulary, [], _byte_level(regex=False), _byte_level(regex=False), [])
    elif kind == "char":
        vocabulary = {character: token for token, character in enumerate(trained.tokenizer["chars"])}
        if any(0xD800 <= ord(character) < 0xE000 for character in vocabulary):
            return ["no tokenizer files: its characters hold halves of surrogate pairs, which their format cannot say"]
        document = _tokenizer(vocabulary, [], None, {"type": "Fuse"}, [])
    else:
        return [f"no tokenizer files: the card says what its {kind} tokenizer is"]
    settings.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
    write_json(folder / "tokenizer.json", document)
    write_json(folder / "tokenizer_config.json", settings)
    return []


def _tokenizer(
    vocabulary: dict[str, int], merges: list[list[str]], before: Any, decoder: Any, added: list[dict[str, Any]]
) -> dict[str, Any]:
    """The document of the `tokenizers` library. Byte pairs without merges are its way to say one id a symbol."""
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": before, "post_processor": None, "decoder": decoder,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "vocab": vocabulary,
            "merges": [" ".join(pair) for pair in merges],
        },
    }  # fmt: skip


def _byte_level(*, regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": regex}


def _byte_characters() -> list[str]:
    """The character that GPT-2's vocabulary writes for each byte: itself where it prints, else one from 256 on."""
    printing = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in printing else next(others)) for byte in range(256)]
