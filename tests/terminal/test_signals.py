"""Signals, a dying screen and a lost terminal: the run is saved or goes on, and the terminal is as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import ROOT, Cockpit

from gpt import events as ev
from tests.chaos.signalled import modes_left
from tests.patching import patched
from tests.patience import wait_until

Start = Callable[..., Cockpit]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("headless", [False, True])
def test_an_interrupt_finishes_the_step_saves_and_exits(
    start: Start, number: signal.Signals, code: int, headless: bool
) -> None:
    cockpit = start("sums.toml", *(["--headless"] if headless else []))
    cockpit.wait_event(ev.StepDone, step=3)
    cockpit.process.send_signal(number)
    assert cockpit.wait_exit() == code
    finished = cockpit.wait_event(ev.Finished)
    assert cockpit.wait_event(ev.CheckpointSaved, reason="stop").step == finished.step
    assert max(e.step for e in cockpit.events() if isinstance(e, ev.StepDone)) == finished.step
    assert cockpit.modes_restored()
    if not headless:
        for mode in (b"1049", b"1002", b"1006", b"1004", b"2004"):
            assert cockpit.raw.rindex(b"\x1b[?%bl" % mode) > cockpit.raw.rindex(b"\x1b[?%bh" % mode)
        for mode in (b"25", b"7"):
            assert cockpit.raw.rindex(b"\x1b[?%bh" % mode) > cockpit.raw.rindex(b"\x1b[?%bl" % mode)


def test_a_terminal_that_a_killed_program_has_left_is_put_back_by_reset(start: Start) -> None:
    cockpit = start()
    cockpit.wait_for("RUNNING")
    cockpit.process.kill()
    cockpit.wait_exit()
    assert not cockpit.modes_restored() and modes_left(bytes(cockpit.raw))
    command = [sys.executable, "-m", "cockpit", "reset"]
    terminal = {"stdin": cockpit._slave, "stdout": cockpit._slave, "stderr": cockpit._slave}
    subprocess.run(command, cwd=ROOT, check=True, **terminal)
    cockpit.wait_until(lambda: not modes_left(bytes(cockpit.raw)), "nothing is left on")
    assert cockpit.modes_restored()
    assert subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL).returncode == 2


def test_an_interrupt_breaks_a_running_evaluation_off(start: Start, desk: Path) -> None:
    """Each of its batches is made to last a second; it has more of them than the test has patience."""
    (desk / "sitecustomize.py").write_text(
        "import sys, threading, time\n"
        "def slow_down():\n"
        "    while not hasattr(sys.modules.get('gpt.trainer'), 'Trainer'): time.sleep(0.01)\n"
        "    evaluate = sys.modules['gpt.evaluate']\n"
        "    real = evaluate.to_device\n"
        "    evaluate.to_device = lambda *arguments: (time.sleep(1), real(*arguments))[1]\n"
        "if 'cockpit' in ' '.join(sys.orig_argv): threading.Thread(target=slow_down, daemon=True).start()\n"
    )
    cockpit = start(
        "sums.toml", "--headless", "--set", "train.eval_interval=50", "--set", "train.eval_steps=1000",
        env={"PYTHONPATH": f"{desk}{os.pathsep}{ROOT}"},
    )  # fmt: skip
    cockpit.wait_event(ev.StateChanged, state="evaluating")
    cockpit.process.send_signal(signal.SIGTERM)
    assert cockpit.wait_exit() == 143, cockpit.text
    assert not [e for e in cockpit.events() if isinstance(e, ev.EvalDone)]
    assert cockpit.wait_event(ev.Finished).reason == "stopped"


def test_a_signal_before_the_trainer_is_up_stops_it_all_the_same(start: Start) -> None:
    cockpit = start()
    cockpit.wait_until(lambda: b"\x1b[?1049h" in cockpit.raw, "the alternate screen")
    cockpit.process.send_signal(signal.SIGTERM)
    assert cockpit.wait_exit() == 143
    assert cockpit.modes_restored()


def test_a_detached_run_outlives_its_terminal(start: Start) -> None:
    """A closing terminal sends SIGHUP and then SIGCONT; neither may end a run whose screen was left on purpose."""
    cockpit = start("sums.toml", "--set", "train.max_steps=2500")
    cockpit.wait_event(ev.StepDone, step=3)
    cockpit.press("q")
    cockpit.wait_for("without a screen")
    cockpit.press("d")
    assert cockpit.wait_exit() == 0, "the prompt comes back"
    assert cockpit.modes_restored()
    assert f"gpt-cockpit attach {cockpit.run_dir.name}" in cockpit.text
    os.kill(cockpit.run_pid, signal.SIGHUP)
    os.kill(cockpit.run_pid, signal.SIGCONT)
    cockpit.hang_up()
    cockpit.wait_end()
    assert cockpit.wait_event(ev.Finished).reason == "max_steps"
    assert [e.step for e in cockpit.events() if isinstance(e, ev.StepDone)] == list(range(1, 2501))


def test_a_continue_signal_starts_no_second_reader_of_keys(start: Start) -> None:
    """SIGCONT without a stop before it, on a screen that is up and on one that is being left."""
    cockpit = start("sums.toml", "--set", "train.max_steps=1500")
    cockpit.wait_event(ev.StepDone, step=3)
    for _ in range(3):
        cockpit.process.send_signal(signal.SIGCONT)
        cockpit.press(" ")
        cockpit.wait_for("PAUSED")
        cockpit.press(" ")
        cockpit.wait_for("RUNNING")
    cockpit.press("q")
    cockpit.wait_for("without a screen")
    cockpit.press("d")
    for _ in range(20):
        cockpit.process.send_signal(signal.SIGCONT)
        time.sleep(0.01)
    assert cockpit.wait_exit() == 0
    assert cockpit.modes_restored()
    cockpit.wait_end()
    assert cockpit.wait_event(ev.Finished).reason == "max_steps"


_CONTINUED_WHILE_IT_WRITES = """
import os, signal
_put, _puts = WriterThread.write, []
def write(self, text):
    _puts.append(text)
    if len(_puts) == 40:
        with self._queue.mutex:  # as Queue.put holds it
            os.kill(os.getpid(), signal.SIGCONT)
    _put(self, text)
WriterThread.write = write
"""


def test_a_continue_signal_in_the_middle_of_a_write_brings_the_screen_back(start: Start, desk: Path) -> None:
    """As a page in a browser has it each time that the screen comes to another tab."""
    cockpit = start("sums.toml", env=patched(desk, {"textual.drivers._writer_thread": _CONTINUED_WHILE_IT_WRITES}))
    cockpit.wait_until(lambda: cockpit.raw.count(b"\x1b[?1049h") == 2, "the alternate screen, once more")
    cockpit.wait_until(lambda: b"ms/iter" in cockpit.raw.split(b"\x1b[?1049h")[2], "all of it, drawn anew")
    cockpit.press(" ")
    cockpit.wait_for("PAUSED")


def test_a_stop_and_continue_bring_the_screen_back(start: Start) -> None:
    """As ctrl+z and fg in a shell do: the terminal is the shell's in between."""
    cockpit = start("sums.toml", "--set", "train.max_steps=1500")
    cockpit.wait_event(ev.StepDone, step=3)
    cockpit.process.send_signal(signal.SIGTSTP)
    cockpit.wait_until(lambda: b"\x1b[?1049l" in cockpit.raw, "the alternate screen is left")
    cockpit.wait_until(cockpit.modes_restored, "the shell's modes")
    entered = cockpit.raw.count(b"\x1b[?1049h")
    cockpit.screen.reset()  # what was drawn before is gone from a terminal
    cockpit.process.send_signal(signal.SIGCONT)
    cockpit.wait_until(lambda: cockpit.raw.count(b"\x1b[?1049h") > entered, "the alternate screen is back")
    cockpit.wait_for("loss", "ms/iter", "perplexity", "goodput", "sample")
    cockpit.press(" ")
    cockpit.wait_for("PAUSED")
    cockpit.press(" q")
    cockpit.wait_for("without a screen")
    cockpit.press("d")
    assert cockpit.wait_exit() == 0
    assert cockpit.modes_restored()


def test_a_screen_that_cannot_start_leaves_the_run_going(start: Start, desk: Path) -> None:
    broken = "def broken(self): raise RuntimeError('broken on purpose')\nCockpitApp.run = broken"
    cockpit = start("sums.toml", "--set", "train.max_steps=300", env=patched(desk, {"cockpit.app": broken}))
    assert cockpit.wait_exit() == 0
    assert cockpit.wait_event(ev.Finished).reason == "max_steps"
    assert "the run goes on" in cockpit.raw.decode(errors="replace")
    assert "broken on purpose" in (cockpit.run_dir / "console.log").read_text()
    assert cockpit.modes_restored()


def test_what_anything_prints_lands_in_the_log_and_never_on_the_screen(start: Start, desk: Path) -> None:
    speak = (
        "import os, warnings\n"
        "os.write(1, b'from-fd-one\\n'); os.write(2, b'from-fd-two\\n')\n"
        "warnings.warn('from-a-warning'); print('from-print', flush=True)\n"
        "os.system('echo from-a-child')\n"
    )
    said = ["from-fd-one", "from-fd-two", "from-a-warning", "from-print", "from-a-child"]
    cockpit = start(env=patched(desk, {"gpt.trainer": speak}), columns=200, rows=50)
    cockpit.wait_for("RUNNING", *said)  # in the log pane
    console = (cockpit.run_dir / "console.log").read_text()
    assert all(text in console for text in said)

    def logged() -> bool:  # the file follows the screen by a moment
        lines = [e.text for e in cockpit.events() if isinstance(e, ev.LogLine) and e.source == "console"]
        return all(any(text in line for line in lines) for text in said)

    wait_until(logged, "the lines in events.jsonl")
    cockpit.press(" ")
    screen = cockpit.wait_for("PAUSED")
    assert "from-fd-one" not in screen.split("─ log ")[0]
