"""Writes the tokenizer files of a Hugging Face folder, for every kind of tokenizer of ours. No torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gpt.byte_letters import LETTERS
from gpt.errors import DataError
from gpt.interop.pairs import byte_level, document, fault, own_document
from gpt.tokenizer import tokenizer_from_dict
from gpt.vocabulary import END_OF_TEXT, gpt2_files, vocabulary_from_dict, write_vocabulary

OWN_VOCABULARY = "vocabulary.tiktoken"
"""What a vocabulary of one's own is called there, as tiktoken reads it."""


def write_tokenizer(values: dict[str, Any], block_size: int, folder: Path) -> list[str]:
    """Writes `tokenizer.json`, `tokenizer_config.json` and what belongs to them; or says why there are none.

    Args:
        values: what `gpt.tokenizer.tokenizer_from_dict` takes.
        block_size: of the model, tokens.
    """
    writers = {"gpt2": _gpt2, "byte": _bytes, "char": _characters, "bpe": _own}
    try:
        written, settings = writers[values["name"]](values, folder)
    except KeyError:
        return [f"no tokenizer files: the card says what its {values['name']} tokenizer is"]
    except DataError as error:
        return [f"no tokenizer files: {error}"]
    settings = {"model_max_length": block_size, "clean_up_tokenization_spaces": False} | settings
    for name, content in (("tokenizer.json", written), ("tokenizer_config.json", settings)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return []


def _gpt2(values: dict[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    vocabulary, merges = gpt2_files()
    (folder / "vocab.json").write_bytes(vocabulary)
    (folder / "merges.txt").write_bytes(merges)
    pairs = [line for line in merges.decode("utf-8").split("\n")[1:] if line]
    level = byte_level(regex=True)
    ids = json.loads(vocabulary)
    settings = _ended({"tokenizer_class": "GPT2TokenizerFast", "add_prefix_space": False}) | {"unk_token": END_OF_TEXT}
    return document(ids, pairs, level, level, {END_OF_TEXT: ids[END_OF_TEXT]}), settings


def _bytes(values: dict[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    vocabulary = {letter: byte for byte, letter in enumerate(LETTERS)}
    level = byte_level(regex=False)
    return document(vocabulary, [], level, level, {}), {"tokenizer_class": "PreTrainedTokenizerFast"}


def _characters(values: dict[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    vocabulary = {character: token for token, character in enumerate(values["chars"])}
    if any(0xD800 <= ord(character) < 0xE000 for character in vocabulary):
        raise DataError("its characters hold halves of surrogate pairs, which their format cannot say")
    return document(vocabulary, [], None, {"type": "Fuse"}, {}), {"tokenizer_class": "PreTrainedTokenizerFast"}


def _own(values: dict[str, Any], folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    vocabulary = vocabulary_from_dict(values)
    write_vocabulary(folder / OWN_VOCABULARY, vocabulary)
    written = own_document(vocabulary)
    if reason := fault(written, tokenizer_from_dict(values)):
        raise DataError(f"{reason}; {OWN_VOCABULARY} is the vocabulary as tiktoken reads it")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    return written, _ended(settings) if END_OF_TEXT in vocabulary.special else settings


def _ended(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT}
