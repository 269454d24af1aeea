"""`bench --screen` on the real program: every figure is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness import ROOT

from cockpit import profile as profiles
from cockpit import trial


def test_a_run_behind_the_screen_gives_every_figure(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    monkeypatch.setattr(trial, "SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(trial, "KEY_PRESSES", 2)
    loaded = profiles.load(desk / "sums.toml")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    attempt = trial.Trial(
        loaded.path, trial.settings(loaded.profile, compiled=False), environment, seconds=3.5, columns=100, rows=30
    )
    window = attempt.with_screen()
    assert window.tokens_per_s > 0
    assert window.first_frame_s is not None and window.key_ms and min(window.key_ms) > 0
    figures = (window.frames_per_s, window.cpu_ms_per_frame, window.screen_share, window.bytes_per_frame)
    assert all(figure is not None and figure > 0 for figure in figures), window
