"""Gate 4: signals in every phase, to the real program in a pseudo-terminal: saved or going on, the terminal mended."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import psutil

from gpt import events as ev
from tests.chaos.gate import Effort, Outcome, gate, scratch_folder, spread
from tests.patching import patched
from tests.terminal.harness import PROFILE, ROOT, Cockpit
from tests.terminal.holding import HOLD, HOLDS, SETTINGS
from tests.tiny_runs import sums

PHASES = {"starting": {"gpt.trainer": HOLD + "build = held(build)"}, **HOLDS, "paused": {}}
_MODE = re.compile(rb"\x1b\[\?([0-9;]+)([hl])")
_AT_REST = {b"25": True, b"7": True}
"""Modes that are on in a terminal that nobody uses; all others are off."""


def modes_left(raw: bytes) -> list[str]:
    """The private modes that a terminal is left in, other than those of one at rest."""
    last: dict[bytes, bool] = {}
    for numbers, switch in _MODE.findall(raw):
        last |= dict.fromkeys(numbers.split(b";"), switch == b"h")
    return [
        f"?{number.decode()}{'h' if on else 'l'}" for number, on in last.items() if on != _AT_REST.get(number, False)
    ]


def _send(*numbers: signal.Signals, pause: float = 0.15) -> Callable[[Cockpit], None]:
    def send(cockpit: Cockpit) -> None:
        for number in numbers:
            if cockpit.process.poll() is None:
                cockpit.process.send_signal(number)
            cockpit._read(pause)

    return send


def _stop_and_continue(cockpit: Cockpit) -> None:
    """As ctrl+z and fg do."""
    front = psutil.Process(cockpit.process.pid)
    for _ in range(2):
        entered = cockpit.raw.count(b"\x1b[?1049h")
        cockpit.process.send_signal(signal.SIGTSTP)
        cockpit.wait_until(lambda: front.status() == psutil.STATUS_STOPPED, "it is stopped")
        cockpit.wait_until(cockpit.modes_restored, "the shell's modes while it is stopped")
        cockpit.process.send_signal(signal.SIGCONT)
        cockpit.wait_until(lambda n=entered: cockpit.raw.count(b"\x1b[?1049h") > n, "the screen is back")
        cockpit.wait_until(lambda: not cockpit.modes_restored(), "its own modes")


def _resize(cockpit: Cockpit) -> None:
    """A window's corner, dragged wildly."""
    chance = random.Random(1)
    for _ in range(150):
        cockpit.resize(chance.randrange(20, 200), chance.randrange(5, 60))
        cockpit._read(0.002)
    cockpit.resize(120, 35)


def _kill_run(cockpit: Cockpit) -> None:
    os.kill(cockpit.run_pid, signal.SIGKILL)


def _kill_front(cockpit: Cockpit) -> None:
    cockpit.process.kill()


Then = signal.Signals | None
SIGNALS: dict[str, tuple[Callable[[Cockpit], None], Then, set[int]]] = {
    "HUP": (_send(signal.SIGHUP), None, {0}),
    "INT": (_send(signal.SIGINT), None, {130}),
    "INT INT": (_send(signal.SIGINT, signal.SIGINT), None, {130}),
    "INT INT INT": (_send(signal.SIGINT, signal.SIGINT, signal.SIGINT, pause=0.05), None, {130}),
    "TERM": (_send(signal.SIGTERM), None, {143}),
    "QUIT": (_send(signal.SIGQUIT), None, {-signal.SIGQUIT}),
    "USR1": (_send(signal.SIGUSR1), None, {75}),
    "TSTP, CONT": (_stop_and_continue, signal.SIGTERM, {143}),
    "WINCH × 150": (_resize, signal.SIGTERM, {143}),
    "KILL of the run": (_kill_run, None, {-signal.SIGKILL}),
    "KILL of what the shell waits for": (_kill_front, None, {-signal.SIGKILL}),
}
"""What is sent, what ends the run afterwards, and the exit codes that are right."""


@gate("4", "signals in every phase, in a pseudo-terminal", unit="pairs", weight=42)
def signals(effort: Effort) -> Outcome:
    """Each signal once, in a phase that the seed chooses; in the long run, each in each."""
    cells = [(name, phase) for name in SIGNALS for phase in PHASES]
    if effort.scale < 2:
        phases = list(PHASES)
        cells = [(name, phases[(number + effort.seed) % len(phases)]) for number, name in enumerate(SIGNALS)]
        cells = cells[: effort.count(len(cells))]
    found = spread(_cell, cells, effort.workers)
    tried = f"{len(cells)} of {len(SIGNALS) * len(PHASES)} pairs: {len(SIGNALS)} signals, {len(PHASES)} phases"
    return Outcome(len(cells), [finding for each in found for finding in each], note=tried)


def _cell(cell: tuple[str, str]) -> list[str]:
    """What is wrong after one signal in one phase."""
    name, phase = cell
    try:
        with scratch_folder() as desk:
            (desk / "sums.txt").write_text(sums(60))
            (desk / "sums.toml").write_text(PROFILE)
            with Cockpit("sums.toml", "--run", "r", *SETTINGS, cwd=desk, env=patched(desk, PHASES[phase])) as cockpit:
                return [f"{name} while {phase}: {wrong}" for wrong in _signalled(cockpit, name, phase)]
    except AssertionError as error:
        return [f"{name} while {phase}: {' '.join(str(error).split())[:200]}"]


def _signalled(cockpit: Cockpit, name: str, phase: str) -> list[str]:
    act, then, codes = SIGNALS[name]
    hold = cockpit.cwd / "hold"
    if phase != "paused":
        hold.touch()
    cockpit.wait_until(lambda: b"\x1b[?1049h" in cockpit.raw, "the screen")
    if phase == "paused":
        cockpit.wait_event(ev.StepDone, step=3)
        cockpit.press(" ")
        cockpit.wait_for("PAUSED")
    elif phase != "starting" and phase != "running":
        cockpit.wait_event(ev.StateChanged, state=phase)
    elif phase == "running":
        cockpit.wait_event(ev.RunStarted)
    else:
        cockpit.wait_event(ev.StateChanged, detail="building the model")
    run = psutil.Process(cockpit.run_pid)
    act(cockpit)
    hold.unlink(missing_ok=True)
    if then:
        cockpit.process.send_signal(then)
    if name == "HUP" and phase == "paused":  # it stays paused, without a screen
        cockpit.wait_until(lambda: b"\x1b[?1049l" in cockpit.raw, "the screen is left")
        cockpit.process.send_signal(signal.SIGTERM)
        codes = {143}
    code = cockpit.wait_exit()
    wrong = [] if code in codes else [f"exit code {code}, not {codes}"]
    try:
        run.wait(30)
    except psutil.TimeoutExpired:
        wrong.append("the run is an orphan")
    if name.startswith("KILL of what"):
        raw, mended = bytes(cockpit.raw), _reset(cockpit)
        if not modes_left(raw) or mended:
            wrong += mended or ["nothing was left to be mended"]
        return wrong
    cockpit._read(0.1)
    wrong += [] if cockpit.modes_restored() else ["the terminal's modes are not as before (tcgetattr)"]
    if left := modes_left(bytes(cockpit.raw)):
        wrong.append(f"the terminal is left in {' '.join(left)}")
    done = [event.step for event in cockpit.events() if isinstance(event, ev.StepDone)]
    saved = [event.step for event in cockpit.events() if isinstance(event, ev.CheckpointSaved)]
    if (
        name in ("HUP", "INT", "TERM", "USR1", "TSTP, CONT", "WINCH × 150")
        and done
        and max(saved, default=0) < max(done)
    ):
        wrong.append(f"step {max(done)} was done, {max(saved, default=0)} is saved")
    return wrong


def _reset(cockpit: Cockpit) -> list[str]:
    """What is wrong after `gpt-cockpit reset` in the terminal that a killed one has left."""
    time.sleep(0.1)
    subprocess.run(
        [sys.executable, "-m", "cockpit", "reset"], stdin=cockpit._slave, stdout=cockpit._slave, stderr=cockpit._slave,
        cwd=cockpit.cwd, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60, check=True,
    )  # fmt: skip
    cockpit._read(0.2)
    wrong = [] if cockpit.modes_restored() else ["reset does not restore the modes (tcgetattr)"]
    left = modes_left(bytes(cockpit.raw))
    return [*wrong, f"reset leaves {' '.join(left)}"] if left else wrong
