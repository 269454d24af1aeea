"""Cannot resume; and vocabulary and data that do not go together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stories import evidence, played, profile

from cockpit.doctor import dataset, resuming, vocabulary
from cockpit.doctor.diagnosis import Diagnosis
from cockpit.doctor.evidence import DataFacts, Host, Saved
from gpt.config import Profile

GPT2 = profile("fineweb_124m")
SHAPE = {
    "n_layer": 12, "n_head": 12, "n_embd": 768, "block_size": 1024, "bias": False, "positions": "learned",
    "norm": "layernorm", "activation": "gelu", "qk_norm": False, "n_kv_head": 12, "tie_weights": True,
    "logit_softcap": None, "vocab_size": 50304,
}  # fmt: skip
"""As state.json has it."""


def held(settings: Profile, finished: bool = False, optimizer: str = "adamw", **shape: Any) -> list[Diagnosis]:
    saved = Saved("amber-heron", 4000, {**SHAPE, **shape}, optimizer, finished)
    return list(resuming.find(evidence(settings, saved=saved)))


def test_another_width_cannot_be_resumed() -> None:
    (one,) = held(GPT2, n_embd=384, n_head=6, n_kv_head=6)
    assert one.title == "cannot go on with amber-heron at step 4,000: its shape changed"
    assert "model.n_embd 384 there, 768 here" in one.why and one.severity == "warning"
    assert "start again from step 0" in one.advice and 'fork with init_from = "gpt2" and bias = true' in one.advice
    assert one.treatment is not None and one.treatment.changes == {"model.n_head": 6, "model.n_embd": 384}


def test_a_shorter_context_could_begin_from_its_weights() -> None:
    (one,) = held(profile("fineweb_124m", model__block_size=512))
    assert "gpt-cockpit export amber-heron --to hf --out FOLDER" in one.advice
    (longer,) = held(profile("fineweb_124m", model__block_size=2048))
    assert "fork" not in longer.advice


def test_of_a_run_that_has_ended_it_is_a_note() -> None:
    assert held(profile("fineweb_124m", model__n_layer=6), finished=True)[0].severity == "note"


def test_another_optimizer_cannot_go_on_with_its_moments() -> None:
    (one,) = held(profile("fineweb_124m", optim__name="muon"))
    assert one.title.endswith("the optimizer changed") and one.evidence["optim.name there"] == "adamw"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optim__learning_rate": 3e-4, "train__max_steps": 30_000},
        {"model__dropout": 0.1},
        {"model__vocab_size": None},  # as the tokenizer has it
    ],
)
def test_the_same_shape_goes_on_whatever_else_changed(changes: dict[str, Any]) -> None:
    assert not held(profile("fineweb_124m", **changes))


def test_what_the_file_says_now_counts_not_what_the_run_has() -> None:
    saved = Saved("amber-heron", 4000, SHAPE)
    edited = profile("fineweb_124m", model__n_embd=384)
    assert list(resuming.find(evidence(GPT2, saved=saved, asked=edited)))
    assert not list(resuming.find(evidence(GPT2, saved=saved)))


H200 = Host(card="NVIDIA H200")


def padding(rows: int | None, host: Host = H200, **changes: Any) -> list[Diagnosis]:
    settings = profile("fineweb_124m", model__vocab_size=rows, **changes)
    return list(vocabulary.find_padding(evidence(settings, vocab_size=50257, host=host)))


def test_an_odd_vocabulary_is_slow_on_cuda() -> None:
    (one,) = padding(None)
    assert one.title == "50,257 rows of vocabulary, no multiple of 64" and one.severity == "warning"
    assert one.treatment is not None and one.treatment.changes == {"model.vocab_size": 50304}


def test_a_padded_or_small_vocabulary_another_device_and_trained_weights_are_fine() -> None:
    assert not padding(50304) and not padding(50304 + 64)
    assert not padding(None, host=Host()) and not padding(None, train__device="cpu")
    assert not padding(None, model__init_from="gpt2", model__bias=True)
    char = profile("shakespeare_char", train__device="cuda")
    assert not list(vocabulary.find_padding(evidence(char, vocab_size=65)))


def test_in_a_run_that_goes_on_padding_is_a_note_for_the_next() -> None:
    settings = profile("fineweb_124m", model__vocab_size=None)
    (one,) = vocabulary.find_padding(evidence(settings, played(settings, steps=10, rows=50257)))
    assert one.severity == "note"


def tokens(settings: Profile = GPT2, vocab_size: int | None = None, **facts: Any) -> list[Diagnosis]:
    usual = DataFacts(**{
        "tokenizer": "gpt2", "tokenizer_vocab": 50257, "largest_id": 50256, "ids_looked_at": 1_000_000, **facts
    })  # fmt: skip
    return list(vocabulary.find_tokenizer(evidence(settings, data=usual, vocab_size=vocab_size or 50304)))


def test_bytes_are_not_gpt2s_tokens() -> None:
    (one,) = tokens(largest_id=122)
    assert one.title == "no id above 122, but the tokenizer is gpt2" and one.severity == "critical"
    assert not tokens(largest_id=122, ids_looked_at=500)  # too few to say


def test_ids_that_the_tokenizer_has_not_were_made_by_another() -> None:
    assert tokens(largest_id=50300)[0].title == "the data holds id 50,300, gpt2 has 50,257"
    assert not tokens() and not tokens(largest_id=50256)


def test_rows_for_tokens_that_there_are_none_of() -> None:
    (one,) = tokens(tokenizer="char", tokenizer_vocab=65, largest_id=64)
    assert one.title == "50,304 rows of vocabulary for 65 tokens" and one.severity == "warning"
    assert one.treatment is not None and one.treatment.changes == {"model.vocab_size": 128}
    small = profile("shakespeare_char", model__vocab_size=128)
    assert not tokens(small, tokenizer="char", tokenizer_vocab=65, largest_id=64)


def test_data_that_a_run_would_refuse_is_told_before_it() -> None:
    (one,) = tokens(complaint="data.tokenizer is gpt2, but data was prepared with byte; leave it out")
    assert one.severity == "critical" and "prepared with byte" in one.why


def same(**facts: Any) -> list[Diagnosis]:
    return list(vocabulary.find_same_data(evidence(GPT2, data=DataFacts(windows=256, window=64, **facts))))


def test_validation_that_stands_in_training_is_told() -> None:
    assert same(same_files=("train-000.bin = val-000.bin",))[0].severity == "critical"
    assert same(shared=0.8)[0].severity == "critical"
    assert same(shared=0.16)[0].title == "16 % of validation stands in training too"
    assert not same() and not same(shared=0.05)  # duplicates that nobody meant


def folder(path: Path, train: np.ndarray, val: np.ndarray) -> Profile:
    for name, array in (("train", train), ("val", val)):
        array.astype("<u2").tofile(path / f"{name}.bin")
    return profile("fineweb_124m", data__dir=str(path), data__tokenizer="gpt2")


def test_a_copied_validation_split_is_found_in_the_files(tmp_path: Path) -> None:
    train = np.random.default_rng(0).integers(0, 50000, 300_000)
    facts = dataset.look(folder(tmp_path, train, train[100_003:150_003]))
    assert facts is not None and facts.shared == 1.0 and facts.windows > 200
    assert facts.largest_id is not None and 49_000 < facts.largest_id < 50_000


def test_splits_of_one_text_share_nothing_and_blank_lines_do_not_count(tmp_path: Path) -> None:
    text = np.random.default_rng(0).integers(0, 50000, 300_000)
    blank = np.full(5000, 198)
    facts = dataset.look(folder(tmp_path, np.r_[text[:250_000], blank], np.r_[text[250_000:], blank]))
    assert facts is not None and facts.shared == 0.0


def test_a_small_part_of_a_large_split_is_found_from_the_other_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "SCANNED", 2**14)
    monkeypatch.setattr(dataset, "_PIECE", 2**12)
    train = np.random.default_rng(0).integers(0, 50000, 2_000_000).astype(np.uint16)
    assert dataset.shared_share(train, train[900_000:1_200_000])[0] == pytest.approx(1.0, abs=0.3)
    other = np.random.default_rng(1).integers(0, 50000, 300_000).astype(np.uint16)
    assert dataset.shared_share(train, other)[0] == 0.0


def test_a_text_file_given_twice_validates_on_what_it_trains_on(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    text = " ".join("".join(chr(97 + int(letter)) for letter in dice.integers(0, 26, 7)) for _ in range(5000))
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(text)
    one = profile("shakespeare_char", data__input=str(tmp_path / "a.txt"))
    both = profile("shakespeare_char", data__input=[str(tmp_path / "a.txt"), str(tmp_path / "b.txt")])
    once, twice = dataset.look(one), dataset.look(both)
    assert once is not None and once.shared == 0.0 and once.tokenizer_vocab == 27
    assert twice is not None and twice.shared == 1.0


def test_a_text_in_another_encoding_is_told_and_a_stray_byte_is_not(tmp_path: Path) -> None:
    words = "où l'été fut épris de sa forêt, U+FFFD itself is \ufffd\n" * 400

    def told(content: bytes) -> list[Diagnosis]:
        (tmp_path / "text").write_bytes(content)
        settings = profile("shakespeare_char", data__input=str(tmp_path / "text"))
        return list(vocabulary.find_encoding(evidence(settings, data=dataset.look(settings))))

    assert not told(words.encode()) and not told(words.encode() + b"\xe9")
    (one,) = told(words.replace("\ufffd", "").encode("latin-1"))
    assert one.title == "2,000 characters of the text are no UTF-8" and "iconv" in one.advice


def test_data_that_is_not_here_says_nothing() -> None:
    assert dataset.look(GPT2) is None
