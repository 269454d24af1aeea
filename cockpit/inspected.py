"""The report of `gpt-cockpit data inspect` for people: as wide as the terminal, tokens told apart by colour."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cockpit import format as fmt
from cockpit.inspection import Report
from cockpit.sanitize import clean_line
from gpt.survey import LONGEST, START_TOKENS

_LISTED_SHARDS = 6
_BAR = 40
"""Characters of the histogram's longest bar."""
_STYLES = ("black on cyan", "black on yellow")
_END_STYLE = "black on red"


def as_text(report: Report) -> str:
    """The report for people, as wide as the terminal; in colours where it has some and NO_COLOR is not set."""
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        vocabulary = (
            f"{report['tokenizer']}, {fmt.number(report['vocab_size'])} ids" if report["tokenizer"] else "unknown"
        )
        _line(console, f"{report['path']}   tokenizer {vocabulary} (told by {report['tokenizer_told_by']})")
        for split, figures in report["splits"].items():
            console.print()
            _print_split(console, split, figures, report)
    return captured.get().rstrip("\n")


def _line(console: Console, text: str) -> None:
    console.print(Text(clean_line(text)), soft_wrap=True)


def _print_split(console: Console, split: str, figures: Report, report: Report) -> None:
    shards = figures["shards"]
    many = f"{len(shards):,} shards" if len(shards) > 1 else "1 file"
    _line(console, f"{split}   {figures['tokens']:,} tokens in {many}, {_megabytes(figures['bytes'])}")
    for shard in shards[:_LISTED_SHARDS]:
        _line(
            console, f"  {Path(shard['file']).name}   {shard['format']}, {shard['dtype']}   {shard['tokens']:,} tokens"
        )
    if len(shards) > _LISTED_SHARDS:
        _line(console, f"  … and {len(shards) - _LISTED_SHARDS:,} more")
    if hashed := [shard["sha256_matches"] for shard in shards if shard["sha256_matches"] is not None]:
        differing = hashed.count(False)
        told = f"{differing:,} DIFFER from" if differing else "as in"
        _line(console, f"  hashes     SHA-256 of {len(hashed):,}: {told} dataset.json")
    size = f" of {report['vocab_size']:,}" if report["vocab_size"] else ""
    outside = f"; {figures['outside']:,} tokens outside the vocabulary" if figures["outside"] else ""
    _line(console, f"  ids        largest {figures['largest_id']:,}, {figures['distinct']:,} different{size}{outside}")
    frequent = "  ".join(f'"{each["text"]}" {fmt.percent(each["share"])} %' for each in figures["frequent"])
    console.print(Text(clean_line(f"  frequent   {frequent}")), overflow="fold")
    if figures["documents"]:
        _print_documents(console, figures["documents"])
    else:
        _line(console, "  documents  unknown: no end-of-text token")
    for snippet in figures["snippets"]:
        _line(console, f"  from token {snippet['position']:,}")
        console.print(_coloured(snippet["tokens"], console), overflow="fold")


def _print_documents(console: Console, documents: Report) -> None:
    more = " or more" if documents["median"] == LONGEST else ""
    empty = f", {documents['empty']:,} empty ones besides" if documents["empty"] else ""
    _line(
        console,
        f"  documents  {documents['count']:,} of {documents['shortest']:,} to {documents['longest']:,} tokens, median "
        f"{documents['median']:,}{more}, mean {documents['mean']:,.1f}{empty}",
    )
    most = max(each["documents"] for each in documents["histogram"])
    for each in documents["histogram"]:
        bar = "█" * -(-_BAR * each["documents"] // most)
        _line(console, f"  {each['from']:>9,} +  {bar} {each['documents']:,}")
    of = "" if documents["compared"] == documents["count"] else f" of the first {documents['compared']:,}"
    _line(
        console,
        f"  repeated   {documents['repeated']:,}{of} begin as an earlier one does (first {START_TOKENS} tokens)",
    )
    for each in documents["most_repeated"]:
        console.print(Text(clean_line(f"  {each['documents']:>9,} ×  {''.join(each['tokens'])}")), overflow="fold")


def _coloured(tokens: list[str | None], console: Console) -> Text:
    """The tokens in two styles in turns; without colours with a stroke between them."""
    plain = console.color_system is None or console.no_color
    text = Text("  ")
    shown = [token for token in tokens if token != ""]  # a part of a character is shown with its last byte
    for number, token in enumerate(shown):
        if plain and number:
            text.append("│")
        style = _END_STYLE if token is None else _STYLES[number % 2]
        text.append("<|endoftext|>" if token is None else clean_line(token), None if plain else style)
    return text


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
