"""`data prepare`: every kind of text comes out whole, split by document, and a kill changes no byte of it."""

import hashlib
import io
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gpt.config import DataConfig, ModelConfig
from gpt.data import check_source, open_dataset
from gpt.dataset_file import read_dataset_file
from gpt.encoding import Item, encode_groups
from gpt.errors import DataError
from gpt.prepare_folder import prepare_folder
from gpt.preparing import STATE_FILE, Preparation, is_validation
from gpt.shards import split_shards
from gpt.tokenizer import ByteTokenizer, Gpt2Tokenizer
from gpt.tokens import Tokens
from tests.gpt.text_files import DOCUMENTS, fineweb, jsonl

pytestmark = pytest.mark.usefixtures("own_cache")

WIKITEXT = Path(__file__).parents[3] / "shared" / "data" / "wikitext-2"
CHILD = Path(__file__).with_name("preparing_child.py")


@pytest.fixture
def prepared(tmp_path: Path) -> Callable[..., Path]:
    def make(*sources: Path | str, name: str = "out", **settings: object) -> Path:
        job = Preparation(tuple(map(str, sources)), tmp_path / name, **{"tokenizer": "byte", "val": "0.1"} | settings)
        prepare_folder(job, workers=1)
        return job.out

    return make


def ids(folder: Path, split: str, vocab_size: int = 50257) -> np.ndarray:
    tokens = Tokens.open(split_shards(folder, split), vocab_size=vocab_size)
    return tokens.first(len(tokens))


def split_by_rule(documents: list[str], share: str = "0.1") -> dict[str, list[str]]:
    kept = {"train": [], "val": []}
    for number, text in enumerate(documents):
        kept["val" if is_validation(number, Fraction(share)) else "train"].append(text)
    return kept


def files(folder: Path, pattern: str = "*") -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob(pattern))}


@pytest.mark.parametrize("name", ["d.jsonl", "d.jsonl.gz", "d.jsonl.zst", "d.parquet"])
def test_documents_of_any_format_come_out_whole_in_order_and_in_one_split_each(
    name: str, tmp_path: Path, prepared: Callable[..., Path]
) -> None:
    path = tmp_path / name
    out = prepared(fineweb(path, DOCUMENTS) if name.endswith("parquet") else jsonl(path), tokenizer="gpt2")
    tokenizer = Gpt2Tokenizer()
    dataset = read_dataset_file(out)
    assert dataset is not None
    for split, documents in split_by_rule(DOCUMENTS).items():
        found = ids(out, split)
        ends = np.flatnonzero(found == 50256)
        assert [tokenizer.decode(part) for part in np.split(found, ends + 1)[:-1]] == [
            text + "<|endoftext|>" for text in documents
        ]
        assert ends[-1] == len(found) - 1
        entry = dataset.splits[split]
        assert (entry.tokens, entry.documents) == (len(found), len(documents))
        assert entry.bytes == sum(len(text.encode()) for text in documents)
        assert {shard.file: shard.sha256 for shard in entry.shards}.items() <= files(out).items()


@pytest.mark.skipif(not WIKITEXT.is_dir(), reason="WikiText-2 is not here")
def test_wikitext_makes_the_tokens_that_its_whole_files_make(prepared: Callable[..., Path]) -> None:
    texts = [(WIKITEXT / f"{name}.txt").read_text() for name in ("test", "valid")]
    out = prepared(WIKITEXT / "test.txt", WIKITEXT / "valid.txt", tokenizer="gpt2", val="0.02", shard_tokens=100_000)
    tokenizer = Gpt2Tokenizer()
    whole = [token for text in texts for token in [*tokenizer.encode(text).tolist(), 50256]]
    val = ids(out, "val").tolist()
    first = val.index(50256)  # the first section of the first file is for validation
    assert val[:first] == whole[:first]
    train = [token for token in ids(out, "train").tolist() if token != 50256]
    assert train[:100_000] == [token for token in whole if token != 50256][first:][:100_000]
    assert len(train) + len([token for token in val if token != 50256]) == len(whole) - 2
    dataset = read_dataset_file(out)
    assert dataset is not None
    assert sum(entry.bytes for entry in dataset.splits.values()) == sum(len(text.encode()) for text in texts)
    assert all(shard.tokens == 100_000 for shard in dataset.splits["train"].shards[:-1])


def test_a_kill_at_any_of_five_moments_changes_no_byte(tmp_path: Path) -> None:
    rng = random.Random(1)
    documents = [" ".join(rng.choice(("alpha", "beta", "gamma", "木")) for _ in range(800)) for _ in range(600)]
    source = tmp_path / "fineweb"
    source.mkdir()
    fineweb(source / "000_00000.parquet", documents[:350], 100)
    fineweb(source / "001_00000.parquet", documents[350:], 100)

    def run(folder: Path, last: int) -> int:
        child = [sys.executable, str(CHILD), str(source), str(folder), str(last)]
        return subprocess.run(child, cwd=CHILD.parents[2], env={**os.environ, "PYTHONPATH": "."}).returncode

    undisturbed = tmp_path / "undisturbed"
    assert run(undisturbed, 0) == 0
    assert len(list(undisturbed.glob("train_*.bin"))) > 3
    killed = tmp_path / "killed"
    finished: dict[str, int] = {}
    # The moments fall before, between and after the writes of one record, and in three different shards.
    for last in (3, 11, 14, 17, 20):
        assert run(killed, last) == -signal.SIGKILL
        now = {path.name: path.stat().st_mtime_ns for path in killed.glob("*.bin")}
        assert finished.items() <= now.items(), "a finished shard was written again"
        finished = now
    assert finished
    assert run(killed, 0) == 0
    assert files(killed) == files(undisturbed)


def test_a_kill_between_the_last_shard_and_dataset_json_changes_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: Callable[..., Path]
) -> None:
    source = jsonl(tmp_path / "d.jsonl")
    expected = files(prepared(source, name="whole", layout="raw"))

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    for _ in range(2):
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("gpt.preparing.write_dataset_file", fail)
            prepared(source, layout="raw")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("gpt.preparing.Preparing.go", fail)  # an empty draft lies beside each finished file by now
        prepared(source, layout="raw")
    assert files(prepared(source, layout="raw")) == expected


@pytest.mark.parametrize("most_threads", [2, 1], ids=["threads", "processes"])
def test_more_workers_make_the_same_tokens_in_the_same_order(most_threads: int) -> None:
    groups = [([Item(f"text {i} " * 50, True)], i) for i in range(12)]
    alone = list(encode_groups(iter(groups), ByteTokenizer(), workers=1))
    shared = list(encode_groups(iter(groups), ByteTokenizer(), workers=2, here=2, most_threads=most_threads))
    assert [extra for _, extra in shared] == list(range(12))
    assert all((a.ids == b.ids).all() for (a, _), (b, _) in zip(alone, shared, strict=True))


def test_the_split_is_a_rule_of_the_number_alone() -> None:
    for share in ("0.0005", "0.1", "0.3", "0.5"):
        held = [number for number in range(20_000) if is_validation(number, Fraction(share))]
        assert held[0] == 0
        assert len(held) == 20_000 * Fraction(share)


def test_standard_input_is_a_text(monkeypatch: pytest.MonkeyPatch, prepared: Callable[..., Path]) -> None:
    text = "To be, or not to be.\n\n" * 5000
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    out = prepared("-")
    both = "".join(ByteTokenizer().decode(ids(out, split, 256)) for split in ("val", "train"))
    assert both.replace("\n", "") == text.replace("\n", "")


def test_a_token_target_ends_it_at_a_documents_end(tmp_path: Path, prepared: Callable[..., Path]) -> None:
    out = prepared(jsonl(tmp_path / "d.jsonl"), tokens=3000)
    text = ByteTokenizer().decode(ids(out, "train", 256))
    kept = "".join(document + "\n" for document in split_by_rule(DOCUMENTS)["train"])
    assert kept.startswith(text)
    assert 3000 <= len(text.encode()) < 3000 + max(len(document.encode()) for document in DOCUMENTS) + 1


def test_training_takes_the_tokenizer_and_bytes_from_dataset_json(
    tmp_path: Path, prepared: Callable[..., Path]
) -> None:
    out = prepared(jsonl(tmp_path / "d.jsonl"), tokenizer="char", layout="raw")
    dataset = open_dataset(DataConfig(dir=str(out)), ModelConfig(block_size=64))
    assert dataset.tokenizer.name == "char"
    described = read_dataset_file(out)
    assert described is not None
    assert dataset.val_bytes_per_token == described.splits["val"].bytes_per_token
    assert dataset.val_bytes_per_token == pytest.approx(
        len(dataset.tokenizer.decode(ids(out, "val")).encode()) / len(dataset.val)
    )
    with pytest.raises(DataError, match=r'is gpt2, but .* was prepared with char; set data.tokenizer = "char"'):
        check_source(DataConfig(dir=str(out), tokenizer="gpt2"), ModelConfig(block_size=64))


def test_a_shard_that_dataset_json_lists_must_be_there_and_whole(tmp_path: Path, prepared: Callable[..., Path]) -> None:
    out = prepared(jsonl(tmp_path / "d.jsonl"), shard_tokens=2048)
    (out / "train_000001.bin").rename(out / "aside")
    with pytest.raises(DataError, match=r"train_000001.bin: no such file"):
        open_dataset(DataConfig(dir=str(out)), ModelConfig(block_size=64))
    (out / "val_000000.bin").copy(out / "train_000001.bin") if hasattr(Path, "copy") else (
        out / "train_000001.bin"
    ).write_bytes((out / "val_000000.bin").read_bytes())
    with pytest.raises(DataError, match=r"train_000001.bin: .* but dataset.json says 2,048"):
        open_dataset(DataConfig(dir=str(out)), ModelConfig(block_size=64))


def test_doing_it_again_does_nothing_and_other_settings_are_refused(
    tmp_path: Path, prepared: Callable[..., Path]
) -> None:
    source = jsonl(tmp_path / "d.jsonl")
    before = files(prepared(source))
    assert files(prepared(source)) == before
    with pytest.raises(DataError, match="holds another finished dataset"):
        prepared(source, val="0.2")


def test_an_unfinished_one_goes_on_with_its_own_settings_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: Callable[..., Path]
) -> None:
    source = jsonl(tmp_path / "d.jsonl")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("gpt.preparing.Preparing.finish", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        prepared(source)
    assert (tmp_path / "out" / STATE_FILE).exists()
    with pytest.raises(DataError, match="unfinished preparation with other settings"):
        prepared(source, val="0.2")
    prepared(source)
    assert not (tmp_path / "out" / STATE_FILE).exists()


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, prepared: Callable[..., Path]) -> None:
    text = tmp_path / "one.txt"
    text.write_text("a single short document")
    (tmp_path / "nul.bin").write_bytes(b"\0" * 100)
    (tmp_path / "cut.jsonl.gz").write_bytes(jsonl(tmp_path / "d.jsonl.gz").read_bytes()[:-200])
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not a parquet file")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "train.bin").write_bytes(b"12")
    cases = {
        "no file matches": (tmp_path / "missing.txt", {}),
        "needs at least two documents": (text, {}),
        "is not UTF-8 text": (tmp_path / "nul.bin", {}),
        "cut.jsonl.gz: ": (tmp_path / "cut.jsonl.gz", {}),
        "bad.parquet: ": (tmp_path / "bad.parquet", {}),
        "--val is 2": (text, {"val": "2"}),
        "holds train.bin, which was not made by this": (text, {"name": "taken"}),
        "stands alone": ("-", {"more": text}),
    }
    for message, (source, settings) in cases.items():
        sources = [source, settings.pop("more")] if "more" in settings else [source]
        with pytest.raises(DataError, match=message) as caught:
            prepared(*sources, **{"name": f"out-{len(message)}"} | settings)
        assert "\n" not in str(caught.value)


def test_what_is_refused_leaves_no_folder_behind_and_none_that_was_there_is_taken(
    tmp_path: Path, prepared: Callable[..., Path]
) -> None:
    (tmp_path / "there").mkdir()
    for name in ("new", "there"):
        with pytest.raises(DataError):
            prepared(tmp_path / "missing.txt", name=name)
    assert not (tmp_path / "new").exists() and not [*(tmp_path / "there").iterdir()]


def test_half_a_surrogate_pair_in_json_is_no_obstacle(tmp_path: Path, prepared: Callable[..., Path]) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"text": "first"}\n{"text": "half \\ud83d a pair"}\n')
    out = prepared(path, tokenizer="gpt2")
    assert Gpt2Tokenizer().decode(ids(out, "train")) == "half ? a pair<|endoftext|>"


def test_a_hubs_files_are_fetched_one_at_a_time_and_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prepared: Callable[..., Path]
) -> None:
    hub = tmp_path / "hub" / "sample" / "10BT"
    hub.mkdir(parents=True)
    for number in range(3):
        fineweb(hub / f"00{number}_00000.parquet", DOCUMENTS[60 * number : 60 * number + 60])
    fetched: list[str] = []

    class Hub:
        def HfApi(self) -> "Hub":
            return self

        def dataset_info(self, repository: str, timeout: float) -> SimpleNamespace:
            return SimpleNamespace(sha="c0ffee")

        def list_repo_tree(self, repository: str, folder: str, **_: object) -> list[SimpleNamespace]:
            paths = [*hub.glob("*.parquet")]
            return [SimpleNamespace(path=f"{folder}/{path.name}", size=path.stat().st_size) for path in paths]

        def hf_hub_download(self, repository: str, name: str, revision: str, local_dir: Path, **_: object) -> str:
            assert revision == "c0ffee"
            fetched.append(name)
            target = local_dir / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((tmp_path / "hub" / name).read_bytes())
            return str(target)

    monkeypatch.setattr("gpt.hub._hub", lambda *_: Hub())
    out = prepared("fineweb-10b")
    assert fetched == [f"sample/10BT/00{number}_00000.parquet" for number in range(3)]
    assert not list(out.rglob("*.parquet"))
    local = prepared(tmp_path / "hub", name="local")
    assert files(out, "*.bin") == files(local, "*.bin")

    monkeypatch.setattr("gpt.hub._hub", lambda *_: pytest.fail("what is finished needs no hub"))
    assert prepared("fineweb-10b") == out
