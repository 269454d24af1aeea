"""`gpt-cockpit data`: text to tokens, and which data sets are known by name. Imports nothing heavy."""

from __future__ import annotations

import sys
import time
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from cockpit import commands_inspect
from cockpit import format as fmt
from cockpit.sanitize import clean_line
from gpt.errors import DataError

if TYPE_CHECKING:
    from gpt.dataset_file import DatasetFile
    from gpt.preparing import Done

app = App(name="data", help="Prepares text for training, and lists data sets known by name.", help_formatter="plain")
commands_inspect.register(app)

Json = Annotated[bool, Parameter(help="As JSON, for scripts.")]
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_SMALL_VALIDATION = 4096
"""Validation tokens under which a loss says little."""


@app.command
def prepare(
    *sources: Annotated[
        str, Parameter(help="Text, .jsonl[.gz|.zst] or .parquet files, folders, globs; - or one name of data list.")
    ],
    out: Annotated[Path, Parameter(help="Folder for the token files.")],
    tokenizer: Annotated[str, Parameter(help="gpt2, byte, char, or a .tiktoken file.", show_default=True)] = "gpt2",
    val: Annotated[str, Parameter(help="Share of the documents kept for validation.", show_default=True)] = "0.0005",
    tokens: Annotated[str | None, Parameter(help="Stop after so many training tokens: 10B, 50M.")] = None,
    format: Annotated[
        Literal["llm.c", "raw"],
        Parameter(help="Shards with llm.c's header, or nanoGPT's train.bin and val.bin.", show_default=True),
    ] = "llm.c",
    shard_tokens: Annotated[str, Parameter(help="Tokens in a full shard.", show_default=True)] = "100M",
    json: Json = False,
) -> int:
    """Makes token files of text, split by document; a call that was interrupted goes on where it was."""
    from gpt.prepare_folder import prepare_folder
    from gpt.preparing import Preparation

    job = Preparation(
        sources=sources, out=out, tokenizer=tokenizer, val=val, layout=format,
        tokens=None if tokens is None else _count(tokens, "--tokens"),
        shard_tokens=_count(shard_tokens, "--shard-tokens"),
    )  # fmt: skip
    meter = _Meter()
    try:
        dataset = prepare_folder(job, meter.show)
    finally:
        meter.close()
    sys.stdout.write(f"{dumps(_as_json(dataset, out), indent=1) if json else _summary(dataset, out)}\n")
    return 0


@app.command(name="list")
def list_known(*, json: Json = False) -> int:
    """Lists the data sets that `data prepare` knows by name."""
    from gpt.hub import KNOWN

    rows = [
        {"name": data.name, "what": data.what, "size": data.size, "licence": data.licence, "needs": data.needs}
        for data in KNOWN.values()
    ]
    if json:
        sys.stdout.write(f"{dumps(rows, indent=1)}\n")
        return 0
    table = [("name", "size", "licence", "needs", "what")]
    table += [(r["name"], r["size"], r["licence"] or fmt.UNKNOWN, r["needs"], r["what"]) for r in rows]  # type: ignore[misc]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        cells = zip(row, widths, strict=True)
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in cells).rstrip() + "\n")
    return 0


class _Meter:
    """Progress on standard error: one line that is drawn over on a terminal, a line every ten seconds elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._interval = 0.25 if self._terminal else 10.0
        self._shown = self._began = time.monotonic()
        self._first: Done | None = None

    def show(self, done: Done) -> None:
        """Draws how far it is, unless that has just been done."""
        now = time.monotonic()
        if self._first is None:  # what an earlier call did is no work of this one
            self._first, self._began = done, now
        if now - self._shown < self._interval:
            return
        self._shown = now
        line = _progress(self._first, done, now - self._began)
        sys.stderr.write(f"\r{line}\x1b[K" if self._terminal else f"{line}\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Takes the line away."""
        if self._terminal:
            sys.stderr.write("\r\x1b[K")


def _progress(first: Done, done: Done, seconds: float) -> str:
    seconds = max(seconds, 1e-9)
    eta = None
    if done.share is not None and first.share is not None and done.share > first.share:
        eta = (1 - done.share) / (done.share - first.share) * seconds
    filled = round(20 * (done.share or 0))
    bar = "" if done.share is None else f"{'█' * filled}{'░' * (20 - filled)} {fmt.percent(done.share):>5} %  "
    return (
        f"{bar}{_of(done.tokens)}tokens  {_of((done.bytes - first.bytes) / seconds)}B/s  "
        f"{_of((done.tokens - first.tokens) / seconds)}tokens/s  file {done.file}  ETA {fmt.duration(eta)}"
    )


def _summary(dataset: DatasetFile, out: Path) -> str:
    lines = [f"{clean_line(dataset.source)} as {dataset.tokenizer.get('name')} tokens in {clean_line(str(out))}"]
    for entry, name in ((dataset.splits["train"], "training"), (dataset.splits["val"], "validation")):
        files = f"{len(entry.shards)} file{'s' if len(entry.shards) != 1 else ''}"
        lines.append(
            f"  {name:<10}  {entry.tokens:>15,} tokens  {entry.documents:>11,} documents  {entry.bytes:>15,} bytes  "
            f"{fmt.number(entry.bytes_per_token, 3)} bytes/token  {files}"
        )
    if dataset.splits["val"].tokens < _SMALL_VALIDATION:
        lines.append("  that is little to validate on; --val 0.1 keeps one document of ten (into another --out)")
    lines.append(f"train on it: gpt-cockpit PROFILE --set data.dir={clean_line(str(out))}")
    return "\n".join(lines)


def _as_json(dataset: DatasetFile, out: Path) -> dict[str, Any]:
    import msgspec

    return {"out": str(out), **msgspec.to_builtins(dataset)}


def _of(value: float) -> str:
    number, unit = fmt.count(value)
    return f"{number} {unit}"


def _count(text: str, option: str) -> int:
    """A whole number, perhaps with k, M, B or T behind it."""
    digits, unit = (text[:-1], text[-1].lower()) if text[-1:].isalpha() else (text, "")
    try:
        value = float(digits.replace("_", "").replace(",", "")) * _UNITS[unit]
        return int(value)
    except (ValueError, KeyError, OverflowError):
        raise DataError(f"{option} is {text}, but must be a number such as 10B, 50M or 100000") from None
