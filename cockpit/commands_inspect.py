"""`gpt-cockpit data inspect` and `data tokenizer`. Imports nothing heavy."""

from __future__ import annotations

import sys
from json import dumps
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cockpit.arguments import AsJson
from cockpit.quantity import count
from cockpit.sanitize import clean_line


def register(data: App) -> None:
    """Adds the commands to `gpt-cockpit data`."""
    data.command(inspect)
    data.command(tokenizer)


def inspect(
    path: Annotated[Path, Parameter(help="A folder of token files, or one of them.")],
    /,
    *,
    tokenizer: Annotated[
        str | None,
        Parameter(help="byte, char, gpt2 or a .tiktoken file; without it the folder's own, or else gpt2."),
    ] = None,
    skip_hashes: Annotated[
        bool, Parameter(help="Leave out the SHA-256 of each file, which takes reading it once more.")
    ] = False,
    json: AsJson = False,
) -> int:
    """Shows what token files hold: counts, documents, frequent tokens, repetitions, text with its token boundaries."""
    from cockpit import inspected, inspection

    report = inspection.inspect(path, tokenizer, hashes=not skip_hashes)
    sys.stdout.write(f"{dumps(report, indent=1) if json else inspected.as_text(report)}\n")
    sys.stdout.flush()
    for problem in report["problems"]:
        sys.stderr.write(f"gpt-cockpit: {clean_line(problem)}\n")
    return 2 if report["problems"] else 0


def tokenizer(
    *sources: Annotated[
        str,
        Parameter(
            help="As of data prepare: text, .jsonl[.gz|.zst] or .parquet, folders, globs; - or one name.",
            allow_leading_hyphen=True,
        ),
    ],
    vocab_size: Annotated[int, Parameter(help="Number of ids, the end of a text included.")],
    out: Annotated[Path, Parameter(help="The vocabulary to write, FILE.tiktoken.")],
    chars: Annotated[str | None, Parameter(help="Learn from the first so many characters: 2B, 500M.")] = None,
    json: AsJson = False,
) -> int:
    """Learns a byte-pair vocabulary from texts, as a file that tiktoken reads and data.tokenizer names."""
    from gpt.errors import DataError
    from gpt.hub import open_source
    from gpt.pair_training import train_vocabulary
    from gpt.sources import texts
    from gpt.vocabulary import write_vocabulary

    if out.suffix != ".tiktoken":
        raise DataError(f"--out must end in .tiktoken, by which profiles tell a vocabulary; got {out}")
    source = open_source(sources, out.with_name(f".{out.name}.downloads"))
    vocabulary = train_vocabulary(texts(source, None if chars is None else count(chars, "--chars")), vocab_size)
    write_vocabulary(out, vocabulary)
    result = {
        "file": str(out), "vocab_size": vocabulary.size, "end_of_text": vocabulary.size - 1,
        "sha256": vocabulary.digest,
    }  # fmt: skip
    few = "" if vocabulary.size == vocab_size else f" (of {vocab_size:,}: the text has no more pairs that occur twice)"
    told = f"{out}: {vocabulary.size:,} ids{few}; use it by --set data.tokenizer={out}"
    sys.stdout.write(f"{dumps(result, indent=1) if json else clean_line(told)}\n")
    return 0
