"""`dataset.json`, which stands beside prepared tokens and says what they are. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from gpt import durable
from gpt.errors import DataError

FILE_NAME = "dataset.json"
Split = Literal["train", "val"]
Layout = Literal["llm.c", "raw"]
"""`llm.c`: shards with a header; `raw`: `train.bin` and `val.bin` as nanoGPT's."""

_Natural = Annotated[int, Meta(ge=0)]


class ShardEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One file of tokens."""

    file: Annotated[str, Meta(pattern=r"^[^/\\]+$")]
    """Name within the folder."""
    tokens: _Natural
    sha256: str
    """Of the whole file, header included."""


class SplitEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Training or validation."""

    shards: tuple[ShardEntry, ...]
    """In order."""
    tokens: _Natural
    """In all shards; ends of text are among them."""
    bytes: _Natural
    """UTF-8 text behind those tokens, for bits per byte."""
    documents: _Natural

    @property
    def bytes_per_token(self) -> float | None:
        """Mean bytes of text behind a token; None without tokens."""
        return self.bytes / self.tokens if self.tokens else None


class DatasetFile(msgspec.Struct, frozen=True, kw_only=True):
    """What `dataset.json` holds."""

    format: Literal[1] = 1
    tokenizer: dict[str, Any]
    """As `gpt.tokenizer.tokenizer_from_dict` takes it."""
    vocab_size: Annotated[int, Meta(ge=1)]
    end_of_text: int | None
    """Id behind every document; None where there is none, and documents end with a newline instead."""
    dtype: Literal["uint16", "uint32"]
    layout: Layout
    source: str
    """Where the text came from, for people."""
    splits: dict[Split, SplitEntry]
    made_with: dict[str, Any] = {}
    """Settings that the tokens depend on; the same ones make the same files."""

    def paths(self, folder: Path, split: Split) -> list[Path]:
        """The split's files, in order."""
        return [folder / shard.file for shard in self.splits[split].shards]


def read_dataset_file(folder: Path) -> DatasetFile | None:
    """A folder's `dataset.json`; None where there is none. Raises DataError where it makes no sense."""
    path = folder / FILE_NAME
    try:
        dataset = msgspec.json.decode(path.read_bytes(), type=DatasetFile)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: {error}; prepare the data again") from None
    if missing := [split for split in ("train", "val") if split not in dataset.splits]:
        raise DataError(f"{path}: splits has no {missing[0]}; prepare the data again")
    return dataset


def write_dataset_file(folder: Path, dataset: DatasetFile) -> None:
    """Writes `dataset.json`, whole or not at all. Raises OSError where the disk refuses."""
    durable.replace(folder / FILE_NAME, msgspec.json.format(msgspec.json.encode(dataset), indent=2) + b"\n")
