"""Sound inputs of gate 6 and their readers: what a run is made of and made from. Checkpoints and tokens."""

from __future__ import annotations

import io
import json
import logging
import pickle
import warnings
from contextlib import suppress
from pathlib import Path
from unittest import mock

import msgspec
import numpy as np
import torch

from gpt import checkpoint, tensorfile
from gpt.dataset_file import DatasetFile, ShardEntry, SplitEntry, read_dataset_file
from gpt.errors import CheckpointError, DataError
from gpt.interop import nanogpt_checkpoint, unpickle
from gpt.interop.nanogpt import read_meta
from gpt.shards import header
from gpt.tokens import Tokens
from tests.chaos.gate import scratch_folder
from tests.chaos.target import Target, of_file

# Checkpoints


def _tensor_files() -> list[bytes]:
    with scratch_folder() as folder:
        tensorfile.write(folder / "a", {"weight": torch.ones(3, 2), "bias": torch.zeros(2, dtype=torch.float16)})
        tensorfile.write(folder / "b", {"x": torch.arange(4), "é": torch.ones(0)})
        return [path.read_bytes() for path in sorted(folder.iterdir())]


def _load_tensors(path: Path) -> None:
    for tensor in checkpoint.load_tensors(path.parent, path.stem).values():
        tensor.numel()


def _states() -> list[bytes]:
    document = {"format": 1, "step": 20, "files": {"model.safetensors": "0" * 64}, "evaluation": {"val_loss": 1.5}}
    document["sha256"] = checkpoint._document_hash(document)
    return [json.dumps(document, indent=1).encode(), b'{"format":2,"step":1,"files":{}}', b"[]"]


def _verify(path: Path) -> None:
    checkpoint.verify(path.parent)


# Tokens


def _shards() -> list[bytes]:
    tokens = np.arange(300)
    small, large = np.dtype("<u2"), np.dtype("<u4")
    return [
        header(300, small) + tokens.astype(small).tobytes(), header(300, large) + tokens.astype(large).tobytes(),
        tokens.astype(small).tobytes(), b"",
    ]  # fmt: skip


def _open_shard(in_memory: bool, path: Path) -> None:
    tokens = Tokens.open(path, vocab_size=50_304, in_memory=2**20 if in_memory else 0)
    if len(tokens) > 8:
        tokens.gather(np.array([0, len(tokens) - 8]), 8)
        tokens.fingerprint()


def _open_both(path: Path) -> None:
    for in_memory in (True, False):
        with suppress(DataError):
            _open_shard(in_memory, path)


def _metas() -> list[bytes]:
    chars = "\n abcé"
    meta = {"vocab_size": len(chars), "stoi": {c: i for i, c in enumerate(chars)}, "itos": dict(enumerate(chars))}
    return [pickle.dumps(meta, protocol) for protocol in range(6)]


def _read_meta(path: Path) -> None:
    _ = read_meta(path).chars


def _datasets() -> list[bytes]:
    split = SplitEntry(shards=(ShardEntry(file="a.bin", tokens=3, sha256="0"),), tokens=3, bytes=9, documents=1)
    dataset = DatasetFile(
        tokenizer={"kind": "bytes"}, vocab_size=257, end_of_text=256, dtype="uint16", layout="llm.c", source="x",
        splits={"train": split, "val": split},
    )  # fmt: skip
    return [msgspec.json.encode(dataset)]


def _read_dataset(path: Path) -> None:
    read_dataset_file(path.parent)


def _nanogpt_checkpoints() -> list[bytes]:
    weights = {"transformer.wte.weight": torch.ones(5, 2), "transformer.wpe.weight": torch.ones(4, 2)}
    arguments = {"n_layer": 1, "n_head": 1, "n_embd": 2, "block_size": 4, "vocab_size": 5, "bias": False}
    made = []
    for old in (False, True):
        file = io.BytesIO()
        torch.save(
            {"model": weights, "model_args": arguments, "iter_num": 3, "best_val_loss": torch.tensor(2.0),
             "config": {"max_iters": 9, "dataset": "x"}, "optimizer": {"state": {}, "param_groups": []}},
            file, _use_new_zipfile_serialization=not old,
        )  # fmt: skip
        made.append(file.getvalue())
    return made


def _import_checkpoint(path: Path) -> None:
    """The reading of a `ckpt.pt`; what its process would end with is an error here."""

    def extract(source: Path, folder: Path) -> None:
        try:
            unpickle.extract(source, folder)
        except Exception as error:  # any other one ends that process with 1
            raise CheckpointError(str(error)) from None

    logging.disable(logging.CRITICAL)
    with mock.patch.object(nanogpt_checkpoint, "_extract", extract), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nanogpt_checkpoint.read(path, data_dir=path.parent, name="x")


TARGETS = (
    Target("safetensors", 0.06, _tensor_files, of_file("model.safetensors", _load_tensors, CheckpointError)),
    Target("state.json", 0.12, _states, of_file("state.json", _verify, CheckpointError)),
    Target("shards", 0.08, _shards, of_file("train.bin", _open_both)),
    Target("dataset.json", 0.12, _datasets, of_file("dataset.json", _read_dataset, DataError)),
    Target("meta.pkl", 0.14, _metas, of_file("meta.pkl", _read_meta, DataError)),
    Target("ckpt.pt", 0.02, _nanogpt_checkpoints, of_file("ckpt.pt", _import_checkpoint, CheckpointError)),
)
