"""Data sets known by name: what they are, and their files, fetched one at a time. No torch."""

from __future__ import annotations

import fnmatch
import hashlib
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from gpt.errors import DataError
from gpt.prepare import python_stdlib_files
from gpt.sources import STDIN, LocalSource, Source, StandardInput


@dataclass(frozen=True)
class KnownData:
    """A data set that has a name here."""

    name: str
    what: str
    size: str
    """About, for people; downloads are compressed."""
    licence: str | None
    """None where it is not stated."""
    needs: str
    repository: str | None = None
    """On the Hugging Face hub."""
    pattern: str = ""
    """Which of its files, as fnmatch takes it."""
    address: str | None = None
    """Of a single file."""
    sha256: str | None = None


_HUB = "the extra data, internet"
KNOWN = {
    data.name: data
    for data in (
        KnownData(
            "shakespeare", "Shakespeare's plays in one file, as char-rnn and nanoGPT use them", "1.1 MB",
            "public domain", "internet",
            address="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
        KnownData("python-stdlib", "the Python standard library's own source", "11 MB", "PSF-2.0", "nothing"),
        KnownData(
            "tinystories", "short stories in a small child's words, made by GPT-3.5 and GPT-4", "1 GB",
            "CDLA-Sharing-1.0", _HUB, "roneneldan/TinyStories", "*train*.parquet",
        ),
        KnownData(
            "openwebtext", "pages linked from Reddit, after GPT-2's WebText; 9 B tokens", "24 GB",
            "CC0-1.0", _HUB, "Skylion007/openwebtext", "*train*.parquet",
        ),
        KnownData(
            "fineweb-10b", "FineWeb's sample of 10 B tokens of the web", "30 GB",
            "ODC-By-1.0", _HUB, "HuggingFaceFW/fineweb", "sample/10BT/*.parquet",
        ),
        KnownData(
            "fineweb-edu-10b", "FineWeb-Edu's sample of 10 B tokens, pages of educational value", "28 GB",
            "ODC-By-1.0", _HUB, "HuggingFaceFW/fineweb-edu", "sample/10BT/*.parquet",
        ),
    )
}  # fmt: skip


def open_source(items: Sequence[str], downloads: Path) -> Source:
    """What is named: files, folders and globs; or `-`, standard input; or a name in KNOWN that is no file here.

    What is fetched goes into `downloads`. Raises DataError where something matches no file, and where a name or `-`
    stands beside others.
    """
    names = [name for name in items if name in KNOWN and not Path(name).exists()]
    if names or STDIN in items:
        if len(items) > 1:
            raise DataError(f"{(names or [STDIN])[0]} stands alone, not beside other sources; prepare them one by one")
        return known_source(names[0], downloads) if names else StandardInput()
    if not items:
        raise DataError("name a text: files, folders, globs, - for standard input, or a name of gpt-cockpit data list")
    return LocalSource.of(list(items))


def known_source(name: str, downloads: Path) -> Source:
    """The files of a data set in KNOWN; what is fetched goes into `downloads` until it has been read."""
    data = KNOWN[name]
    if data.repository is not None:
        return HubSource(data, downloads)
    if data.address is not None:
        return FixedFile(data, downloads)
    return LocalSource(tuple(python_stdlib_files()), "the Python standard library's source")


class FixedFile:
    """One file at one address, whose content is known by its hash."""

    def __init__(self, data: KnownData, downloads: Path) -> None:
        assert data.address is not None and data.sha256 is not None
        self.label = data.name
        self._name, self._address, self._sha256 = data.name, data.address, data.sha256
        self._file = downloads / Path(data.address).name

    def sizes(self) -> list[int | None]:
        return [self.path(0).stat().st_size]

    def identity(self) -> list[Any]:
        return [self._sha256]

    def path(self, index: int) -> Path:
        """Fetched unless it is here. Raises DataError where it cannot be had, or is not the file that is meant."""
        if self._file.is_file() and _sha256(self._file.read_bytes()) == self._sha256:
            return self._file
        try:
            with urllib.request.urlopen(self._address, timeout=30) as answer:  # an address of ours, no scheme but https
                content = answer.read()
        except OSError as error:
            reason = getattr(error, "reason", None) or error
            raise DataError(
                f"{self._name} is needed from {self._address}, which does not answer ({_line(reason)}); "
                f"bring that file by hand, as {self._file}, and run the same again"
            ) from None
        if _sha256(content) != self._sha256:
            raise DataError(
                f"{self._name}: {self._address} gave {len(content):,} bytes that are not the known file (SHA-256 "
                f"{_sha256(content)[:12]}… for {self._sha256[:12]}…); bring the right one, as {self._file}"
            )
        self._file.parent.mkdir(parents=True, exist_ok=True)
        draft = self._file.with_name(f".{self._file.name}.draft")
        draft.write_bytes(content)
        draft.replace(self._file)
        return self._file

    def release(self, index: int) -> None:
        """Kept: it is small, and may have been brought by hand."""


class HubSource:
    """Parquet files of a data set on the Hugging Face hub, at the commit that its main branch has now."""

    def __init__(self, data: KnownData, downloads: Path) -> None:
        self.label = data.name
        self._data = data
        self._downloads = downloads
        self._revision: str | None = None

    def sizes(self) -> list[int | None]:
        return [size for _, size in self._files]

    def identity(self) -> list[Any]:
        """Which commit: its files never change."""
        return [self._data.repository, self._commit, *([name, size] for name, size in self._files)]

    def pin(self, identity: list[Any]) -> None:
        """Goes on with the files of an `identity`, whatever the branch has become; the hub is not asked."""
        self.__dict__["_commit"] = identity[1]
        self.__dict__["_files"] = [(name, size) for name, size in identity[2:]]

    def path(self, index: int) -> Path:
        """Fetched unless it is here; what an interrupted download left is used.

        Raises DataError where it cannot be had.
        """
        name, size = self._files[index]
        file = self._downloads / name
        if file.is_file() and (size is None or file.stat().st_size == size):
            return file
        hub = _hub(self._data, self._downloads)
        try:
            return Path(
                hub.hf_hub_download(
                    self._data.repository, name, repo_type="dataset", revision=self._commit, local_dir=self._downloads
                )
            )
        except Exception as error:  # the library raises errors of its own, of HTTP and of the system
            raise self._missing(error, name) from None

    def release(self, index: int) -> None:
        """Its text is in the shards."""
        (self._downloads / self._files[index][0]).unlink(missing_ok=True)

    @cached_property
    def _commit(self) -> str:
        try:
            hub = _hub(self._data, self._downloads)
            return hub.HfApi().dataset_info(self._data.repository, timeout=30).sha
        except DataError:
            raise
        except Exception as error:
            raise self._missing(error, self._data.pattern) from None

    @cached_property
    def _files(self) -> list[tuple[str, int | None]]:
        commit = self._commit
        try:
            folder = self._data.pattern.rpartition("/")[0] or None
            tree = _hub(self._data, self._downloads).HfApi().list_repo_tree(
                self._data.repository, folder, recursive=True, revision=commit, repo_type="dataset"
            )  # fmt: skip
            files = [
                (entry.path, entry.size)
                for entry in tree
                if hasattr(entry, "size") and fnmatch.fnmatch(entry.path, self._data.pattern)
            ]
        except Exception as error:
            raise self._missing(error, self._data.pattern) from None
        if not files:
            raise DataError(
                f"{self.label}: {self._data.repository} has no {self._data.pattern} any more; fetch its files by hand "
                "and name their folder as the source"
            )
        return sorted(files)

    def _missing(self, error: Exception, what: str) -> DataError:
        return DataError(
            f"{self.label} needs {what} of https://huggingface.co/datasets/{self._data.repository}, which cannot be "
            f"had ({_line(error)}); on a machine with internet: {_by_hand(self._data)}, then bring the folder "
            f"{self.label} here and name it as the source"
        )


def _by_hand(data: KnownData) -> str:
    return f"hf download {data.repository} --repo-type dataset --include '{data.pattern}' --local-dir {data.name}"


def _hub(data: KnownData, downloads: Path) -> Any:
    try:
        import huggingface_hub
        from huggingface_hub.utils import disable_progress_bars

        import_module("pyarrow.parquet")  # without it nothing that is fetched could be read
    except ImportError:
        raise DataError(f"{data.name} needs extra packages: pip install 'gpt-cockpit[data]'") from None
    disable_progress_bars()  # the command line draws its own
    return huggingface_hub


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _line(error: object) -> str:
    """The first line of an error, not too long."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:120]
