"""What is told of a long job on standard error, on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest

from cockpit import progress
from cockpit.progress import Progress


class Stream(io.StringIO):
    def __init__(self, on_terminal: bool) -> None:
        super().__init__()
        self.isatty = lambda: on_terminal


def written(monkeypatch: pytest.MonkeyPatch, *, on_terminal: bool, slow: bool) -> str:
    """What a job of two parts writes."""
    stream = Stream(on_terminal)
    monkeypatch.setattr("sys.stderr", stream)
    for name in ("ON_TERMINAL", "ELSEWHERE"):
        monkeypatch.setattr(progress, name, 0.0 if slow else 3600.0)
    told = Progress()
    for line in ("50 %", "100 %"):
        if told.is_due():
            told.tell(line)
    told.close()
    return stream.getvalue()


def test_a_slow_job_is_told_in_lines_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(monkeypatch, on_terminal=False, slow=True) == "50 %\n100 %\n"


def test_on_a_terminal_one_line_is_drawn_over_and_gone_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = written(monkeypatch, on_terminal=True, slow=True)
    assert "\n" not in drawn and drawn.endswith("\r\x1b[K") and drawn.index("50 %") < drawn.index("100 %")


def test_a_quick_job_is_done_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(monkeypatch, on_terminal=False, slow=False) == ""
