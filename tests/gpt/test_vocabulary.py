"""Vocabularies of one's own: learned from text, read by tiktoken too, and whole in every checkpoint."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiktoken
import tiktoken.load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt.config import DataConfig, ModelConfig, Profile, decode
from gpt.data import check_source, open_dataset
from gpt.errors import DataError, ProfileError
from gpt.events import Event, Failed, Resumed
from gpt.hub import open_source
from gpt.pair_training import train_vocabulary
from gpt.prepare import encode_in_pieces, prepare
from gpt.sources import texts
from gpt.tokenizer import BpeTokenizer, StreamDecoder, load_tokenizer, tokenizer_from_dict
from gpt.vocabulary import GPT2_PATTERN, Vocabulary, read_vocabulary, vocabulary_from_dict, write_vocabulary

TEXT = "the cat sat on the mat, the rat didn't; naïve 木木 😀\n\n  the 123 cats\r\n" * 20
BYTES = [bytes((byte,)) for byte in range(256)]
LEARNED = train_vocabulary([TEXT], 290)
TOKENIZER = BpeTokenizer(LEARNED)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "own.tiktoken"
    write_vocabulary(path, LEARNED)
    return path


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# -- learning -----------------------------------------------------------------------------------------------------


def test_a_vocabulary_has_the_size_asked_for_with_the_end_of_text_above_the_ranks() -> None:
    assert LEARNED.size == 290
    assert LEARNED.special == {"<|endoftext|>": 289}
    assert LEARNED.tokens[:256] == BYTES
    assert b" the" in LEARNED.tokens


def test_the_most_frequent_pair_has_the_lowest_rank_and_pairs_stay_within_words() -> None:
    vocabulary = train_vocabulary(["ab ab ab xy xy"], 260)
    assert vocabulary.tokens[256] == b"ab"
    assert not any(b" " in token[1:] for token in LEARNED.tokens[256:] if token.strip())


def test_little_text_gives_a_smaller_vocabulary_instead_of_made_up_tokens() -> None:
    vocabulary = train_vocabulary(["abc"], 1000)
    assert (list(vocabulary.tokens), vocabulary.special) == (BYTES, {"<|endoftext|>": 256})


def test_learning_twice_gives_the_same_tokens() -> None:
    assert train_vocabulary([TEXT], 290) == LEARNED


@pytest.mark.parametrize("size", [-1, 257, 1_000_001])
def test_a_size_that_cannot_be_is_refused(size: int) -> None:
    with pytest.raises(DataError, match=r"258 to 1,000,000 ids"):
        train_vocabulary([TEXT], size)


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError, match=r"pip install 'gpt-cockpit\[tokenizer\]'"):
        train_vocabulary([TEXT], 300)


def test_the_texts_of_files_are_read_piece_by_piece_and_no_further_than_asked(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("0123456789\n" * 20_000)
    (tmp_path / "b").write_bytes(b"\xff end")
    source = open_source([str(tmp_path / "a"), str(tmp_path / "b")], tmp_path)
    parts = list(texts(source))
    assert len(parts) > 2
    assert "".join(parts) == "0123456789\n" * 20_000 + "\ufffd end"
    assert list(texts(source, len(parts[0]))) == parts[:1]
    assert list(texts(source, len(parts[0]) + 1)) == parts[:2]


def test_a_file_that_cannot_be_read_is_named_through_the_trainer(tmp_path: Path) -> None:
    (tmp_path / "gone").write_text("text")
    source = open_source([str(tmp_path / "gone")], tmp_path)
    (tmp_path / "gone").unlink()
    with pytest.raises(DataError, match=r"gone: cannot be read"):
        train_vocabulary(texts(source), 300)


# -- encoding -----------------------------------------------------------------------------------------------------


@given(text=st.text())
def test_any_text_comes_back_as_it_was(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert ids.dtype == np.uint16
    assert not len(ids) or ids.max() < 289  # an end of text is never made of text
    assert TOKENIZER.decode(ids) == text
    assert TOKENIZER.byte_lengths()[ids].sum() == len(text.encode())
    decoder = StreamDecoder(TOKENIZER)
    assert "".join(decoder.feed(int(token)) for token in ids) + decoder.flush() == text


@settings(max_examples=30, deadline=None)
@given(learned_from=st.text(min_size=1, max_size=200), text=st.text())
def test_whatever_it_was_learned_from_any_text_comes_back(learned_from: str, text: str) -> None:
    tokenizer = BpeTokenizer(train_vocabulary([learned_from, learned_from], 400))
    for each in (learned_from, text):
        assert tokenizer.decode(tokenizer.encode(each)) == each


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text() | st.text("the cats 木\n"))
def test_tiktokens_own_loader_gives_the_same_ids(file: Path, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", "")
        ranks = tiktoken.load.load_tiktoken_bpe(str(file))
    theirs = tiktoken.Encoding("theirs", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={})
    assert load_tokenizer(str(file)).encode(text).tolist() == theirs.encode_ordinary(text)


@given(text=st.text() | st.text(" \n\t\r\u00a0a1,'", max_size=30))
def test_the_pattern_splits_like_the_one_that_gpt2_was_published_with(text: str) -> None:
    published = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
    theirs = Vocabulary(LEARNED.tokens, pattern=published, special=LEARNED.special).encoding()
    assert TOKENIZER.encode(text).tolist() == theirs.encode_ordinary(text)


def test_pieces_side_by_side_give_the_same_ids_as_the_whole() -> None:
    assert np.array_equal(encode_in_pieces(TEXT, TOKENIZER, lambda size: None, 50), TOKENIZER.encode(TEXT))
    across_words = BpeTokenizer(Vocabulary([*BYTES, b" c", b"e c"], pattern="(?s).+"))  # not to be cut anywhere
    ids = encode_in_pieces("e c e c e c", across_words, lambda size: None, 2)
    assert ids.tolist() == across_words.encode("e c e c e c").tolist() == [257, 32, 257, 32, 257]


def test_a_vocabulary_above_65536_has_ids_of_32_bits() -> None:
    pairs = [bytes((a, b)) for a in range(256) for b in range(256)]
    tokenizer = BpeTokenizer(Vocabulary([*BYTES, *pairs], special={"<|endoftext|>": 70_000}))
    ids = tokenizer.encode("\x7f\x7e~~")
    assert ids.dtype == np.uint32
    assert tokenizer.encode_batch(["a"], 1)[0].dtype == np.uint32
    assert (tokenizer.vocab_size, tokenizer.end_of_text) == (70_001, 70_000)
    assert tokenizer.decode([69_999, 70_000]) == "\ufffd<|endoftext|>"  # between ranks and special ids is nothing
    assert not tokenizer.byte_lengths()[65_792:].any()


# -- files --------------------------------------------------------------------------------------------------------


def test_a_written_vocabulary_is_read_back(file: Path) -> None:
    assert read_vocabulary(file).to_dict() == LEARNED.to_dict()
    assert oct(file.stat().st_mode)[-3:] == "644"
    assert {path.name for path in file.parent.iterdir()} == {"own.tiktoken", "own.tiktoken.json"}


def test_a_file_from_elsewhere_needs_its_pattern_beside_it(file: Path) -> None:
    beside = file.with_name("own.tiktoken.json")
    beside.write_text(json.dumps({"pattern": r"\w+|\W", "special_tokens": {}}))
    tokenizer = load_tokenizer(str(file))
    assert (tokenizer.vocab_size, tokenizer.end_of_text) == (289, None)
    beside.unlink()
    with pytest.raises(DataError, match=r"own\.tiktoken\.json: cannot be read .*\"pattern\": REGEX"):
        load_tokenizer(str(file))


@pytest.mark.parametrize(
    ("described", "complaint"),
    [
        ("[]", "not a JSON object"),
        ("{", "not a JSON object"),
        ('{"special_tokens": {}}', "its pattern is missing"),
        ('{"pattern": "(", "special_tokens": {}}', "not a regular expression"),
        (r'{"pattern": "\\w+|\\S", "special_tokens": {}}', "does not match every character"),
        ('{"pattern": ".", "special_tokens": {"<|endoftext|>": 7}}', "ids of special tokens"),
        ('{"pattern": ".", "special_tokens": {"a": 300, "b": 300}}', "ids of special tokens"),
        ('{"pattern": ".", "special_tokens": {"a": true}}', "names with ids"),
        ('{"pattern": ".", "special_tokens": {}, "sha256": "0"}', "its hash differs"),
        ('{"format": 2, "pattern": ".", "special_tokens": {}}', "format 2, only 1 is known"),
    ],
)
def test_what_is_wrong_beside_it_is_said(file: Path, described: str, complaint: str) -> None:
    file.with_name("own.tiktoken.json").write_text(described)
    with pytest.raises(DataError, match=f"own.tiktoken.*{complaint}"):
        load_tokenizer(str(file))


def test_a_byte_or_a_rank_that_is_missing_is_named(file: Path) -> None:
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join(lines[:100] + lines[101:]))
    with pytest.raises(DataError, match="line 101 is not a token in base64, a space and its rank 100"):
        read_vocabulary(file)
    renumbered = [b"%s %d" % (line.split()[0], n) for n, line in enumerate(lines[:100] + lines[101:])]
    file.write_bytes(b"\n".join(renumbered))
    with pytest.raises(DataError, match="the byte 100 is not among its tokens"):
        read_vocabulary(file)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_damaged_file_gives_the_typed_error_or_a_tokenizer_that_works(file: Path, data: st.DataObject) -> None:
    write_vocabulary(file, LEARNED)
    for path in (file, file.with_name("own.tiktoken.json")):
        content = bytearray(path.read_bytes())
        kind = data.draw(st.sampled_from(["whole", "cut", "flip", "other"]))
        if kind == "cut":
            del content[data.draw(st.integers(0, len(content))) :]
        elif kind == "flip":
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        elif kind == "other":
            content = bytearray(data.draw(st.binary(max_size=60)))
        path.write_bytes(content)
    try:
        tokenizer = load_tokenizer(str(file))
        tokenizer.decode(tokenizer.encode("any text"))
    except DataError as error:
        assert "own.tiktoken" in str(error) and "\n" not in str(error)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gpt-cockpit data tokenizer TEXT --vocab-size N --out gone\.tiktoken"):
        load_tokenizer(str(tmp_path / "gone.tiktoken"))


def test_a_name_that_is_no_tokenizers_is_not_taken_for_gpt2() -> None:
    with pytest.raises(DataError, match=r"the tokenizer must be byte, .* got 'gtp2'"):
        load_tokenizer("gtp2")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"own\.tiktoken: cannot be written"):
        write_vocabulary(tmp_path / "file" / "own.tiktoken", LEARNED)


# -- in profiles and checkpoints ----------------------------------------------------------------------------------


def test_a_checkpoint_holds_the_vocabulary_itself() -> None:
    again = tokenizer_from_dict(json.loads(json.dumps(TOKENIZER.to_dict())))
    assert again.to_dict() == TOKENIZER.to_dict()
    assert np.array_equal(again.encode(TEXT), TOKENIZER.encode(TEXT))
    assert (again.vocab_size, again.end_of_text) == (290, 289)


def test_values_whose_tokens_were_changed_are_refused() -> None:
    values = LEARNED.to_dict()
    values["tokens"] = " ".join([*values["tokens"].split()[:-1], base64.b64encode(b"other").decode()])
    with pytest.raises(DataError, match="not those that its hash was made of"):
        vocabulary_from_dict(values)


def test_a_profile_names_a_vocabulary_by_its_path(file: Path, text_file: Path) -> None:
    data, model = DataConfig(input=str(text_file), tokenizer=str(file)), ModelConfig(block_size=16)
    check_source(data, model)
    dataset = open_dataset(data, model)
    assert dataset.tokenizer.to_dict() == TOKENIZER.to_dict()
    text = text_file.read_text()
    assert TOKENIZER.decode(dataset.train.first(20)) == text[: len(TOKENIZER.decode(dataset.train.first(20)))]
    again = prepare(data)  # from the cache
    assert np.array_equal(again.train, dataset.train.first(10**9))
    with pytest.raises(DataError, match=r"vocab_size 289 is smaller than the bpe tokenizer's 290"):
        check_source(data, ModelConfig(block_size=16, vocab_size=289))


def test_prepared_tokens_can_be_of_a_vocabulary_of_ones_own(file: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / f"{split}.bin").write_bytes(TOKENIZER.encode(TEXT).tobytes())
    dataset = open_dataset(DataConfig(dir=str(tmp_path), tokenizer=str(file)), ModelConfig(block_size=16))
    assert dataset.val_bytes_per_token == pytest.approx(len(TEXT.encode()) / len(TOKENIZER.encode(TEXT)))


def test_another_vocabulary_does_not_take_the_cached_tokens_of_the_first(file: Path, text_file: Path) -> None:
    data = DataConfig(input=str(text_file), tokenizer=str(file))
    before = prepare(data)
    write_vocabulary(file, train_vocabulary([text_file.read_text()], 280))
    assert len(prepare(data).train) != len(before.train)


@pytest.mark.parametrize("name", ["gtp2", "own.model", ""])
def test_a_tokenizer_that_nobody_knows_is_a_mistake_in_the_profile(name: str) -> None:
    with pytest.raises(ProfileError, match=r"data\.tokenizer must be byte, char, gpt2, or a file that ends in"):
        decode({"data": {"name": "python-stdlib", "tokenizer": name}})


def test_a_resume_is_exact_with_the_same_vocabulary_and_refused_with_another(
    file: Path, tiny: Callable[..., Profile], run: Callable[..., list[Event]]
) -> None:
    run(tiny(data__tokenizer=str(file), train__max_steps=5))
    moved = file.rename(file.with_name("moved.tiktoken"))
    file.with_name("own.tiktoken.json").rename(file.with_name("moved.tiktoken.json"))
    profile = tiny(data__tokenizer=str(moved), train__max_steps=5)
    resumed = next(event for event in run(profile, resume="step-00000004") if isinstance(event, Resumed))
    assert resumed.exact, resumed.why
    write_vocabulary(moved, train_vocabulary([TEXT + "other " * 99], 290))
    failed = next(event for event in run(profile, resume="step-00000004") if isinstance(event, Failed))
    assert failed.user_error and "trained with other symbols" in failed.error


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst"])
def test_documents_have_to_be_prepared_first(tmp_path: Path, name: str) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / name).write_bytes(b"PAR1\0")
    for source in (tmp_path / "docs" / name, tmp_path / "docs"):
        with pytest.raises(DataError, match=rf"holds documents.* run: gpt-cockpit data prepare {source} --out DIR"):
            check_source(DataConfig(input=str(source)), ModelConfig(block_size=16))
