"""Tokens, checked before they reach a model, and the order they are read in."""

import itertools
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gpt.data
from gpt.config import DataConfig, ModelConfig
from gpt.data import BatchOrder, Tokens, check_source, evaluation_starts, open_dataset
from gpt.errors import DataError

MODEL = ModelConfig(block_size=8)


def write(path: Path, ids) -> Path:
    np.asarray(ids, dtype="<u2").tofile(path)
    return path


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A prepared folder of GPT-2 tokens."""
    write(tmp_path / "train.bin", np.arange(1000) * 50)
    write(tmp_path / "val.bin", np.arange(100))
    return tmp_path


@pytest.fixture(params=[True, False], ids=["in memory", "on disk"])
def stores(request: pytest.FixtureRequest) -> dict:
    """Arguments of Tokens.open for either store."""
    return {} if request.param else {"in_memory": 0}


# Tokens


@given(starts=st.lists(st.integers(0, 90), max_size=5), length=st.integers(1, 10))
def test_windows_are_what_stands_in_the_file(
    tmp_path_factory: pytest.TempPathFactory, starts: list[int], length: int
) -> None:
    path = write(tmp_path_factory.getbasetemp() / "windows.bin", np.arange(100) * 600)
    expected = np.array([[600 * (start + i) for i in range(length)] for start in starts]).reshape(len(starts), length)
    for in_memory in (0, 2**20):
        tokens = Tokens.open(path, vocab_size=2**16, in_memory=in_memory)
        windows = tokens.gather(np.array(starts, dtype=np.int64), length)
        assert (tokens.in_memory, len(tokens), windows.dtype) == (in_memory > 0, 100, np.int64)
        np.testing.assert_array_equal(windows, expected)
        np.testing.assert_array_equal(tokens.first(3), [0, 600, 1200])


def test_a_token_outside_the_vocabulary_never_reaches_the_model(tmp_path: Path, stores: dict) -> None:
    path = write(tmp_path / "train.bin", [1, 2, 3, 65, 4, 99])
    with pytest.raises(DataError, match=r"train\.bin: token id 65 at position 3 is not in the vocabulary of 65"):
        Tokens.open(path, vocab_size=65, **stores).gather(np.array([2]), 3)


def test_tokens_in_memory_cannot_be_written_to() -> None:
    tokens = Tokens(np.arange(5, dtype=np.uint16), vocab_size=5, name="x")
    with pytest.raises(ValueError, match="read-only"):
        tokens.first(2)[0] = 9


def test_a_file_cut_short_while_it_is_read_is_an_error_not_a_crash(tmp_path: Path) -> None:
    path = write(tmp_path / "train.bin", np.zeros(10_000))
    tokens = Tokens.open(path, vocab_size=2, in_memory=0)
    os.truncate(path, 10_000)
    assert tokens.gather(np.array([4990]), 10).shape == (1, 10)
    with pytest.raises(DataError, match=r"train\.bin: the file has become shorter than the 20,000 bytes"):
        tokens.gather(np.array([0, 4991]), 10)


def test_a_file_on_disk_is_closed_with_its_tokens(tmp_path: Path) -> None:
    tokens = Tokens.open(write(tmp_path / "a.bin", [1, 2]), vocab_size=3, in_memory=0)
    file = tokens._files[0]
    assert file is not None
    del tokens
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)


@pytest.mark.parametrize(
    ("content", "error"),
    [(None, "no such file"), (b"", "the file is empty"), (b"abc", "3 bytes are not a whole number of uint16 tokens")],
)
def test_a_file_that_cannot_hold_tokens_is_refused(tmp_path: Path, content, error: str, stores: dict) -> None:
    path = tmp_path / "val.bin"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"val\.bin: {error}"):
        Tokens.open(path, vocab_size=9, **stores)


def test_the_fingerprint_changes_with_any_token_in_memory_and_with_size_on_disk(tmp_path: Path) -> None:
    ids = np.zeros(1000)
    path = write(tmp_path / "a.bin", ids)
    prints = {Tokens.open(path, vocab_size=2).fingerprint(), Tokens.open(path, vocab_size=2, in_memory=0).fingerprint()}
    write(path, [*ids[:-1], 1])
    prints |= {
        Tokens.open(path, vocab_size=2).fingerprint(),
        Tokens.open(path, vocab_size=2, in_memory=0).fingerprint(),
    }
    write(path, [*ids, 0])
    prints |= {Tokens.open(path, vocab_size=2, in_memory=0).fingerprint()}
    assert len(prints) == 5
    assert Tokens.open(path, vocab_size=2).fingerprint() == Tokens.open(path, vocab_size=9).fingerprint()


# Opening what a profile names


def test_a_prepared_folder_is_taken_for_gpt2_tokens(folder: Path) -> None:
    data = DataConfig(dir=str(folder))
    check_source(data, MODEL)
    dataset = open_dataset(data, MODEL)
    assert (dataset.tokenizer.name, len(dataset.train), len(dataset.val)) == ("gpt2", 1000, 100)
    assert dataset.val_bytes_per_token == 1.0  # GPT-2's first 256 ids are single bytes
    assert dataset.fingerprint.startswith("sha256:")


def test_a_padded_vocabulary_admits_the_tokenizers_ids_and_no_more(folder: Path) -> None:
    data, model = DataConfig(dir=str(folder)), ModelConfig(block_size=8, vocab_size=50304)
    write(folder / "val.bin", [50303] * 20)
    check_source(data, model)
    open_dataset(data, model)
    write(folder / "val.bin", [50304] * 20)
    for check in (check_source, open_dataset):
        with pytest.raises(DataError, match=r"val\.bin: token id 50304 at position 0 .* vocabulary of 50,304"):
            check(data, model)


def test_a_folder_with_meta_pkl_is_read_as_characters(folder: Path) -> None:
    chars = "aé木"
    meta = {"vocab_size": 3, "itos": dict(enumerate(chars)), "stoi": {c: i for i, c in enumerate(chars)}}
    (folder / "meta.pkl").write_bytes(pickle.dumps(meta))
    for split in ("train", "val"):
        write(folder / f"{split}.bin", [0, 1, 2] * 10)
    check_source(DataConfig(dir=str(folder)), MODEL)
    dataset = open_dataset(DataConfig(dir=str(folder)), MODEL)
    assert dataset.tokenizer.decode([2, 1, 0]) == "木éa"
    assert dataset.val_bytes_per_token == 2.0
    assert open_dataset(DataConfig(dir=str(folder), tokenizer="gpt2"), MODEL).tokenizer.name == "gpt2"


def test_large_files_are_checked_by_samples(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpt.data, "_CHECKED_WHOLE_BYTES", 0)
    monkeypatch.setattr(gpt.tokens, "_SAMPLE_TOKENS", 50)
    check_source(DataConfig(dir=str(folder)), MODEL)
    write(folder / "train.bin", [60000] * 1000)
    with pytest.raises(DataError, match=r"train\.bin: token id 60000 .* vocabulary of 50,257"):
        check_source(DataConfig(dir=str(folder)), MODEL)


@pytest.mark.parametrize("missing", ["train.bin", "val.bin"])
def test_a_folder_without_a_split_is_refused(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    for check in (check_source, open_dataset):
        with pytest.raises(DataError, match=f"{missing}: no such file"):
            check(DataConfig(dir=str(folder)), MODEL)


def test_a_missing_folder_or_vocabulary_is_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"data\.dir: no folder nowhere \(looked in /"):
        check_source(DataConfig(dir="nowhere"), MODEL)
    with pytest.raises(DataError, match=r"has no meta\.pkl"):
        check_source(DataConfig(dir=str(folder), tokenizer="char"), MODEL)


@pytest.mark.parametrize("tokenizer", ["byte", "char", "gpt2"])
def test_a_text_is_tokenized_and_its_bytes_are_counted(tmp_path: Path, tokenizer) -> None:
    text = "Größe und Maß. " * 200
    (tmp_path / "text.txt").write_text(text)
    data = DataConfig(input=str(tmp_path / "text.txt"), tokenizer=tokenizer)
    check_source(data, MODEL)
    dataset = open_dataset(data, MODEL)
    val = text[int(len(text) * 0.9) :]
    assert dataset.tokenizer.decode(dataset.val.first(10**6)) == val
    assert dataset.val_bytes_per_token == pytest.approx(len(val.encode()) / len(dataset.val))


def test_relative_paths_start_at_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.txt").write_text("abc" * 100)
    monkeypatch.chdir(tmp_path)
    assert open_dataset(DataConfig(input="text.txt"), MODEL).source == "text.txt"


def test_a_text_shorter_than_a_block_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("x" * 90)
    data = DataConfig(input=str(tmp_path / "text.txt"))
    check_source(data, ModelConfig(block_size=8))
    for check in (check_source, open_dataset):
        with pytest.raises(DataError, match=r"text\.txt: .* validation tokens are shorter than a block of 16") as error:
            check(data, ModelConfig(block_size=16))
        assert "\n" not in str(error.value)


def test_an_empty_text_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "text.txt").touch()
    with pytest.raises(DataError, match=r"text\.txt: there is no text in it; "):
        check_source(DataConfig(input=str(tmp_path / "text.txt")), MODEL)


@pytest.mark.parametrize("tokenizer", ["byte", "char", "gpt2"])
def test_a_model_with_fewer_rows_than_the_tokenizer_has_ids_is_refused(tmp_path: Path, tokenizer) -> None:
    (tmp_path / "text.txt").write_text("abcdefghij" * 30)
    data, model = (
        DataConfig(input=str(tmp_path / "text.txt"), tokenizer=tokenizer),
        ModelConfig(vocab_size=9, block_size=8),
    )
    with pytest.raises(DataError, match=rf"model\.vocab_size 9 is smaller than the {tokenizer} tokenizer's"):
        check_source(data, model)


def test_prepared_tokens_are_trained_on_without_gpt2s_vocabulary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> None:
        raise DataError("GPT-2's vocabulary is not here")

    monkeypatch.setattr("gpt.tokenizer.gpt2_encoding", nowhere)
    assert open_dataset(DataConfig(dir=str(folder)), MODEL).val_bytes_per_token is None


def test_the_standard_library_makes_a_dataset() -> None:
    data = DataConfig(name="python-stdlib")
    check_source(data, MODEL)
    dataset = open_dataset(data, MODEL)
    assert len(dataset.train) > 5e6
    assert 0.05 < len(dataset.val) / len(dataset.train) < 0.2
    assert dataset.val_bytes_per_token == 1.0
    assert dataset.fingerprint == open_dataset(data, MODEL).fingerprint


# The order of the data

SHAPES = st.tuples(st.integers(2, 400), st.integers(1, 20)).filter(lambda shape: shape[0] > shape[1])
SAMPLINGS = st.sampled_from(["shuffle", "replacement"])


@given(shape=SHAPES, seed=st.integers(0, 2**70), sampling=SAMPLINGS, cuts=st.lists(st.integers(0, 300), max_size=6))
def test_any_portions_in_any_order_give_the_same_sequences(shape, seed: int, sampling: str, cuts: list[int]) -> None:
    tokens, block_size = shape
    whole = BatchOrder(tokens, block_size, seed, sampling).starts(0, 300)
    order = BatchOrder(tokens, block_size, seed, sampling)
    edges = [0, *sorted(cuts), 300]
    for first, end in reversed(list(itertools.pairwise(edges))):
        np.testing.assert_array_equal(order.starts(first, end - first), whole[first:end])
    assert whole.dtype == np.int64


@given(shape=SHAPES, seed=st.integers(0, 99), sampling=SAMPLINGS, first=st.integers(0, 10**12))
def test_every_window_and_its_last_target_lie_in_the_split(shape, seed: int, sampling: str, first: int) -> None:
    tokens, block_size = shape
    starts = BatchOrder(tokens, block_size, seed, sampling).starts(first, 100)
    assert starts.min() >= 0
    assert starts.max() + block_size + 1 <= tokens


@given(shape=SHAPES, seed=st.integers(0, 99), epoch=st.integers(0, 5))
def test_an_epoch_reads_no_token_twice_and_misses_only_the_ends(shape, seed: int, epoch: int) -> None:
    tokens, block_size = shape
    order = BatchOrder(tokens, block_size, seed, "shuffle")
    size = order.sequences_per_epoch
    starts = np.sort(order.starts(epoch * size, size))
    assert (np.diff(starts) == block_size).all()  # side by side: nothing twice, nothing missed between
    assert tokens - size * block_size <= 2 * block_size
    assert starts[0] < block_size
    assert order.epoch((epoch + 1) * size) == epoch + 1


def test_epochs_differ_in_offset_and_order() -> None:
    order = BatchOrder(10_001, 10, 1, "shuffle")
    size = order.sequences_per_epoch
    epochs = [order.starts(epoch * size, size) for epoch in range(20)]
    assert len({int(starts.min()) for starts in epochs}) > 5
    assert all((np.diff(starts) < 0).any() for starts in epochs)
    assert not np.array_equal(np.argsort(epochs[0]), np.argsort(epochs[1]))


def test_other_seeds_give_other_orders() -> None:
    for sampling in ("shuffle", "replacement"):
        orders = {tuple(BatchOrder(1000, 10, seed, sampling).starts(0, 20)) for seed in range(20)}
        assert len(orders) == 20


def test_replacement_draws_every_start_about_equally_often() -> None:
    starts = BatchOrder(21, 10, 3, "replacement").starts(0, 11_000)
    counts = np.bincount(starts, minlength=11)
    assert len(counts) == 11
    assert (abs(counts - 1000) < 150).all()  # 5 standard deviations


def test_the_order_is_this_one_for_good() -> None:
    """A change here would make every resumed run read other data than the one that was interrupted."""
    assert BatchOrder(100, 10, 1337, "shuffle").starts(0, 11).tolist() == [15, 35, 45, 55, 85, 65, 25, 75, 5, 74, 24]
    assert BatchOrder(100, 10, 1337, "replacement").starts(0, 6).tolist() == [50, 1, 78, 69, 50, 72]


def test_a_split_shorter_than_a_window_has_no_order() -> None:
    with pytest.raises(DataError, match="10 tokens are fewer than the 11"):
        BatchOrder(10, 10, 1, "shuffle")


@given(shape=SHAPES, count=st.integers(1, 60))
def test_evaluation_windows_are_spread_over_the_split_without_overlap(shape, count: int) -> None:
    tokens, block_size = shape
    starts = evaluation_starts(tokens, block_size, count)
    assert len(starts) == min(count, (tokens - 1) // block_size) >= 1
    assert (np.diff(starts) >= block_size).all()
    assert starts[0] == 0
    if len(starts) > 1:
        assert starts[-1] + block_size + 1 == tokens
