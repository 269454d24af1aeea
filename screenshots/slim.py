"""Rich's picture of a screen at about half its bytes: the same cells, and nothing fetched from elsewhere."""

from __future__ import annotations

import re

FONTS = '"Fira Code", "DejaVu Sans Mono", "Noto Sans Mono", Menlo, Consolas, monospace'
"""Whatever is there: each run of cells is as wide as it should be by its `textLength`."""
_LEFT_OUT = (
    re.compile(r"@font-face \{.*?\n    \}\n", re.DOTALL),  # from a server, without braille, never in an <img>
    re.compile(r"\s*<!-- Generated .*?-->"),
    re.compile(r' clip-path="url\(#line-\d+\)"'),
    re.compile(r'<clipPath id="line-\d+">.*?</clipPath>\n?', re.DOTALL),
    re.compile(r"<text [^>]*>\n</text>"),  # the end of a row
    re.compile(r' shape-rendering="crispEdges"'),
)


def slim(svg: str) -> str:
    """The same picture, smaller."""
    svg = re.sub(r"terminal-\d+-", "", svg)
    for pattern in _LEFT_OUT:
        svg = pattern.sub("", svg)
    svg = svg.replace("&#160;", "\u00a0").replace("Fira Code, monospace", FONTS)
    ground = re.search(r'<rect fill="(#\w+)" stroke', svg)
    if ground:  # what has the screen's own colour is seen anyway
        svg = re.sub(rf'<rect fill="{ground[1]}" x="[^>]*?/>', "", svg)
    svg = re.sub(r'="(\d+\.\d)\d+"', r'="\1"', svg)
    # One rule for all rectangles instead of an attribute each: no seams between cells.
    return svg.replace(".matrix {", "rect { shape-rendering: crispEdges }\n    .matrix {", 1)
