"""A report as one HTML file: no script, nothing fetched, dark or light as the reader's screen is, fit to be printed."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

from cockpit.reporting.document import (
    Block,
    Document,
    Figures,
    Finding,
    Paragraph,
    Plot,
    Sample,
    Section,
    Source,
    Table,
)  # fmt: skip
from cockpit.reporting.palette import PLOT_RULES, VARIABLES
from cockpit.reporting.safe import line, xml

_RULES = """\
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
main, header, footer { max-width: 1024px; margin: 0 auto; padding: 0 32px }
header { padding-top: 36px }
h1 { font-size: 27px; line-height: 1.2; margin: 0 0 6px; color: var(--bright); overflow-wrap: anywhere }
h2 { font-size: 16px; margin: 40px 0 12px; padding-bottom: 6px; color: var(--bright);
  border-bottom: 1px solid var(--rule) }
p { margin: 8px 0; overflow-wrap: anywhere }
.about, footer, .note { color: var(--dim) }
.state { font-size: 12px; font-weight: 700; letter-spacing: .06em; padding: 3px 9px; border-radius: 3px;
  vertical-align: 5px; margin-left: 12px; color: var(--on); background: var(--dim) }
.running, .finished { background: var(--good) } .stopped, .stopping { background: var(--warning) }
.failed { background: var(--critical) } .paused { background: var(--paused) }
nav { margin: 18px 0 0; font-size: 13px; color: var(--dim) }
nav a { color: var(--dim); text-decoration: none; margin-right: 16px; white-space: nowrap }
nav a:hover { color: var(--train) }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 1px; margin: 0; background: var(--rule);
  border: 1px solid var(--rule); border-radius: 6px; overflow: hidden }
.tiles div { background: var(--ground); padding: 10px 14px 11px }
.tiles dt { font-size: 12.5px; color: var(--dim) }
.tiles dd { margin: 0; font-size: 21px; line-height: 1.35; color: var(--bright); font-variant-numeric: tabular-nums }
.tiles dd small { display: block; font-size: 12px; color: var(--dim); min-height: 1.4em }
.warning { color: var(--warning) } .critical { color: var(--critical) }
p.warning, p.critical { border-left: 3px solid; padding-left: 12px }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums }
th { text-align: left; font-weight: 500; color: var(--dim); border-bottom: 1px solid var(--rule) }
th, td { padding: 4px 14px 4px 0; vertical-align: top }
td { border-bottom: 1px solid var(--raised); overflow-wrap: anywhere }
th.n, td.n { text-align: right; white-space: nowrap }
td.n + td:not(.n), th.n + th:not(.n) { padding-left: 14px }
figure { margin: 0 }
figure svg, figure img { display: block; width: 100%; height: auto }
.plots { display: grid; grid-template-columns: 1fr 1fr; gap: 18px 20px }
.plots .wide { grid-column: 1 / -1 }
.finding { border-left: 3px solid var(--dim); padding: 1px 0 1px 14px; margin: 14px 0 }
.finding.warning { border-color: var(--warning); color: inherit }
.finding.critical { border-color: var(--critical); color: inherit }
.finding .note { font-size: 13px }
.finding h3 { font-size: 15px; margin: 2px 0; color: var(--bright) }
.finding h3 span { font-size: 12px; font-weight: 600; text-transform: uppercase; letter-spacing: .05em;
  margin-right: 8px; color: var(--dim) }
.finding.warning h3 span { color: var(--warning) } .finding.critical h3 span { color: var(--critical) }
.finding dl { display: flex; flex-wrap: wrap; gap: 2px 20px; margin: 6px 0; font-size: 13px; color: var(--dim) }
.finding dt, .finding dd { display: inline; margin: 0 } .finding dd { color: var(--text) }
h3.prompt { font: 600 13px/1.4 ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace;
  margin: 22px 0 4px; color: var(--bright); white-space: pre-wrap; overflow-wrap: anywhere }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(290px, 1fr)); gap: 12px }
.sample { border: 1px solid var(--rule); border-radius: 5px; padding: 8px 12px }
.sample figcaption { font-size: 12px; color: var(--dim); margin-bottom: 3px }
pre { margin: 0; font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace;
  white-space: pre-wrap; overflow-wrap: anywhere; tab-size: 4 }
.sample pre { max-height: 19em; overflow-y: auto } .sample b { color: var(--train); font-weight: 600 }
details summary { cursor: pointer; color: var(--dim); margin-bottom: 8px }
footer { padding: 36px 32px 40px; font-size: 13px }
@media (max-width: 760px) { .tiles { grid-template-columns: 1fr 1fr } .plots { grid-template-columns: 1fr }
  main, header, footer { padding-left: 16px; padding-right: 16px } }
@media print { body { font-size: 11pt } nav { display: none } .sample pre { max-height: none }
  main, header, footer { max-width: none; padding: 0 } h2 { break-after: avoid }
  figure, tr, .finding, .sample, .tiles { break-inside: avoid }
  .state, .tiles, rect { print-color-adjust: exact; -webkit-print-color-adjust: exact } }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Nothing is fetched and nothing is run, whatever a text holds."""


def as_html(document: Document, screen: str | None = None) -> str:
    """The document as a page that holds all it needs.

    Args:
        screen: a picture of the screen as SVG, to be shown at the end.
    """
    sections = [*document.sections]
    names = [(_id(section.title), section.title) for section in sections]
    shown = [f'<section id="{name}">\n<h2>{xml(section.title)}</h2>\n{_body(section)}\n</section>'
             for (name, _), section in zip(names, sections, strict=True)]  # fmt: skip
    if screen is not None:
        names.append(("screen", "Screen"))
        data = base64.b64encode(screen.encode()).decode()
        shown.append(
            '<section id="screen">\n<h2>The screen when this was written</h2>\n<figure><img alt="the screen of '
            f'gpt-cockpit" src="data:image/svg+xml;base64,{data}"></figure>\n</section>'
        )
    links = "\n".join(f'<a href="#{name}">{xml(title)}</a>' for name, title in names)
    state = re.sub(r"\W", "", document.state)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{xml(document.title)}</title>\n<style>\n{VARIABLES}{_RULES}{PLOT_RULES}</style>\n</head>\n<body>\n"
        f'<header>\n<h1>{xml(document.title)}<span class="state {state}">{xml(document.state.upper())}</span></h1>\n'
        f'<p class="about">{xml(document.about)}</p>\n<nav>\n{links}\n</nav>\n</header>\n<main>\n'
        + "\n".join(shown)
        + f"\n</main>\n<footer>{xml(document.made_by)}</footer>\n</body>\n</html>\n"
    )


def _id(title: str) -> str:
    return re.sub(r"[^a-z]+", "-", title.lower()).strip("-")


def _body(section: Section) -> str:
    parts = [_group(kind, list(blocks)) for kind, blocks in groupby(section.blocks, key=type)]
    body = "\n".join(parts)
    return f"<details>\n<summary>show</summary>\n{body}\n</details>" if section.folded else body


def _group(kind: type, blocks: Sequence[Any]) -> str:
    """Blocks of one kind; plots stand side by side, and so do samples of one prompt."""
    if kind is Plot:
        return '<div class="plots">\n' + "\n".join(map(_plot, blocks)) + "\n</div>"
    if kind is Sample:
        return "\n".join(_samples(prompt, same) for prompt, same in groupby(blocks, key=lambda each: each.prompt))
    return "\n".join(_WRITERS[kind](block) for block in blocks)


def _figures(block: Figures) -> str:
    tiles = (f"<div><dt>{xml(what)}</dt><dd>{xml(value)}<small>{xml(note)}</small></dd></div>"
             for what, value, note in block.tiles)  # fmt: skip
    return '<dl class="tiles">\n' + "\n".join(tiles) + "\n</dl>"


def _paragraph(block: Paragraph) -> str:
    return f'<p class="{block.tone}">{xml(block.text)}</p>'


def _table(block: Table) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag}{_number(n, block)}>{xml(cell)}</{tag}>" for n, cell in enumerate(row))

    head = f"<thead><tr>{cells('th', block.head)}</tr></thead>\n" if any(block.head) else ""
    rows = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in block.rows)
    note = f'\n<p class="note">{xml(block.note)}</p>' if block.note else ""
    return f'<div class="scroll"><table>\n{head}<tbody>\n{rows}\n</tbody>\n</table></div>{note}'


def _number(column: int, block: Table) -> str:
    return ' class="n"' if column in block.numeric else ""


def _plot(block: Plot) -> str:
    wide = ' class="wide"' if block.wide else ""
    return f"<figure{wide}>\n{block.svg}\n</figure>"


def _samples(prompt: str, blocks: Iterable[Sample]) -> str:
    shown = "\n".join(f'<figure class="sample"><figcaption>{xml(each.about)}</figcaption>'
                      f"<pre><b>{xml(each.prompt)}</b>{xml(each.text)}</pre></figure>" for each in blocks)  # fmt: skip
    return f'<h3 class="prompt">“{xml(line(prompt))}”</h3>\n<div class="samples">\n{shown}\n</div>'


def _finding(block: Finding) -> str:
    evidence = "".join(f"<div><dt>{xml(name)} </dt><dd>{xml(value)}</dd></div>" for name, value in block.evidence)
    reference = f'<p class="note">{xml(block.reference)}</p>' if block.reference else ""
    tone = re.sub(r"\W", "", block.severity)
    return (
        f'<div class="finding {tone}"><h3><span>{xml(block.severity)}</span>'
        f"{xml(block.title)}</h3><p>{xml(block.why)}</p><p>{xml(block.advice)}</p><dl>{evidence}</dl>{reference}</div>"
    )


def _source(block: Source) -> str:
    return f"<pre>{xml(block.text)}</pre>"


_WRITERS: dict[type[Block], Callable[[Any], str]] = {
    Figures: _figures, Paragraph: _paragraph, Table: _table, Plot: _plot, Finding: _finding, Source: _source,
}  # fmt: skip
