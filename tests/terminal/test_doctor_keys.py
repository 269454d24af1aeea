"""The doctor in the real program: the line, the cards, and what their keys do to the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness import Cockpit

from gpt import events as ev

Start = Callable[..., Cockpit]


def test_d_shows_what_was_found_z_silences_it_and_enter_writes_a_profile(start: Start, desk: Path) -> None:
    profile = desk / "sums.toml"
    profile.write_text('expected_parameters = "124M"\n' + profile.read_text())
    cockpit = start()
    made = cockpit.wait_event(ev.DiagnosisMade, rule="model_size")
    assert made.severity == "critical"
    cockpit.wait_for("not 124M", "d why, and what to do", "×1")
    cockpit.press("d")
    cockpit.wait_for("critical", "expected_parameters says 124M", "z silence it")
    cockpit.press("\r")
    cockpit.wait_for("Write sums-fixed.toml?", 'extends = "sums.toml"')
    assert not (desk / "sums-fixed.toml").exists()
    cockpit.press("\r")
    cockpit.wait_for("wrote sums-fixed.toml")
    assert 'extends = "sums.toml"' in (desk / "sums-fixed.toml").read_text()
    cockpit.press("z")
    cockpit.wait_for("Silence model_size in this run?")
    cockpit.press("shrunk for a test\r")
    cockpit.wait_event(ev.ConfigChanged, key="doctor.silence", new='["model_size: shrunk for a test"]')
    cockpit.wait_event(ev.DiagnosisEnded, rule="model_size")
    cockpit.wait_for("silenced   model_size")
    cockpit.press("\x1b")
    cockpit.wait_for("d why, and what to do", gone=True)


def test_without_a_screen_the_doctor_speaks_in_the_log_and_in_a_line(start: Start, desk: Path) -> None:
    profile = desk / "sums.toml"
    profile.write_text('expected_parameters = "124M"\n' + profile.read_text())
    cockpit = start("sums.toml", "--headless", "--set", "train.max_steps=20")
    cockpit.wait_for("error  doctor: 0.07M parameters, not 124M", "all steps done")
    assert cockpit.wait_exit() == 0
    assert cockpit.wait_event(ev.DiagnosisMade, rule="model_size")
