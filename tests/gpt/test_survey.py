"""What a survey of token files finds, against the same figures counted the slow way."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from statistics import median_low
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt import survey as module
from gpt.errors import DataError
from gpt.shards import header, open_shard
from gpt.survey import START_TOKENS, Repeated, Survey, open_all, read, snippet_starts, survey
from gpt.tokens import Tokens

END = 9


def opened(folder: Path, *parts: list[int]) -> Tokens:
    shards = []
    for number, part in enumerate(parts):
        path = folder / f"{number}.bin"
        ids = np.array(part, "<u4")
        path.write_bytes(header(len(part), ids.dtype) + ids.tobytes())
        shards.append(open_shard(path))
    return open_all(shards)


def surveyed(*parts: list[int], vocab_size: int | None = 10, end: int | None = END) -> Survey:
    with TemporaryDirectory() as folder:
        return survey(opened(Path(folder), *parts), vocab_size=vocab_size, end_of_text=end)


def split_at_ends(ids: list[int]) -> list[tuple[int, list[int]]]:
    """(position, tokens) of each stretch between end-of-text tokens, empty ones too."""
    stretches, start = [], 0
    for at, token in enumerate([*ids, END]):
        if token == END:
            stretches.append((start, ids[start:at]))
            start = at + 1
    return stretches if not ids or ids[-1] != END else stretches[:-1]


def test_documents_are_counted_across_the_ends_of_shards() -> None:
    documents = surveyed([1, 2, 3, END, 4], [5, END, END, 6]).documents
    assert documents is not None
    assert (documents.count, documents.empty, documents.shortest, documents.longest) == (3, 1, 1, 3)
    assert (documents.mean, documents.median) == (2.0, 2)
    assert documents.histogram == [(1, 1), (2, 2)]


def test_an_end_of_text_at_the_very_start_ends_no_document() -> None:
    documents = surveyed([END, 1, 2, END, 3]).documents
    assert documents is not None and (documents.count, documents.empty) == (2, 0)


def test_documents_that_begin_alike_are_found_with_the_place_of_the_first() -> None:
    start = [i % 8 for i in range(START_TOKENS)]
    documents = surveyed([7, END, *start, 1, END, *start, 2, END, 3, END, *start]).documents
    assert documents is not None
    assert (documents.compared, documents.repeated) == (5, 2)
    assert documents.most_repeated == [Repeated(3, 2)]


def test_a_short_document_is_not_taken_for_the_beginning_of_a_longer_one() -> None:
    documents = surveyed([1, 2, END, 1, 2, 3, END, 1, 2]).documents
    assert documents is not None and documents.most_repeated == [Repeated(2, 0)]


def test_ids_outside_the_vocabulary_are_counted_and_the_first_is_placed() -> None:
    figures = surveyed([1, 2], [3, 2_000_000, 10, 4_000_000_000])
    assert (figures.largest_id, figures.outside, figures.first_outside) == (4_000_000_000, 3, 3)
    assert figures.distinct == 4  # those above a million are not counted one by one
    assert surveyed([11], vocab_size=None).outside == 0


def test_the_most_frequent_tokens_come_first() -> None:
    figures = surveyed([5, 5, 5, 2, 2, 7])
    assert figures.frequent == [(5, 3), (2, 2), (7, 1)]


def test_without_an_end_of_text_there_are_no_documents() -> None:
    assert surveyed([1, 2], end=None).documents is None
    assert surveyed([END, END]).documents is None


@settings(max_examples=150, deadline=None)
@given(
    ids=st.lists(st.sampled_from([1, 2, END]) | st.integers(0, 12), min_size=1, max_size=200),
    block=st.integers(1, 64), cut=st.integers(1, 199),
)  # fmt: skip
def test_any_stream_in_any_blocks_gives_the_figures_of_a_plain_count(ids: list[int], block: int, cut: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BLOCK", block)
        parts = [ids[:cut], ids[cut:]] if cut < len(ids) else [ids]
        figures = surveyed(*parts)
    stretches = split_at_ends(ids)
    lengths = [len(tokens) for _, tokens in stretches if tokens]
    assert (figures.tokens, figures.largest_id) == (len(ids), max(ids))
    assert figures.outside == sum(token >= 10 for token in ids)
    assert dict(figures.frequent) == dict(sorted(Counter(ids).items(), key=lambda item: (-item[1], item[0]))[:10])
    if not lengths:
        assert figures.documents is None
        return
    documents = figures.documents
    assert documents is not None
    assert (documents.count, documents.shortest, documents.longest) == (len(lengths), min(lengths), max(lengths))
    assert documents.empty == sum(not tokens for start, tokens in stretches if start)
    assert documents.median == median_low(lengths) and documents.mean == pytest.approx(sum(lengths) / len(lengths))
    assert dict(item for item in documents.histogram if item[1]) == Counter(2 ** (n.bit_length() - 1) for n in lengths)
    begins = Counter(tuple(tokens[:START_TOKENS]) for _, tokens in stretches if tokens)
    assert documents.compared == len(lengths)
    assert documents.repeated == sum(times - 1 for times in begins.values())
    assert [each.documents for each in documents.most_repeated] == sorted(
        (times for times in begins.values() if times > 1), reverse=True
    )[:3]


def test_only_so_many_beginnings_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_COMPARED", 3)
    monkeypatch.setattr(module, "_BLOCK", 4)
    documents = surveyed([1, END] * 20).documents
    assert documents is not None
    assert (documents.count, documents.compared, documents.repeated) == (20, 3, 2)


def test_a_long_document_is_in_the_last_class(tmp_path: Path) -> None:
    documents = surveyed([1] * 70_000 + [END, 1, END]).documents
    assert documents is not None
    assert documents.longest == 70_000 and documents.histogram[-1] == (65_536, 1) and len(documents.histogram) == 17


def test_snippets_begin_with_documents(tmp_path: Path) -> None:
    tokens = opened(tmp_path, [1, 2, 3, END, 4, 5], [6, 7, END, 8])
    assert snippet_starts(tokens, END, 3, 1) == [0, 4, 9]
    assert snippet_starts(tokens, None, 2, 5) == [0, 5]
    assert snippet_starts(tokens, None, 2, 6) == [0]
    assert read(tokens, 4, 3) == [4, 5, 6] and read(tokens, 9, 99) == [8]


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path: Path) -> None:
    tokens = opened(tmp_path, [1, 2, 3, END])
    with (tmp_path / "0.bin").open("r+b") as file:
        file.truncate(1030)
    with pytest.raises(DataError, match=r"0\.bin: the file has become shorter"):
        survey(tokens, vocab_size=10, end_of_text=END)
