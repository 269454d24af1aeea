"""Sittings without a trainer: the list of runs on a screen, and the replay of one."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from cockpit.options import USUAL, ScreenOptions
from cockpit.runs import Run
from cockpit.sanitize import clean
from cockpit.terminal import captured_console, is_interactive, screen_on_terminal
from gpt.errors import RunError

if TYPE_CHECKING:
    from cockpit.app import CockpitApp

CPU_SHARE = 0.3
"""Share of a core that the screen may take where nothing is trained beside it."""


def show_runs(runs_dir: Path) -> int:
    """Shows the runs of a folder until the screen is left, then does what was asked for there. Returns the exit code.

    Raises RunError where there is no terminal.
    """
    need_terminal()
    from cockpit.runs_app import RunsApp

    app = RunsApp(runs_dir)
    code = show(app)
    if code == 0 and app.start_next:
        sys.stdout.write(f"{app.start_next.command}\n")
        sys.stdout.flush()
        if app.start_next.at_once:
            os.execv(sys.executable, [sys.executable, "-m", "cockpit", *app.start_next.arguments])
    return code


def replay(name: str, runs_dir: Path, *, speed: float, at_end: bool, options: ScreenOptions = USUAL) -> int:
    """Plays a run's log until the screen is left. Returns the exit code.

    Raises RunError where there is no such run, the speed is none, or there is no terminal.
    """
    run = Run.open(runs_dir, name)
    if not 1 <= speed <= 1000:
        raise RunError(f"--speed takes 1 to 1000 times as fast; got {speed:g}")
    need_terminal(f"{shlex.join(['gpt-cockpit', 'report', run.name, *run.where()])} writes what there is to see")
    from cockpit.app import CockpitApp
    from cockpit.link.replay import ReplayLink
    from cockpit.screens.replay import ReplayScreen

    link = ReplayLink(run, at_end=at_end, speed=speed)
    return show(CockpitApp(link, main=ReplayScreen(link), options=options))


def need_terminal(instead: str = "gpt-cockpit runs, without --screen, prints the runs") -> None:
    """Raises RunError where there is none."""
    if not is_interactive():
        raise RunError(f"no terminal to draw on; {instead}")


def show(app: CockpitApp, share: float = CPU_SHARE) -> int:
    """Runs an app on the terminal; what is printed meanwhile is shown afterwards if it fails. Returns the exit code.

    Args:
        share: of a core that the screen may take.
    """
    from cockpit.budget import FrameBudget

    app.budget = FrameBudget(share)
    received: list[int] = []

    def end(number: int, frame: object) -> None:
        received.append(number)
        app.hang_up(signal.Signals(number).name)

    failed = False
    with tempfile.TemporaryDirectory(prefix="gpt-cockpit-") as folder:
        console = Path(folder) / "console.log"
        before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            with captured_console(console) as outside:
                try:
                    with screen_on_terminal(outside):
                        app.run()
                        failed = bool(app.return_code)
                except Exception:
                    traceback.print_exc()
                    failed = True
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        for number in (signal.SIGTSTP, signal.SIGCONT):  # Textual's own stay behind, and abort where it is gone
            signal.signal(number, signal.SIG_DFL)
        if failed:
            sys.stderr.write(clean(console.read_text(encoding="utf-8", errors="replace")))
            sys.stderr.write("gpt-cockpit: the screen failed; this is our error\n")
            return 1
    return 128 + received[0] if received else 0
