"""Models from anywhere, and how well they predict: against the trainer's figures and transformers' own."""

from __future__ import annotations

import json
import math
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from piloted_runs import Run, Tiny

from gpt import checkpoint
from gpt import events as ev
from gpt.byte_letters import LETTERS, spelled
from gpt.config import ModelConfig
from gpt.device import Device
from gpt.errors import CheckpointError, DataError, DeviceError
from gpt.interop.hftokenizer import HuggingFaceTokenizer, tokenizer_of
from gpt.model import GPT
from gpt.scoring import Corpus, own_validation, prepared, raw_text, score
from gpt.source import Source, load
from gpt.suites import huggingface_folder, run_suites
from gpt.tokenizer import ByteTokenizer, CharTokenizer, Gpt2Tokenizer, Tokenizer
from gpt.tokens import Tokens

CPU = Device(torch.device("cpu"), "cpu", "float32", False, "", None, None)
TEXT = "zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich\n" * 5


def made(tokenizer: Tokenizer, name: str = "made", block_size: int = 16, vocab_size: int | None = None) -> Source:
    """A model of random weights that reads by a tokenizer."""
    torch.manual_seed(1)
    model = GPT(
        ModelConfig(n_layer=1, n_head=2, n_embd=16, block_size=block_size), vocab_size or tokenizer.vocab_size
    ).eval()
    return Source(name, model, tokenizer, CPU, None, None, None)


# -- a run's checkpoint ------------------------------------------------------------------------------------------------


def test_the_loss_is_the_trainers_own_of_the_whole_split(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    events = run(tiny(train__eval_steps=0))
    whole = {event.step: event for event in events if isinstance(event, ev.EvalDone)}
    for step in (4, 12):
        source = load(str(tmp_path / "run" / "checkpoints" / checkpoint.folder_name(step)))
        corpus, is_unchanged = own_validation(source)
        assert is_unchanged and source.step == step
        got = score(source, corpus)
        assert got.loss == pytest.approx(whole[step].val_loss, abs=1e-6)
        assert got.loss_stderr == pytest.approx(whole[step].val_stderr, abs=1e-6)
        assert got.bpb == pytest.approx(whole[step].bpb, abs=1e-6)
        assert got.tokens == whole[step].val_tokens


def test_changed_data_is_noticed(tiny: Tiny, run: Run, tmp_path: Path, text_file: Path) -> None:
    run(tiny(train__max_steps=1))
    text_file.write_text(text_file.read_text() + "1 + 1 = 3\n")
    source = load(str(tmp_path / "run" / "checkpoints" / "step-00000001"))
    assert own_validation(source)[1] is False


def test_a_run_trained_on_another_machine_is_loaded_on_what_is_here(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    run(tiny(train__max_steps=1))
    folder = tmp_path / "run" / "checkpoints" / "step-00000001"
    state = checkpoint.verify(folder)
    state["profile"]["train"] |= {"device": "cuda:77", "dtype": "float16"}
    assert load(str(folder), state=state).profile
    assert load(str(folder), state=state, device="cpu").device.type == "cpu", "where no float16 is"
    with pytest.raises(DeviceError, match="cuda:88"):
        load(str(folder), state=state, device="cuda:88")
    with pytest.raises(DeviceError, match="int3"):
        load(str(folder), state=state, dtype="int3")


def test_settings_that_nobody_can_read_are_one_line(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    run(tiny(train__max_steps=1))
    folder = tmp_path / "run" / "checkpoints" / "step-00000001"
    with pytest.raises(CheckpointError, match="not readable"):
        load(str(folder), state=checkpoint.verify(folder) | {"profile": {"model": {"n_layer": "many"}}})


# -- figures -----------------------------------------------------------------------------------------------------------


def test_of_bytes_bits_per_byte_are_the_loss_over_ln_2() -> None:
    got = score(made(ByteTokenizer()), Corpus("text", texts=[TEXT]))
    assert got.loss and got.bpb and got.loss_stderr and got.bpb_stderr and got.perplexity and got.perplexity_stderr
    assert got.bpb == pytest.approx(got.loss / math.log(2), rel=1e-12)
    assert got.bpb_stderr == pytest.approx(got.loss_stderr / math.log(2), rel=1e-12)
    assert got.perplexity == pytest.approx(math.exp(got.loss))
    assert got.perplexity_stderr == pytest.approx(math.exp(got.loss) * got.loss_stderr)
    assert got.tokens == got.bytes == len(TEXT.encode()) - 1


def test_of_characters_bits_per_byte_count_the_text_in_utf_8() -> None:
    got = score(made(CharTokenizer.of_text(TEXT)), Corpus("text", texts=[TEXT]))
    assert got.tokens == len(TEXT) - 1
    assert got.bytes == len(TEXT.encode()) - 1
    assert got.loss and got.bpb == pytest.approx(got.loss * got.tokens / math.log(2) / got.bytes, rel=1e-12)


def test_kept_tokens_are_read_as_text_by_a_model_with_another_tokenizer() -> None:
    kept = Corpus("kept", tokens=Tokens(ByteTokenizer().encode(TEXT), vocab_size=256, name="kept"),
                  tokenizer=ByteTokenizer())  # fmt: skip
    for tokenizer in (CharTokenizer.of_text(TEXT), Gpt2Tokenizer()):
        theirs = kept.tokens_for(made(tokenizer))
        assert tokenizer.decode(theirs.first(len(theirs))) == TEXT
    assert kept.tokens_for(made(ByteTokenizer())) is kept.tokens


def test_documents_are_parted_by_the_end_of_a_text_where_there_is_one() -> None:
    gpt2 = Gpt2Tokenizer()
    ids = np.concatenate([gpt2.encode("one two"), [gpt2.end_of_text], gpt2.encode("three"), [gpt2.end_of_text]])
    kept = Corpus("kept", tokens=Tokens(ids.astype(np.uint16), vocab_size=50257, name="kept"), tokenizer=gpt2)
    assert kept.documents == ["one two", "three"]
    bytes_ = kept.tokens_for(made(ByteTokenizer()))
    assert bytes(bytes_.first(len(bytes_)).tolist()) == b"one twothree", "not one byte more than the other's text"
    again = Corpus("text", texts=kept.documents).tokens_for(made(gpt2))
    assert again.first(len(again)).tolist() == ids[:-1].tolist()


def test_a_text_shorter_than_the_context_is_measured_in_a_shorter_one() -> None:
    got = score(made(ByteTokenizer(), block_size=64), Corpus("short", texts=["nine left"]))
    assert (got.tokens, got.block_size, got.loss_stderr) == (8, 8, None)


@pytest.mark.parametrize("text", ["", "x"])
def test_a_text_without_anything_to_predict_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="at least 2"):
        score(made(ByteTokenizer()), Corpus("empty", texts=[text]))


def test_characters_that_a_model_does_not_know_are_not_left_out() -> None:
    with pytest.raises(DataError, match="letters cannot read text: character 'z'"):
        score(made(CharTokenizer("abc"), "letters"), Corpus("text", texts=["abcz"]))


def test_a_batch_too_large_for_this_machine_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    before = score(made(ByteTokenizer()), Corpus("text", texts=[TEXT]))
    monkeypatch.setattr("gpt.scoring._MOST_LOGITS_ELSEWHERE", 2 * 16 * 256)
    shares: list[float] = []
    after = score(made(ByteTokenizer()), Corpus("text", texts=[TEXT]), shares.append)
    assert after.loss == pytest.approx(before.loss, abs=1e-6) and after.tokens == before.tokens
    assert len(shares) == math.ceil(before.tokens / 16 / 2) and shares[-1] == 1 and shares == sorted(shares)


def test_a_prepared_folder_is_measured_on_its_validation_split(tmp_path: Path) -> None:
    for split, text in (("train", "seen before"), ("val", "not seen")):
        Gpt2Tokenizer().encode(text).astype("<u2").tofile(tmp_path / f"{split}.bin")
    assert prepared(str(tmp_path)).documents == ["not seen"]
    with pytest.raises(DataError, match=r"^no folder nowhere"):
        prepared("nowhere")


def test_text_files_are_documents(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.txt").write_text(name)
    assert raw_text([str(tmp_path / "*.txt")]).documents == ["a", "b"]
    with pytest.raises(DataError, match=r"^no file matches"):
        raw_text([str(tmp_path / "c.txt")])


# -- Hugging Face ------------------------------------------------------------------------------------------------------


@pytest.fixture
def huggingface(tmp_path: Path) -> tuple[Path, Any]:
    """A folder with a random GPT-2 of GPT-2's vocabulary, and the model as transformers has it."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(n_layer=2, n_head=2, n_embd=16, n_positions=32, vocab_size=50257)
    model = transformers.GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4).add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(tmp_path / "gpt2-random")
    return tmp_path / "gpt2-random", model


def test_a_hugging_face_folders_loss_is_transformers_own(huggingface: tuple[Path, Any]) -> None:
    folder, theirs = huggingface
    text = "The loss of each token, predicted once, with the context it has. " * 6
    source = load(str(folder), device="cpu", dtype="float32")
    assert source.tokenizer.name == "gpt2"
    got = score(source, Corpus("text", texts=[text]))
    ids = torch.from_numpy(Gpt2Tokenizer().encode(text).astype(np.int64))
    total, left = 0.0, len(ids) - 1
    with torch.no_grad():
        for first in range(0, len(ids) - 1, 32):  # windows side by side; the last reaches back for its context
            start = min(first, len(ids) - 1 - 32)
            window = ids[start : start + 33]
            each = torch.nn.functional.cross_entropy(theirs(window[None, :-1]).logits[0], window[1:], reduction="none")
            total += float(each[first - start :].sum())
            left -= 32 - (first - start)
    assert left == 0 and got.tokens == len(ids) - 1
    assert got.loss == pytest.approx(total / got.tokens, abs=1e-5)
    assert got.bytes == len(text.encode()) - len("The")


def own_tokenizer(folder: Path) -> Any:
    """A byte-level tokenizer of its own, saved as tokenizer.json."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.ByteLevelBPETokenizer()
    made.train_from_iterator([TEXT], vocab_size=300, special_tokens=["<|endoftext|>"], show_progress=False)
    folder.mkdir(exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    return made


def test_a_folders_own_tokenizer_is_used(tmp_path: Path) -> None:
    theirs = own_tokenizer(tmp_path)
    ours = HuggingFaceTokenizer(tmp_path)
    text = TEXT + " <|endoftext|> 日本 🙂\x00"
    ids = ours.encode(text)
    assert ours.decode(ids) == text
    assert ours.encode(TEXT).tolist() == theirs.encode(TEXT).ids
    assert ours.end_of_text == 0 and 0 not in ids, "a special token's name in a text is text"
    lengths = ours.byte_lengths()
    assert lengths[ids].sum() == len(text.encode()) and lengths[0] == 0
    assert ours.to_dict() == HuggingFaceTokenizer(tmp_path).to_dict()


def test_two_tokenizers_of_one_text_compare_by_its_bytes(tmp_path: Path) -> None:
    own_tokenizer(tmp_path)
    corpus = Corpus("text", texts=[TEXT])
    pairs = score(made(HuggingFaceTokenizer(tmp_path), "pairs"), corpus)
    bytes_ = score(made(ByteTokenizer(), "bytes"), corpus)
    assert pairs.tokens < bytes_.tokens and pairs.bytes and bytes_.bytes
    assert abs(pairs.bytes - bytes_.bytes) < 8, "but for the first token they predict the same text"
    assert pairs.tokenizer_sha256 != bytes_.tokenizer_sha256


def test_gpt2s_vocabulary_in_a_folder_is_known_as_gpt2s(huggingface: tuple[Path, Any]) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    folder, _ = huggingface
    gpt2 = Gpt2Tokenizer()
    vocab = {spelled(gpt2.token_bytes(token)): token for token in range(50256)}
    saved = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, []))
    saved.decoder = tokenizers.decoders.ByteLevel()
    saved.add_special_tokens(["<|endoftext|>"])
    saved.save(str(folder / "tokenizer.json"))
    assert isinstance(load(str(folder)).tokenizer, Gpt2Tokenizer)


@pytest.mark.parametrize("ours", [ByteTokenizer(), CharTokenizer("".join(sorted(set(TEXT))))])
def test_a_tokenizer_of_ours_is_known_again_in_a_folder(ours: Tokenizer, tmp_path: Path) -> None:
    """As an export writes them: pairs that are never joined, of bytes or of characters."""
    tokenizers = pytest.importorskip("tokenizers")
    is_byte = isinstance(ours, ByteTokenizer)
    names = [LETTERS[token] if is_byte else ours.decode([token]) for token in range(ours.vocab_size)]
    saved = tokenizers.Tokenizer(tokenizers.models.BPE({name: token for token, name in enumerate(names)}, []))
    saved.decoder = tokenizers.decoders.ByteLevel() if is_byte else tokenizers.decoders.Fuse()
    if is_byte:
        saved.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    saved.save(str(tmp_path / "tokenizer.json"))
    assert tokenizer_of(tmp_path, ours.vocab_size).to_dict() == ours.to_dict()
    with pytest.raises(DataError, match="its model knows"):
        tokenizer_of(tmp_path, ours.vocab_size - 1)


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda kind: kind.update(decoder=None), "not byte-level"),
        (lambda kind: kind.pop("model"), "cannot be read"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_is_named(tmp_path: Path, damage: Callable[[Any], Any], line: str) -> None:
    own_tokenizer(tmp_path)
    kind = json.loads((tmp_path / "tokenizer.json").read_text())
    damage(kind)
    (tmp_path / "tokenizer.json").write_text(json.dumps(kind))
    with pytest.raises(DataError, match=line):
        HuggingFaceTokenizer(tmp_path)


def test_a_small_vocabulary_without_its_tokenizer_is_refused(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=1, n_head=1, n_embd=8, n_positions=8, vocab_size=61)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    with pytest.raises(DataError, match=r"holds no tokenizer\.json"):
        load(str(tmp_path))


# -- lm-evaluation-harness ---------------------------------------------------------------------------------------------


def described(folder: Path, vocab_size: int) -> str:
    """A folder with nothing but a config.json."""
    shape = {"n_layer": 1, "n_head": 1, "n_embd": 8, "n_positions": 8, "vocab_size": vocab_size}
    (folder / "config.json").write_text(json.dumps(shape))
    return str(folder)


def harness(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[dict[str, Any]]:
    """Stands in for the package; keeps what it was asked."""
    asked: list[dict[str, Any]] = []

    def simple_evaluate(**arguments: Any) -> Any:
        asked.append(arguments)
        if isinstance(answer, Exception):
            raise answer
        return {"results": answer}

    module = types.ModuleType("lm_eval")
    module.simple_evaluate = simple_evaluate  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lm_eval", module)
    return asked


def test_a_suite_is_run_on_the_folder_and_its_metrics_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = {"alias": "lambada_openai", "perplexity,none": 40.5, "perplexity_stderr,none": "N/A",
               "acc,none": 0.25, "acc_stderr,none": 0.01}  # fmt: skip
    asked = harness(monkeypatch, {"lambada_openai": results})
    rows = run_suites(described(tmp_path, 50257), "mine", ["lambada"])
    assert asked[0]["model_args"] == {"pretrained": str(tmp_path)} and asked[0]["tasks"] == ["lambada_openai"]
    assert rows == [
        {"source": "mine", "suite": "lambada", "metric": "perplexity", "value": 40.5, "stderr": None},
        {"source": "mine", "suite": "lambada", "metric": "acc", "value": 0.25, "stderr": 0.01},
    ]


def test_an_exported_checkpoint_is_the_same_model_that_reads_by_the_same_tokenizer(
    tiny: Tiny, run: Run, tmp_path: Path
) -> None:
    run(tiny(train__max_steps=1))
    place = str(tmp_path / "run" / "checkpoints" / "step-00000001")
    ours = load(place)
    corpus, _ = own_validation(ours)
    with huggingface_folder(place) as folder:
        theirs = load(str(folder), device="cpu", dtype="float32")
        assert score(theirs, corpus).loss == pytest.approx(score(ours, corpus).loss, abs=1e-6)
        assert theirs.tokenizer.to_dict() == ours.tokenizer.to_dict()
    assert not folder.exists()


def test_a_suite_begins_a_text_after_a_line_end_where_no_text_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokenizer.json").write_text(
        json.dumps({"model": {"type": "BPE", "vocab": {"a": 0, "\n": 1}, "merges": []}})
    )
    asked = harness(monkeypatch, {"wikitext": {}})
    assert run_suites(described(tmp_path, 2), "mine", ["wikitext"]) == []
    assert asked[0]["model_args"]["prefix_token_id"] == 1


def test_a_suite_without_its_package_or_a_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(DataError, match=r"pip install 'gpt-cockpit\[eval\]'"):
        run_suites(described(tmp_path, 50257), "mine", ["wikitext"])
    harness(monkeypatch, ConnectionError("no hub\nand a page of advice"))
    with pytest.raises(DataError, match=r"\(no hub\).*network$"):
        run_suites(str(tmp_path), "mine", ["wikitext"])
