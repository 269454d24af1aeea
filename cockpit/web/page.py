"""The page that holds the screen: textual-serve's script and terminal, and nothing from the internet."""

from __future__ import annotations

from html import escape

# The names of classes and attributes are those that textual-serve's script looks for.
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/css/xterm.css">
<link rel="preload" href="/static/fonts/RobotoMono-VariableFont_wght.ttf" as="font" type="font/ttf" crossorigin>
<style>
@font-face {{
  font-family: "Roboto Mono"; font-weight: 100 700;
  src: url("/static/fonts/RobotoMono-VariableFont_wght.ttf");
}}
body {{ margin: 0; background: #000; color: #d5dbe3; font: 16px "Roboto Mono", monospace }}
#terminal {{ position: absolute; inset: 0 }}
.words {{ position: absolute; inset: 0; display: flex; align-items: center; justify-content: center; z-index: 10 }}
body.-first-byte .waiting, .gone {{ display: none }}
body.-closed .gone {{ display: flex; background: #000c }}
</style>
<script src="/static/js/textual.js"></script>
<script src="/page.js"></script>
</head>
<body>
<div class="words waiting">{title}</div>
<div class="words gone">The line to gpt-cockpit is cut. Where it still serves, load this page again.</div>
<div id="terminal" class="textual-terminal" data-session-websocket-url="ws://{host}/ws" data-font-size="15"></div>
</body>
</html>
"""

SCRIPT = """\
addEventListener("load", () => {
  const look = setInterval(() => {
    const keys = document.querySelector(".xterm-helper-textarea");
    if (keys) { clearInterval(look); keys.focus(); }
  }, 50);
});
"""
"""Lets keys reach the terminal without a click on it first."""


def page(title: str, host: str) -> str:
    """The page.

    Args:
        title: of its tab.
        host: name and port under which the browser has called.
    """
    return _PAGE.format(title=escape(title), host=escape(host))


def headers(host: str) -> dict[str, str]:
    """What the browser is told about every answer: load nothing from elsewhere, keep nothing, tell nobody."""
    return {
        "Content-Security-Policy": f"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        f"font-src 'self'; img-src 'self' data:; connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }
