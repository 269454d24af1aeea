"""Token files with headers: read like raw ones, and whatever is wrong with one is an error that names it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt.config import DataConfig, ModelConfig
from gpt.data import check_source, open_dataset
from gpt.errors import DataError
from gpt.shards import HEADER_BYTES, header, open_shard, split_shards
from gpt.tokens import Tokens

KINDS = [np.dtype("<u2"), np.dtype("<u4")]


def write(path: Path, ids: np.ndarray, dtype: np.dtype) -> Path:
    path.write_bytes(header(len(ids), dtype) + ids.astype(dtype).tobytes())
    return path


def test_the_header_is_the_one_that_llm_c_writes() -> None:
    """Written out from llm.c's data_common.py: 256 int32, magic, version, count."""
    integers = np.frombuffer(header(7, np.dtype("<u2")), dtype=np.int32)
    assert len(integers) == 256
    assert list(integers[:4]) == [20240520, 1, 7, 0] and not integers[3:].any()
    assert list(np.frombuffer(header(7, np.dtype("<u4")), dtype=np.int32)[:3]) == [20240801, 7, 7]


@pytest.mark.parametrize("dtype", KINDS)
@pytest.mark.parametrize("in_memory", [0, 2**20])
def test_several_shards_read_as_one_row_of_tokens(tmp_path: Path, dtype: np.dtype, in_memory: int) -> None:
    ids = np.arange(100) * (600 if dtype.itemsize == 2 else 1200)
    paths = [write(tmp_path / f"{n}.bin", part, dtype) for n, part in enumerate(np.split(ids, [1, 40, 41]))]
    tokens = Tokens.open(paths, vocab_size=2**17, in_memory=in_memory)
    assert len(tokens) == 100
    starts = np.array([0, 1, 38, 39, 40, 90, 30])
    assert np.array_equal(tokens.gather(starts, 10), ids[starts[:, None] + np.arange(10)])
    assert np.array_equal(tokens.first(50), ids[:50])


def test_the_same_tokens_have_the_same_fingerprint_in_every_format(tmp_path: Path) -> None:
    ids = np.arange(50)
    (tmp_path / "raw.bin").write_bytes(ids.astype("<u2").tobytes())
    files = [[tmp_path / "raw.bin"], [write(tmp_path / "u2", ids, KINDS[0])], [write(tmp_path / "u4", ids, KINDS[1])]]
    files.append([write(tmp_path / "a", ids[:20], KINDS[0]), write(tmp_path / "b", ids[20:], KINDS[1])])
    for in_memory in (0, 2**20):
        assert len({Tokens.open(f, vocab_size=50, in_memory=in_memory).fingerprint() for f in files}) == 1


@pytest.mark.parametrize("in_memory", [0, 2**20])
def test_an_id_outside_the_vocabulary_is_named_with_its_position_in_the_whole(tmp_path: Path, in_memory: int) -> None:
    paths = [write(tmp_path / "a", np.arange(10), KINDS[0]), write(tmp_path / "b", np.array([1, 70000]), KINDS[1])]
    with pytest.raises(DataError, match="token id 70000 at position 11 "):
        Tokens.open(paths, vocab_size=65536, in_memory=in_memory).gather(np.array([8]), 4)


def test_a_shard_cut_short_while_it_is_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, np.arange(100), KINDS[0]) for name in ("first.bin", "second.bin")]
    tokens = Tokens.open(paths, vocab_size=100, in_memory=0)
    os.truncate(paths[1], HEADER_BYTES + 50)
    assert tokens.gather(np.array([0, 95]), 20)[1, -1] == 14
    with pytest.raises(DataError, match=r"second\.bin.*shorter"):
        tokens.gather(np.array([110]), 20)


def test_every_truncation_and_every_extra_byte_is_refused(tmp_path: Path) -> None:
    """At every byte of the header and of the tokens, from the fourth on: before that no magic can be told."""
    path = write(tmp_path / "cut.bin", np.arange(8), KINDS[0])
    whole = path.read_bytes()
    for length in (*range(4, len(whole)), *range(len(whole) + 1, len(whole) + 4)):
        path.write_bytes((whole + b"\0\0\0")[:length])
        with pytest.raises(DataError, match=r"cut\.bin"):
            open_shard(path)


@given(at=st.integers(0, 11), value=st.integers(0, 255), body=st.binary(max_size=40))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_garbled_header_is_a_clear_error_or_a_file_that_reads_whole(
    tmp_path: Path, at: int, value: int, body: bytes
) -> None:
    content = bytearray(header(len(body) // 2, KINDS[0]) + body)
    content[at] = value
    path = tmp_path / "garbled.bin"
    path.write_bytes(content)
    try:
        shard = open_shard(path)
    except DataError as error:
        assert "garbled.bin" in str(error)
    else:
        assert shard.size == len(content)
        Tokens.open(path, vocab_size=2**32).gather(np.array([0]), shard.tokens)


@pytest.mark.parametrize(
    ("names", "train", "val"),
    [
        (["train.bin", "val.bin", "train_000001.bin"], ["train.bin"], ["val.bin"]),
        (["train_000001.bin", "train_000000.bin", "val_000000.bin"], ["train_000000.bin", "train_000001.bin"],
         ["val_000000.bin"]),
        (["fineweb_val_000000.bin", "fineweb_train_000002.bin", "fineweb_train_000001.bin"],
         ["fineweb_train_000001.bin", "fineweb_train_000002.bin"], ["fineweb_val_000000.bin"]),
        (["tiny_shakespeare_train.bin", "tiny_shakespeare_val.bin"], ["tiny_shakespeare_train.bin"],
         ["tiny_shakespeare_val.bin"]),
        ([], ["train.bin"], ["val.bin"]),
    ],
)  # fmt: skip
def test_a_splits_files_are_found_by_every_tools_names(
    tmp_path: Path, names: list[str], train: list[str], val: list[str]
) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert [path.name for path in split_shards(tmp_path, "train")] == train
    assert [path.name for path in split_shards(tmp_path, "val")] == val


def test_a_folder_of_shards_is_data_to_train_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("shakes_train_000000", "shakes_train_000001", "shakes_val_000000"):
        write(tmp_path / f"{name}.bin", rng.integers(0, 256, 200), KINDS[0])
    data, model = DataConfig(dir=str(tmp_path), tokenizer="byte"), ModelConfig(block_size=16)
    check_source(data, model)
    dataset = open_dataset(data, model)
    assert (len(dataset.train), len(dataset.val)) == (400, 200)
    (tmp_path / "shakes_val_000000.bin").unlink()
    with pytest.raises(DataError, match=r"val\.bin: no such file"):
        check_source(data, model)
