"""Texts become tokens: the same files in the same order, split honestly, tokenized once."""

import os
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import gpt.prepare
from gpt.config import DataConfig
from gpt.errors import DataError
from gpt.prepare import (
    encode_in_pieces,
    prepare,
    python_stdlib_files,
    read_text,
    split_files,
    split_text,
    text_files,
)  # fmt: skip
from gpt.tokenizer import Gpt2Tokenizer

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gpt-cockpit"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Texts and what is not text, in a tree."""
    files = {"b.txt": "bb", "a.md": "a", "sub/c": "c", ".hidden": "h", ".git/config": "g", "tokens.bin": "x\0y"}
    for name, text in files.items():
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "texts" / "sub" / "loop").symlink_to(tmp_path / "texts")
    return tmp_path / "texts"


def names(paths: list[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


def test_a_folder_stands_for_its_text_files_in_sorted_order(folder: Path) -> None:
    assert names(text_files(str(folder)), folder) == ["a.md", "b.txt", "sub/c"]


def test_globs_find_files_at_any_depth_and_no_folders(folder: Path) -> None:
    assert names(text_files(f"{folder}/**/[a-c]*"), folder) == ["a.md", "b.txt", "sub/c"]


def test_a_file_named_twice_is_taken_once(folder: Path) -> None:
    link = folder.parent / "z.txt"
    link.symlink_to(folder / "b.txt")
    assert names(text_files([f"{folder}/b.txt", f"{folder}/*.txt", str(link), str(folder)]), folder) == [
        "a.md", "b.txt", "sub/c",
    ]  # fmt: skip


def test_the_home_folder_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert text_files("~/b.txt") == [folder / "b.txt"]


def test_a_file_whose_name_looks_like_a_glob_is_found(folder: Path) -> None:
    (folder / "x[1].txt").write_text("x")
    assert names(text_files(f"{folder}/x[1].txt"), folder) == ["x[1].txt"]


@pytest.mark.parametrize("source", ["nothing.txt", "no*thing", ["b.txt", "nothing.txt"]])
def test_what_matches_nothing_is_named(folder: Path, source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(DataError, match=r"no file matches no\*?thing"):
        text_files(source)


def test_an_empty_list_or_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="empty list"):
        text_files([])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no text files in the folder"):
        text_files(str(tmp_path / "empty"))


def test_token_files_given_as_text_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"tokens\.bin is not UTF-8 text.*data\.dir"):
        text_files(f"{folder}/tokens.bin")


def test_text_is_read_with_one_kind_of_newline_and_no_decoding_errors(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one\r\ntwo\rthree")
    (tmp_path / "b").write_bytes(b"na\xefve")
    assert read_text([tmp_path / "a", tmp_path / "b"]) == "one\ntwo\nthree\nna\ufffdve"


def test_a_file_that_has_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.txt: cannot be read \(No such file"):
        read_text([tmp_path / "gone.txt"])


def test_the_standard_library_is_the_same_twice_and_holds_no_tests() -> None:
    root = Path(sysconfig.get_path("stdlib"))
    files = python_stdlib_files()
    relative = names(files, root)
    assert relative == sorted(relative) == names(python_stdlib_files(), root)
    assert {"argparse.py", "json/decoder.py", "unittest/mock.py"} <= set(relative)
    assert not [name for name in relative if {"test", "tests", "idle_test", "site-packages"} & set(name.split("/"))]
    assert 5e6 < sum(path.stat().st_size for path in files) < 20e6


def test_a_text_is_split_where_nanogpt_splits_it() -> None:
    text = "x" * 1_115_394  # tiny Shakespeare: nanoGPT prints 1,003,854 and 111,540 tokens
    assert [len(part) for part in split_text(text, 0.1)] == [1_003_854, 111_540]


@given(count=st.integers(0, 500), fraction=st.floats(0.01, 0.5))
def test_files_are_held_out_evenly_and_none_twice(count: int, fraction: float) -> None:
    paths = [Path(str(i)) for i in range(count)]
    train, val = split_files(paths, fraction)
    assert sorted(train + val) == sorted(paths)
    for upto in range(0, count, 7):  # every beginning of the list has its share
        assert abs(sum(int(path.name) < upto for path in val) - upto * fraction) <= 1


def test_bytes_and_characters_are_tokenized_in_memory(folder: Path) -> None:
    data = DataConfig(input=str(folder), tokenizer="char", val_fraction=0.5)
    prepared = prepare(data)  # "a\nbb\nc"
    assert prepared.tokenizer.decode(prepared.train) == "a\nb"
    assert prepared.tokenizer.decode(prepared.val) == "b\nc"
    assert prepared.tokenizer.vocab_size == 4
    byte = prepare(DataConfig(input=str(folder), val_fraction=0.5))
    assert byte.train.tolist() == list(b"a\nb")


def test_gpt2_tokens_are_made_once_and_kept(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = DataConfig(input=str(folder), tokenizer="gpt2", val_fraction=0.5)
    seen: list[tuple[int, int]] = []
    first = prepare(data, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (6, 6)
    assert first.tokenizer.decode(first.train) == "a\nb"
    (kept,) = (cache / "tokens").iterdir()
    assert sorted(file.name for file in kept.iterdir()) == ["train.bin", "val.bin"]

    monkeypatch.setattr(Gpt2Tokenizer, "encode_batch", None)  # would fail if anything were tokenized again
    again = prepare(data)
    np.testing.assert_array_equal(again.train, first.train)
    np.testing.assert_array_equal(again.val, first.val)


def test_another_text_or_split_is_not_taken_from_the_cache(folder: Path, cache: Path) -> None:
    for fraction in (0.5, 0.2):
        prepare(DataConfig(input=str(folder), tokenizer="gpt2", val_fraction=fraction))
    (folder / "b.txt").write_text("bB")
    prepared = prepare(DataConfig(input=str(folder), tokenizer="gpt2", val_fraction=0.5))
    assert prepared.tokenizer.decode(np.concatenate([prepared.train, prepared.val])) == "a\nbB\nc"
    assert len(list((cache / "tokens").iterdir())) == 3


def test_a_write_that_fails_leaves_no_tokens_and_no_rubbish(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    prepared = prepare(DataConfig(input=str(folder), tokenizer="gpt2"))
    assert len(prepared.train) > 0
    assert list((cache / "tokens").iterdir()) == []


@given(text=st.text("a1'.\n \u00a0\x1c\t木", max_size=60), size=st.integers(1, 20))
@example(text="one  two\n\nthree \n = four = \n's", size=1)
@settings(max_examples=400)
def test_pieces_are_tokenized_as_the_whole_is(text: str, size: int) -> None:
    tokenizer = Gpt2Tokenizer()
    sizes: list[int] = []
    ids = encode_in_pieces(text, tokenizer, sizes.append, piece_chars=size)
    np.testing.assert_array_equal(ids, tokenizer.encode(text))
    assert sum(sizes) == len(text.encode())


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
def test_wikitext_in_pieces_is_tokenized_as_the_whole_is() -> None:
    text = (DATA / "wikitext-2" / "test.txt").read_text()
    tokenizer = Gpt2Tokenizer()
    assert len(list(gpt.prepare._pieces(text, 10_000))) > 100
    ids = encode_in_pieces(text, tokenizer, lambda size: None, piece_chars=10_000)
    np.testing.assert_array_equal(ids, tokenizer.encode(text))
