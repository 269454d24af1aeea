"""A stop string is found however the text is cut up, and nothing of it gets out."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt.stopping import StopFinder
from gpt.tokenizer import ByteTokenizer, CharTokenizer, StreamDecoder, Tokenizer


@settings(max_examples=300, deadline=None)
@given(text=st.text("abé\n", max_size=30), stop=st.text("abé\n", max_size=4), cuts=st.lists(st.integers(0, 30)))
def test_all_cuts_give_the_text_before_the_stop(text: str, stop: str, cuts: list[int]) -> None:
    finder, out = StopFinder(stop), ""
    edges = [0, *sorted(cut for cut in cuts if cut <= len(text)), len(text)]
    before = text.split(stop)[0] if stop else text
    for start, end in itertools.pairwise(edges):
        out += finder.feed(text[start:end])
        assert before.startswith(out), "something got out that is not of the text"
    assert finder.found == bool(stop and stop in text)
    assert out + finder.flush() == before


def test_what_cannot_be_the_stop_any_more_gets_out_at_once() -> None:
    finder = StopFinder("abac")
    assert [finder.feed(char) for char in "xabab"] == ["x", "", "", "", "ab"]
    assert finder.feed("ac") == "" and finder.found
    assert finder.feed("more") == "" and finder.flush() == ""


@pytest.mark.parametrize("stop", ["é→", "→", "\n\n", "end→é"])
@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), CharTokenizer("\ndeén→ ")], ids=["byte", "char"])
def test_a_stop_is_found_across_tokens_and_bytes(tokenizer: Tokenizer, stop: str) -> None:
    text = "ne é end"
    decoder, finder, out = StreamDecoder(tokenizer), StopFinder(stop), ""
    for token in tokenizer.encode(f"{text}{stop} dne"):
        out += finder.feed(decoder.feed(int(token)))
        assert text.startswith(out)
    assert finder.found and out == text
