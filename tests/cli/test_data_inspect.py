"""`data inspect` and `data tokenizer`: what they print, how they refuse, and that nothing in a file can do harm."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cockpit import cli, inspected, inspection
from gpt.shards import header
from gpt.tokenizer import ByteTokenizer, load_tokenizer

TEXT = "one two three\n"


def write(path: Path, ids: list[int] | np.ndarray, dtype: str = "<u2", *, raw: bool = False) -> Path:
    array = np.asarray(ids).astype(dtype)
    path.write_bytes((b"" if raw else header(len(array), array.dtype)) + array.tobytes())
    return path


def run(*arguments: str | Path) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
    return left.value.code


@pytest.fixture
def vocabulary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Learned by the command, from a file."""
    (tmp_path / "text.txt").write_text(TEXT * 50 + "twos threes " * 30)
    out = tmp_path / "own.tiktoken"
    assert run("data", "tokenizer", tmp_path / "text.txt", "--vocab-size", "266", "--out", out) == 0
    assert capsys.readouterr().out.startswith(f"{out}: 266 ids; use it by --set data.tokenizer=")
    return out


@pytest.fixture
def folder(tmp_path: Path, vocabulary: Path) -> Path:
    """Two shards of training documents and one of validation, with their dataset.json."""
    tokenizer = load_tokenizer(str(vocabulary))
    ids = [265, *np.concatenate([[*tokenizer.encode(TEXT * (n % 3 + 1)), 265] for n in range(9)]).tolist()]
    folder = tmp_path / "prepared"
    folder.mkdir()
    files = {"train": [ids[:40], ids[40:]], "val": [ids[:30]]}
    splits = {}
    for split, parts in files.items():
        shards = []
        for number, part in enumerate(parts):
            path = write(folder / f"{split}_{number:06}.bin", part)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            shards.append({"file": path.name, "tokens": len(part), "sha256": digest})
        tokens = sum(map(len, parts))
        splits[split] = {"shards": shards, "tokens": tokens, "bytes": 1, "documents": 9}
    described = {
        "format": 1, "tokenizer": tokenizer.to_dict(), "vocab_size": 266, "end_of_text": 265, "dtype": "uint16",
        "layout": "llm.c", "source": "made", "splits": splits,
    }  # fmt: skip
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


def test_a_folder_is_shown_with_counts_documents_and_texts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "inspect", folder) == 0
    out = capsys.readouterr().out
    assert "tokenizer bpe, 266 ids (told by dataset.json)" in out
    assert "train_000001.bin   llm.c, uint16" in out
    assert "documents  9 of " in out
    assert "repeated   6 begin as an earlier one does" in out
    assert " two│" in out and "<|endoftext|>" in out
    assert "\x1b" not in out


def test_as_json_the_figures_are_those_of_the_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "inspect", folder, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    train = report["splits"]["train"]
    assert report["problems"] == [] and report["end_of_text"] == 265
    assert [shard["tokens"] for shard in train["shards"]] == [40, train["tokens"] - 40]
    assert train["largest_id"] == 265 and train["outside"] == 0
    assert train["documents"]["count"] == 9 and train["documents"]["empty"] == 0
    assert [each["documents"] for each in train["documents"]["most_repeated"]] == [3, 3, 3]
    assert sum(each["count"] for each in train["frequent"]) <= train["tokens"]
    assert "".join(t for t in train["snippets"][0]["tokens"] if t).startswith(TEXT)


def test_colours_tell_tokens_apart_where_there_are_any_and_no_color_is_obeyed(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    run("data", "inspect", folder)
    coloured = capsys.readouterr().out
    assert "\x1b[30;46m" in coloured and "\x1b[30;43m" in coloured and "│" not in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    run("data", "inspect", folder)
    plain = capsys.readouterr().out
    assert "\x1b" not in plain and " two│" in plain


def test_escape_sequences_in_tokens_and_file_names_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b]52;c;eA==\x07[bold]\u202e\x9b31m"
    path = write(tmp_path / "\x1b[31mtrain.bin", ByteTokenizer().encode(evil * 9), raw=True)
    assert run("data", "inspect", path, "--tokenizer", "byte") == 0
    out = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out)
    assert "[│b│o│l│d│]" in out
    path.write_bytes(b"x")
    assert run("data", "inspect", path) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_a_damaged_shard_is_named_and_the_others_are_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (folder / "train_000001.bin").open("ab") as file:
        file.write(b"xx")
    assert run("data", "inspect", folder) == 2
    told = capsys.readouterr()
    lines = told.err.splitlines()
    assert len(lines) == 2 and all("train_000001.bin" in line for line in lines)
    assert "is longer than that" in lines[0] and "dataset.json says" in lines[1]
    assert "train_000000.bin" in told.out and "val_000000.bin" in told.out


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"", "the file is empty"), (b"abc", "not a whole number"), (header(7, np.dtype("<u2")), "cut short")],
)
def test_a_damaged_file_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, complaint: str
) -> None:
    path = tmp_path / "some.bin"
    path.write_bytes(content)
    for target in (path, tmp_path / "gone.bin", tmp_path):
        assert run("data", "inspect", target) == 2
        told = capsys.readouterr()
        assert told.out == "" and len(told.err.splitlines()) == 1
        assert str(target) in told.err and (target != path or complaint in told.err)


def test_a_file_that_was_changed_is_told_by_its_hash_unless_that_is_left_out(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("data", "inspect", folder)
    assert "SHA-256 of 2: as in dataset.json" in capsys.readouterr().out
    changed = folder / "train_000001.bin"
    content = bytearray(changed.read_bytes())
    content[-4] ^= 1  # another id of the same vocabulary
    changed.write_bytes(content)
    assert run("data", "inspect", folder) == 2
    shown = capsys.readouterr()
    assert "SHA-256 of 2: 1 DIFFER from dataset.json" in shown.out
    assert len(shown.err.splitlines()) == 1 and f"{changed}: its SHA-256 is" in shown.err
    assert run("data", "inspect", folder, "--skip-hashes", "--json") == 0
    shards = json.loads(capsys.readouterr().out)["splits"]["train"]["shards"]
    assert [shard["sha256_matches"] for shard in shards] == [None, None]


def test_a_vocabulary_is_learned_from_documents_of_any_kind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    texts = [TEXT * 20 + "twos threes " * 9, TEXT * 30 + "quick brown " * 21]
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    parquet.write_table(arrow.table({"text": texts}), tmp_path / "a.parquet")
    (tmp_path / "a.txt").write_text("".join(texts))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("".join(texts).encode())))
    for number, source in enumerate([tmp_path / "a.jsonl.gz", tmp_path / "a.par*", tmp_path / "a.txt", "-"]):
        out = tmp_path / f"{number}.tiktoken"
        assert run("data", "tokenizer", source, "--vocab-size", "266", "--out", out) == 0
        assert out.read_bytes() == (tmp_path / "0.tiktoken").read_bytes()
    arguments = ("data", "tokenizer", tmp_path / "a.parquet", "--vocab-size", "400", "--out", out, "--json")
    sizes = []
    for chars in ("1", "1k"):  # the first document; both
        capsys.readouterr()
        assert run(*arguments, "--chars", chars) == 0
        sizes.append(json.loads(capsys.readouterr().out)["vocab_size"])
    assert sizes[0] < sizes[1]


def test_ids_outside_the_vocabulary_are_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "train.bin", [1, 2, 60_000, 50_257], raw=True)
    assert run("data", "inspect", path) == 2
    told = capsys.readouterr()
    assert "2 of its ids are not in the vocabulary of 50,257, the first at position 2" in told.err
    assert "largest 60,000" in told.out and "told by nothing" in told.out


def test_characters_are_taken_from_meta_pkl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meta = {"vocab_size": 3, "stoi": {"a": 0, "b": 1, "c": 2}, "itos": {0: "a", 1: "b", 2: "c"}}
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps(meta))
    for name in ("train.bin", "val.bin"):
        write(tmp_path / name, [0, 1, 2, 0], raw=True)
    assert run("data", "inspect", tmp_path) == 0
    out = capsys.readouterr().out
    assert "tokenizer char, 3 ids (told by meta.pkl)" in out and "a│b│c│a" in out and "no end-of-text token" in out


def test_ids_of_32_bits_without_a_tokenizer_are_shown_as_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "x_train_0.bin", [128_000, 5], "<u4")
    write(tmp_path / "x_val_0.bin", [128_000, 6], "<u4")
    assert run("data", "inspect", tmp_path) == 0
    out = capsys.readouterr().out
    assert "tokenizer unknown" in out and "llm.c, Llama 3, uint32" in out and "128000│5" in out


def test_without_gpt2s_vocabulary_the_counts_are_shown_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gpt.errors import DataError

    def nowhere() -> None:
        raise DataError("GPT-2's vocabulary is not here")

    monkeypatch.setattr("gpt.tokenizer.gpt2_encoding", nowhere)
    path = write(tmp_path / "train.bin", [5, 6, 50_256], raw=True)
    assert run("data", "inspect", path) == 2
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and "vocabulary is not here" in told.err
    assert "documents  1 of 2 to 2 tokens" in told.out and "5│6│<|endoftext|>" in told.out


@pytest.mark.parametrize("text", ["one two three\n" * 9, "é€ß" * 700 + "é"], ids=["short", "cut inside a character"])
def test_a_text_is_not_taken_for_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    path = tmp_path / "plays.txt"
    path.write_bytes(text.encode() + b"\n" * (len(text.encode()) % 2))
    assert run("data", "inspect", path) == 2
    assert f"{path} is text, not tokens; gpt-cockpit data prepare {path} --out" in capsys.readouterr().err


def test_ids_that_are_bytes_of_a_text_are_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "train.bin", list(b"one two three\n" * 9), raw=True)
    assert run("data", "inspect", path, "--tokenizer", "byte") == 0
    assert "126 tokens" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{", "[]", '{"tokenizer": 1}', '{"tokenizer": {"name": "bpe", "tokens": "x"}}'])
def test_a_damaged_dataset_json_is_named(folder: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    (folder / "dataset.json").write_text(content)
    assert run("data", "inspect", folder) == 2
    told = capsys.readouterr()
    assert told.out == "" and "dataset.json: " in told.err and told.err.count("\n") == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    content=st.binary(max_size=64) | st.builds(
        lambda start, rest: start + rest,
        st.sampled_from([header(n, np.dtype(kind)) for n in (1, 2, 9) for kind in ("<u2", "<u4")]),
        st.binary(max_size=12),
    ),
    cut=st.integers(0, 1100),
)  # fmt: skip
def test_any_file_is_either_shown_or_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, cut: int
) -> None:
    path = tmp_path / "any.bin"
    path.write_bytes(content[:cut])
    code = run("data", "inspect", path, "--tokenizer", "byte")
    told = capsys.readouterr()
    assert code == (2 if told.err else 0)
    assert all("any.bin" in line for line in told.err.splitlines())
    assert "Traceback" not in told.err


def test_an_unknown_tokenizer_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "inspect", folder, "--tokenizer", "gtp2") == 2
    assert "--tokenizer must be byte, char, gpt2, or a file" in capsys.readouterr().err


def test_a_vocabulary_is_written_under_a_name_that_profiles_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    assert run("data", "tokenizer", tmp_path / "text.txt", "--vocab-size", "300", "--out", tmp_path / "own.bin") == 2
    assert "--out must end in .tiktoken" in capsys.readouterr().err
    out = tmp_path / "own.tiktoken"
    assert run("data", "tokenizer", tmp_path / "text.txt", "--vocab-size", "300", "--out", out, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["file"] == str(out) and 256 < result["vocab_size"] < 300
    assert hashlib.sha256(out.read_bytes()).hexdigest() == result["sha256"]


def test_many_shards_do_not_fill_the_screen(tmp_path: Path) -> None:
    for number in range(20):
        write(tmp_path / f"train_{number:06}.bin", [1, 2])
    write(tmp_path / "val_000000.bin", [1, 2])
    text = inspected.as_text(inspection.inspect(tmp_path, "byte"))
    assert "… and 14 more" in text and "train   40 tokens in 20 shards" in text


def test_a_median_beyond_the_longest_class_is_not_given_as_exact(tmp_path: Path) -> None:
    path = write(tmp_path / "train.bin", [*np.ones(70_000, int), 50_256], raw=True)
    assert "median 65,536 or more, mean 70,000.0" in inspected.as_text(inspection.inspect(path, "gpt2"))
