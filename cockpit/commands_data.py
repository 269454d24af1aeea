"""`gpt-cockpit data`: text to tokens, and which data sets are known by name. Imports nothing heavy."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from cockpit import commands_inspect
from cockpit import format as fmt
from cockpit.arguments import AsJson
from cockpit.helptext import Hanging
from cockpit.quantity import count
from cockpit.sanitize import clean_line

if TYPE_CHECKING:
    from gpt.dataset_file import DatasetFile

app = App(name="data", help="Prepares text for training, and lists data sets known by name.", help_formatter=Hanging())
commands_inspect.register(app)

_SMALL_VALIDATION = 4096
"""Validation tokens under which a loss says little."""


@app.command
def prepare(
    *sources: Annotated[
        str,
        Parameter(
            help="Text, .jsonl[.gz|.zst] or .parquet files, folders, globs; - or one name of data list.",
            allow_leading_hyphen=True,
        ),
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
    json: AsJson = False,
) -> int:
    """Makes token files of text, split by document; a call that was interrupted goes on where it was."""
    from cockpit.preparation import prepare_shown
    from gpt.preparing import Preparation

    job = Preparation(
        sources=sources, out=out, tokenizer=tokenizer, val=val, layout=format,
        tokens=None if tokens is None else count(tokens, "--tokens"),
        shard_tokens=count(shard_tokens, "--shard-tokens"),
    )  # fmt: skip
    dataset = prepare_shown(job)
    sys.stdout.write(f"{dumps(_as_json(dataset, out), indent=1) if json else _summary(dataset, out)}\n")
    return 0


@app.command(name="list")
def list_known(*, json: AsJson = False) -> int:
    """Lists the data sets that `data prepare` knows by name."""
    from gpt.hub import KNOWN

    columns = ("name", "size", "licence", "needs", "what")
    rows = [[getattr(data, column) for column in columns] for data in KNOWN.values()]
    if json:
        sys.stdout.write(f"{dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1)}\n")
        return 0
    table = [columns, *([fmt.UNKNOWN if cell is None else cell for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        cells = zip(row, widths, strict=True)
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in cells).rstrip() + "\n")
    return 0


def _summary(dataset: DatasetFile, out: Path) -> str:
    lines = [f"{clean_line(dataset.source)} as {dataset.tokenizer.get('name')} tokens in {clean_line(str(out))}"]
    for entry, name in ((dataset.splits["train"], "training"), (dataset.splits["val"], "validation")):
        files = f"{len(entry.shards)} file{'s' if len(entry.shards) != 1 else ''}"
        documents = f"{entry.documents:>11,} {'documents' if entry.documents != 1 else 'document '}"
        lines.append(
            f"  {name:<10}  {entry.tokens:>15,} tokens  {documents}  {entry.bytes:>15,} bytes  "
            f"{fmt.number(entry.bytes_per_token, 3)} bytes/token  {files}"
        )
    if dataset.splits["val"].tokens < _SMALL_VALIDATION:
        lines.append("  that is little to validate on; --val 0.1 keeps one document of ten (into another --out)")
    lines.append(f"train on it: gpt-cockpit PROFILE --set data.dir={clean_line(str(out))}")
    return "\n".join(lines)


def _as_json(dataset: DatasetFile, out: Path) -> dict[str, Any]:
    import msgspec

    return {"out": str(out), **msgspec.to_builtins(dataset)}
