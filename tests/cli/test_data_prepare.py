"""`gpt-cockpit data`: what is prepared is told as a table and as JSON, and what is missing in one line."""

import io
import json
import socket
from pathlib import Path

import pytest

from cockpit.cli import main
from gpt.hub import KNOWN, FixedFile


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    written = capsys.readouterr()
    return int(ended.value.code or 0), written.out, written.err


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("the network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_prepare_tells_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "d.jsonl").write_text("".join(json.dumps({"text": f"document {i}"}) + "\n" for i in range(40)))
    arguments = ("data", "prepare", tmp_path / "d.jsonl", "--out", tmp_path / "out", "--tokenizer", "byte")
    code, out, _ = call(capsys, *arguments, "--val", "0.1", "--shard-tokens", "2k")
    assert code == 0
    assert "36 documents" in out and f"--set data.dir={tmp_path / 'out'}" in out
    code, out, _ = call(capsys, *arguments, "--val", "0.1", "--shard-tokens", "2000", "--json")
    found = json.loads(out)
    assert (code, found["vocab_size"], found["end_of_text"]) == (0, 256, None)
    assert found["splits"]["val"]["documents"] == 4


def test_text_comes_in_through_a_pipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"one two three\n" * 9000)))
    code, out, _ = call(capsys, "data", "prepare", "-", "--out", tmp_path / "out", "--tokenizer", "byte")
    assert (code, out.startswith("standard input as byte tokens")) == (0, True)


def test_list_names_every_data_set_that_prepare_knows(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "data", "list", "--json")
    assert code == 0
    assert {row["name"] for row in json.loads(out)} == {
        "shakespeare", "openwebtext", "fineweb-10b", "fineweb-edu-10b", "tinystories", "python-stdlib",
    }  # fmt: skip
    code, out, _ = call(capsys, "data", "list")
    assert (code, len(out.splitlines())) == (0, 7)


@pytest.mark.parametrize("name", ["shakespeare", "tinystories", "fineweb-10b"])
def test_offline_a_known_name_says_what_it_needs_and_how_to_bring_it(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], no_network: None
) -> None:
    if KNOWN[name].repository:
        pytest.importorskip("pyarrow")
    code, _, err = call(capsys, "data", "prepare", name, "--out", tmp_path / "out", "--tokenizer", "byte")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert name in err and ("huggingface.co/datasets/" in err or "raw.githubusercontent.com" in err)
    assert "hf download" in err or str(tmp_path / "out" / ".downloads" / "input.txt") in err


def test_a_fixed_file_that_was_brought_by_hand_is_used_if_its_hash_is_right(tmp_path: Path, no_network: None) -> None:
    plays = Path(__file__).parents[3] / "shared" / "data" / "tinyshakespeare.txt"
    if not plays.is_file():
        pytest.skip("the plays are not here")
    brought = tmp_path / "input.txt"
    brought.write_bytes(plays.read_bytes())
    assert FixedFile(KNOWN["shakespeare"], tmp_path).path(0) == brought
    brought.write_bytes(plays.read_bytes()[:-1])
    with pytest.raises(Exception, match="shakespeare is needed from"):
        FixedFile(KNOWN["shakespeare"], tmp_path).path(0)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--tokens", "many", "--tokens is many"),
        ("--shard-tokens", "3", "at least 1,024"),
        ("--val", "no", "--val is no"),
        ("--tokenizer", "gpt3", "the tokenizer must be byte, char, gpt2, or a file that ends in .tiktoken; got 'gpt3'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    option: str, value: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.txt").write_text("text")
    code, _, err = call(capsys, "data", "prepare", tmp_path / "t.txt", "--out", tmp_path / "out", option, value)
    assert code == 2
    assert said in err and len(err.splitlines()) == 1
