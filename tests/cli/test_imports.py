"""What may import what, looked at in fresh interpreters: a light module must not pull in a heavy one."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
HEAVY = ("torch", "textual", "transformers")


def imported_by(code: str) -> set[str]:
    """Names of the modules that are loaded after `code` ran in an interpreter of its own."""
    code += "\nimport sys\nsys.stderr.write('\\n' + ' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stderr.split("\n")[-1].split())


@pytest.mark.parametrize(
    "module",
    [
        "gpt.events", "gpt.commands", "gpt.config", "gpt.schedule", "gpt.steering", "gpt.ledger", "gpt.flops",
        "gpt.errors", "gpt.live", "gpt.strict", "gpt.guard", "gpt.noise", "gpt.memory", "cockpit.cli",
        "cockpit.profile", "cockpit.source", "cockpit.runs", "cockpit.planning.plan", "cockpit.planning.here",
        "cockpit.eventlog", "cockpit.state", "cockpit.reducer", "cockpit.headless", "cockpit.listing",
        "cockpit.glance", "cockpit.logfile", "cockpit.logbook", "cockpit.deletion", "cockpit.watching",
        "cockpit.link.replay",
        "cockpit.commands_export", "cockpit.export", "cockpit.card", "cockpit.curves", "cockpit.trackers",
        "cockpit.mirror", "cockpit.checkup", "cockpit.remedy", "cockpit.doctor.rounds",
        "gpt.watchdog", "cockpit.front",
        "gpt.agenda", "gpt.keys", "cockpit.effects", "cockpit.orders", "cockpit.pilotage", "cockpit.writeback",
        "cockpit.explaining.numbers", "cockpit.explaining.line", "cockpit.commands_explain", "cockpit.references",
        "cockpit.doctor.examination", "cockpit.doctor.gathering", "cockpit.commands_doctor", "cockpit.nanogpt_log",
        "cockpit.commands_compare", "cockpit.comparing.reading", "cockpit.comparing.report", "cockpit.references",
        "cockpit.locate", "cockpit.commands_sample", "cockpit.commands_eval", "cockpit.commands_report",
        "cockpit.chronicle",
        "cockpit.commands_attach", "cockpit.commands_steer", "cockpit.steering", "cockpit.link.socket",
        "cockpit.link.bridge", "cockpit.link.server",
        "cockpit.commands_serve", "cockpit.web.door", "cockpit.web.page", "cockpit.web.program",
    ],
)  # fmt: skip
def test_a_light_module_imports_neither_torch_nor_textual(module: str) -> None:
    assert not imported_by(f"import {module}").intersection(HEAVY)


@pytest.mark.parametrize(
    "module",
    [
        "cockpit.session", "cockpit.link.local", "cockpit.app", "cockpit.runs_app", "cockpit.screens.replay",
        "cockpit.reporting.writing", "cockpit.reporting.stage", "cockpit.screens.report",
    ],
)  # fmt: skip
def test_the_first_frame_does_not_wait_for_torch(module: str) -> None:
    assert "torch" not in imported_by(f"import {module}")


@pytest.mark.parametrize("module", ["gpt.trainer", "gpt.data", "gpt.checkpoint"])
def test_the_engine_runs_without_the_screen(module: str) -> None:
    loaded = imported_by(f"import {module}")
    assert not {name.split(".")[0] for name in loaded}.intersection({"cockpit", "textual", "rich"})


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"], ["--version"], [], ["runs", "--help"], ["export", "--help"], ["eval", "--help"], ["eval", "none"],
        ["compare", "--help"], ["report", "--help"], ["report", "none"], ["no such profile"],
    ],
)  # fmt: skip
def test_answers_that_train_nothing_import_nothing_heavy(arguments: list[str]) -> None:
    code = f"from cockpit.cli import main\ntry:\n    main({arguments!r})\nexcept SystemExit:\n    pass"
    assert not imported_by(code).intersection((*HEAVY, "numpy"))


def test_the_contracts_between_the_packages_are_kept() -> None:
    lint_imports = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([str(lint_imports), "--no-cache"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout
