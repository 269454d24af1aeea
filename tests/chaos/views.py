"""Gate 7: every view and table of the real program, in a pseudo-terminal, while every text that it meets is hostile.

What is looked at are the bytes that reach the terminal.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from cockpit.actions import ACTIONS
from cockpit.runs import Run
from gpt import events as ev
from tests.chaos import escapes, hostile
from tests.chaos.gate import MOST_FINDINGS, Effort, Outcome, gate, scratch_folder
from tests.patching import patched
from tests.terminal.harness import PROFILE, Cockpit


@gate("7b", "escapes: everything opened, every text hostile", unit="views", weight=16, waits=True)
def terminal(effort: Effort) -> Outcome:
    """The real program, each of its views by its key, and each command that prints a table."""
    findings: list[str] = []
    count = 0
    with scratch_folder() as folder:
        for seen in (_on_screen, _printed):
            try:
                for view, raw in seen(folder):
                    count += 1
                    if found := escapes.foreign(raw):
                        findings.append(f"{view}: {' '.join(found)[:150]}")
            except AssertionError as error:  # it has ended, or does not show what it should
                findings.append(" ".join(str(error).split())[:300])
        findings += _in_report(folder / "runs" / HOSTILE_RUN)
    note = "a hostile profile, text, prompts, log lines, another run's whole log"
    return Outcome(count + 1, findings[:MOST_FINDINGS], note)


HOSTILE_RUN = "hostile [bold]x[$error]"
"""Name of a run as others can make one: what does not print is refused."""
_ESCAPED = '"' + "".join(f"\\U{ord(char):08X}" for char in hostile.EVIL if not 0xD800 <= ord(char) < 0xE000) + '"'
"""A TOML string."""
SPEAK = f"import os, warnings\nEVIL = {hostile.EVIL.encode(errors='replace')!r}\nos.write(1, EVIL + b'\\n'); os.write(2, EVIL + b'\\n')\nwarnings.warn(EVIL.decode())\n"  # noqa: E501
"""What a library might say while the run begins: console.log holds it, and the screen shows that."""


def _desk(folder: Path) -> None:
    """A profile, its text and another run, all hostile."""
    words = hostile.EVIL.encode(errors="replace").decode()
    (folder / "evil.txt").write_text(
        "".join(f"{a} + {b} {words}\n".replace("\0", "") for a in range(15) for b in range(15))
    )
    profile = PROFILE.replace('"sums.txt"', '"evil.txt"').replace(
        'name = "sums"', f"name = {_ESCAPED}\ndescription = {_ESCAPED}"
    )
    profile = profile.replace('prompts = ["1 + "]', f"prompts = [{_ESCAPED}]").replace(
        "max_new_tokens = 40", "max_new_tokens = 8"
    )
    (folder / "evil.toml").write_text(profile.replace("# narrow", "# narrow [bold]x[/bold] \u202e \x9b31m"))
    run = Run(folder / "runs" / HOSTILE_RUN)
    run.checkpoints_path.mkdir(parents=True)
    run.write_profile(profile)
    run.write_facts(
        {key: words for key in ("run", "profile", "host", "user", "system", "git", "argv", "profile_path", "cockpit")}
    )
    events = [*_story(), *hostile.every_event(words), *hostile.every_event(words)]
    run.events_path.write_bytes(b"".join(map(ev.encode, events)))
    run.console_path.write_text(words * 3)


def _story() -> Iterator[ev.Event]:
    """Steps enough for curves."""
    for step in range(1, 40):
        yield ev.StepDone(
            step=step,
            loss=4.0 - step / 40,
            lr=1e-3,
            grad_norm=1.0,
            ms=3.0,
            mfu=0.1,
            tokens=step * 10,
            tokens_per_s=99.0,
        )


def _on_screen(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(view, the bytes written while it was opened and closed) of each action that has a key."""
    _desk(folder)
    env = patched(folder, {"gpt.trainer": SPEAK})
    with Cockpit("evil.toml", "--run", "[red]r", cwd=folder, env=env, columns=140, rows=45) as cockpit:
        cockpit.wait_for("RUNNING")
        seen = _whole(cockpit.raw)
        yield "the first screen", bytes(cockpit.raw[:seen])
        for action in ACTIONS:
            if not action.keys or action.id in ("quit", "cooldown", "theme"):
                continue
            key = _typed(action.keys.split(",")[0])
            if key is None:
                continue
            cockpit.press(key)
            _settle(cockpit)
            for more in ("\r", "\x1b[B", "\x1b"):
                cockpit.press(more)
                _settle(cockpit)
            cockpit.press("\x1b")
            _settle(cockpit)
            begun, seen = seen, _whole(cockpit.raw)
            yield action.id, bytes(cockpit.raw[begun:seen])
            if cockpit.process.poll() is not None:
                raise AssertionError(f"the program ended after {action.id}: {cockpit.text}")
    with Cockpit("replay", HOSTILE_RUN, cwd=folder, columns=140, rows=45) as cockpit:
        cockpit.wait_until(lambda: b"\x1b[?1049h" in cockpit.raw, "a screen")
        for key in ("", "v", "t", "d", "x", "g", "i", "T", "r"):
            cockpit.press(key + "\r" if key in "tr" else key)
            _settle(cockpit)
            cockpit.press("\x1b")
            _settle(cockpit)
        yield "replay", bytes(cockpit.raw)


def _whole(raw: bytearray) -> int:
    """Bytes up to which no sequence or character is cut in two."""
    tail = bytes(raw[-40:])
    escape = tail.rfind(b"\x1b")
    return len(raw) - (len(tail) - escape) if escape >= 0 else len(raw)


def _settle(cockpit: object) -> None:
    """Reads until nothing has been drawn for a moment, or for a second."""
    for _ in range(8):
        before = len(cockpit.raw)  # type: ignore[attr-defined]
        cockpit._read(0.12)  # type: ignore[attr-defined]
        if len(cockpit.raw) == before:  # type: ignore[attr-defined]
            return


def _typed(key: str) -> str | None:
    """The bytes of one of Textual's names of keys."""
    named = {
        "space": " ",
        "question_mark": "?",
        "plus": "+",
        "equals_sign": "=",
        "slash": "/",
        "tab": "\t",
        "left_square_bracket": "[",
        "right_square_bracket": "]",
    }
    if len(key) == 1:
        return key
    if key in named:
        return named[key]
    return chr(ord(key[-1]) - 96) if re.fullmatch(r"ctrl\+[a-z]", key) and key[-1] not in "cqz" else None


def _printed(folder: Path) -> Iterator[tuple[str, bytes]]:
    """(command, what it printed) of those that print, on a terminal."""
    for words in (
        ["runs"], ["compare", HOSTILE_RUN, "[red]r"], ["explain", HOSTILE_RUN], ["doctor", HOSTILE_RUN], ["doctor",
        "evil.toml"],
        ["plan", "evil.toml"], ["report", HOSTILE_RUN], ["export", HOSTILE_RUN], ["sample", HOSTILE_RUN], ["eval",
        "\x1b]52;c;x\x07"],
        ["evil.toml", "--set", "optim.\x1b[31m=\x9b3"], ["\x1b[31mnone.toml"], ["attach", "\x1b[2Jx"], ["evil.toml",
        "--run", "../\x1b[2J"],
        ["evil.toml", "--headless", "--set", "train.max_steps=4", "--run", "quiet"], ["data", "inspect", "evil.txt"],
        ["profiles"],
    ):  # fmt: skip
        with Cockpit(*words, cwd=folder, columns=140, rows=45) as cockpit:
            cockpit.wait_exit()
            yield " ".join(words)[:40].encode("ascii", "backslashreplace").decode(), bytes(cockpit.raw)


class _Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def _in_report(run: Path) -> list[str]:
    """What is wrong with the report that `gpt-cockpit report` has written of the hostile run."""
    pages = sorted(run.glob("report-*/report.html"))
    if not pages:
        return ["no report was written"]
    findings = []
    for path in pages[0].parent.rglob("*"):
        if path.suffix in (".html", ".md", ".svg"):
            text = path.read_text()
            findings += [
                f"{path.name} holds U+{ord(char):04X}" for char in sorted(set(text)) if not escapes.is_plain(char)
            ]
    tags = _Tags(pages[0].read_text())
    findings += [
        f"report.html has an element {tag}" for tag in tags.tags & {"script", "iframe", "object", "embed", "form"}
    ]
    return findings + [f"report.html has {name}" for name in tags.attributes if name.startswith("on")]
