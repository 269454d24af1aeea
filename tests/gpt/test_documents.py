"""Files of any kind are read as streams of documents, piece by piece, each no longer than memory is meant to hold."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from gpt.documents import SECTION_CHARS, read_pieces, sections
from gpt.errors import DataError
from gpt.tokenizer import Gpt2Tokenizer
from tests.gpt.text_files import DOCUMENTS, fineweb, jsonl

pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_long_text_is_cut_where_gpt2_would_cut_it() -> None:
    text = "".join(f"A line of words, {i}.\n" + "\n" * (i % 40 == 0) for i in range(9000))
    parts = list(sections(io.StringIO(text).read))
    assert "".join(parts) == text
    assert len(parts) > 4
    assert all(SECTION_CHARS <= len(part) <= 2 * SECTION_CHARS for part in parts[:-1])
    assert all(part.startswith("\nA") for part in parts[1:])
    tokenizer = Gpt2Tokenizer()
    assert np.concatenate([tokenizer.encode(part) for part in parts]).tolist() == tokenizer.encode(text).tolist()


@pytest.mark.parametrize("text", ["x" * 300_000, "one line of many words " * 20_000, "\n" * 200_000])
def test_no_section_is_longer_than_memory_is_meant_to_hold(text: str) -> None:
    parts = list(sections(io.StringIO(text).read))
    assert "".join(parts) == text
    assert max(map(len, parts)) <= 2 * SECTION_CHARS


def test_documents_are_read_as_they_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"text": "good"}\n' * 3 + "not JSON\n")
    pieces = read_pieces(path)
    assert [next(pieces).text for _ in range(3)] == ["good"] * 3
    with pytest.raises(DataError, match=r"document 4 is not a JSON object with a text field"):
        next(pieces)


@pytest.mark.parametrize("name", ["d.jsonl", "d.jsonl.gz", "d.parquet", "d.txt"])
def test_reading_goes_on_behind_any_document(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "d.txt":
        path.write_text("A paragraph of text.\n\n" * 9000)
    elif name == "d.parquet":
        fineweb(path, DOCUMENTS, 30)
    else:
        jsonl(path)
    pieces = list(read_pieces(path))
    assert pieces[-1].ends and (name == "d.txt" or len(pieces) == len(DOCUMENTS))
    for skip in (0, 1, 3, len(pieces) - 1, len(pieces)):
        assert list(read_pieces(path, skip)) == pieces[skip:]


def test_a_parquet_file_without_texts_says_what_it_has(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table({"content": ["x"]}), tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"no column named text .*it has content"):
        next(read_pieces(tmp_path / "c.parquet"))
