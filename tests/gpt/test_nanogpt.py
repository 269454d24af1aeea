"""nanoGPT's meta.pkl is read, and nothing in it is ever run."""

import os
import pickle
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpt.errors import DataError
from gpt.interop.nanogpt import MAX_META_BYTES, read_meta

CHARS = "\n !é木😀abc"


def vocabulary(chars: str = CHARS) -> dict:
    """As nanoGPT's data/shakespeare_char/prepare.py pickles it."""
    return {"vocab_size": len(chars), "itos": dict(enumerate(chars)), "stoi": {c: i for i, c in enumerate(chars)}}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_vocabulary_is_read_from_every_pickle_protocol(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "meta.pkl"
    path.write_bytes(pickle.dumps(vocabulary(), protocol=protocol))
    meta = read_meta(path)
    assert (meta.vocab_size, meta.chars) == (len(CHARS), CHARS)
    assert meta.stoi == vocabulary()["stoi"]
    assert meta.itos == vocabulary()["itos"]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_vocabulary_of_thousands_of_characters_is_read(tmp_path: Path, protocol: int) -> None:
    chars = "".join(map(chr, range(0x4E00, 0x4E00 + 20_000)))
    path = tmp_path / "meta.pkl"
    path.write_bytes(pickle.dumps(vocabulary(chars), protocol=protocol))
    assert read_meta(path).chars == chars


class _Runs:
    """Pickles as a call."""

    def __init__(self, function, *arguments) -> None:
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, subprocess.getoutput, eval, exec])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int, function) -> None:
    trace = tmp_path / "trace"
    command = f"open({str(trace)!r}, 'w')" if function in (eval, exec) else f"touch {trace}"
    content = pickle.dumps(vocabulary() | {"extra": _Runs(function, command)}, protocol=protocol)
    pickle.loads(content)  # noqa: S301 - shows that this pickle does its harm where it is loaded
    assert trace.exists()
    trace.unlink()
    path = tmp_path / "meta.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"meta\.pkl.*nothing in it was run"):
        read_meta(path)
    assert not trace.exists()


HOSTILE = {
    "import": b"cos\nsystem\n.",
    "inst": b"(S'true'\nios\nsystem\n.",
    "persistent id": b"Px\n.",
    "extension registry": b"\x80\x02\x82\x01.",
    "huge memo index": b"\x80\x02}r\xff\xff\xff\x7f.",
    "huge frame": b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f}.",
    "huge string": b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fx.",
    "dict in itself": b"\x80\x04}\x94(\x8c\x04itosh\x00\x8c\x04stoih\x00\x8c\x0avocab_sizeK\x03u.",
    "dict as key": b"}}}s.",
    "item without dict": b"K\x01K\x02K\x03s.",
    "no mark": b"}u.",
    "odd items": b"}(K\x01u.",
    "nothing on the stack": b".",
    "empty file": b"",
    "no stop": b"}",
    "text": b"vocab_size = 65",
}  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_broken_or_hostile_pickle_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "meta.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"meta\.pkl: not nanoGPT's character vocabulary") as error:
        read_meta(path)
    assert "\n" not in str(error.value)


@given(cut=st.integers(0, 400), change=st.binary(min_size=1, max_size=4), protocol=st.integers(0, 5))
@example(cut=0, change=b"\x80", protocol=2)
def test_no_damage_leads_to_anything_but_a_vocabulary_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, cut: int, change: bytes, protocol: int
) -> None:
    content = pickle.dumps(vocabulary(), protocol=protocol)
    cut %= len(content)
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    path.write_bytes(content[:cut] + change + content[cut + len(change) :])
    try:
        meta = read_meta(path)
    except DataError:
        return
    assert len(meta.chars) == meta.vocab_size


WRONG = {
    "a list": [1, 2],
    "no stoi": {"vocab_size": 1, "itos": {0: "a"}},
    "another size": vocabulary() | {"vocab_size": 3},
    "a size in words": vocabulary() | {"vocab_size": "9"},
    "a gap in the ids": {"vocab_size": 2, "itos": {0: "a", 2: "b"}, "stoi": {"a": 0, "b": 2}},
    "words for characters": {"vocab_size": 1, "itos": {0: "word"}, "stoi": {"word": 0}},
    "half a surrogate pair": {"vocab_size": 1, "itos": {0: "\ud83d"}, "stoi": {"\ud83d": 0}},
    "a contradiction": {"vocab_size": 2, "itos": {0: "a", 1: "b"}, "stoi": {"a": 1, "b": 0}},
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG.keys())
def test_a_pickle_that_is_no_vocabulary_is_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "meta.pkl"
    path.write_bytes(pickle.dumps(value))
    with pytest.raises(DataError, match="not nanoGPT's character vocabulary"):
        read_meta(path)


def test_a_file_too_large_for_a_vocabulary_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "meta.pkl"
    with path.open("wb") as file:
        file.truncate(MAX_META_BYTES + 1)
    with pytest.raises(DataError, match="larger than"):
        read_meta(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"meta\.pkl: cannot be read \(No such file"):
        read_meta(tmp_path / "meta.pkl")
