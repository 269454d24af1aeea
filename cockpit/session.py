"""One sitting at a run: opens its folder, puts a screen in front of the trainer or none, and ends with an exit code."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
import traceback
from asyncio import CancelledError
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from cockpit import forking, front, launched
from cockpit import profile as profiles
from cockpit.facts import facts_of
from cockpit.following import Follower, note_departure
from cockpit.forking import Fork
from cockpit.headless import HeadlessReporter
from cockpit.link import crew
from cockpit.link.base import nobody_looks
from cockpit.link.local import LocalLink
from cockpit.options import USUAL, Manner, ScreenOptions
from cockpit.profile import Loaded
from cockpit.resuming import Resume, file_settings, resumed_profile, sitting_for
from cockpit.runs import Run
from cockpit.sanitize import clean_line
from cockpit.signals import MORE_TO_DO, Signals
from cockpit.state import RunState
from cockpit.terminal import Outside, captured_console, is_interactive, screen_on_terminal
from cockpit.trackers import check_trackers
from cockpit.writeback import WriteBack
from gpt import checkpoint
from gpt.commands import Leave
from gpt.config import Profile
from gpt.data import check_source
from gpt.errors import RunError
from gpt.ranks import Ranks, check_share, launched_ranks
from gpt.runtime import prepare_process


def run(
    loaded: Loaded, *, run_name: str | None, runs_dir: Path, resume: Resume, fork: str | None = None, headless: bool,
    options: ScreenOptions = USUAL, detach: bool = False, deadline: float | None = None,
) -> int:  # fmt: skip
    """Trains one run to its end and returns the exit code; where its pilot forks it on the screen, goes on as the fork.

    Args:
        fork: `RUN[@STEP]` to make the run from, `run_name` its name.
        detach: go on alone once training has begun; cockpit.front has been split off by the caller.
        deadline: time.monotonic() at which the run saves and ends with 75; None: never.

    0: all steps done, or stopped by its pilot. 1: our error. 2: the user's. 75: saved, for its time was up. 130, 143:
    saved at SIGINT and SIGTERM.

    Raises a UserError, with nothing touched, where the profile, the data, the run or the terminal will not do.
    """
    headless = headless or detach
    if detach and launched_ranks() > 1:
        raise RunError("torchrun waits for its ranks, so that --detach cannot leave it; start torchrun itself in tmux")
    if not headless and launched_ranks() > 1:
        raise RunError("one screen cannot show several ranks; add --headless to train without a screen")
    if not headless and not is_interactive():
        raise RunError("no terminal to draw on; add --headless to train without a screen")
    if fork is not None and resume:
        raise RunError("--fork begins a new run and --resume goes on with one; give one of them")
    if not headless:
        from cockpit import keymap

        keymap.load(keymap.usual_path())
    manner = Manner(screen=None if headless else options, detach=detach, deadline=deadline)
    prepare_process()
    with crew.joined() as ranks:
        if not ranks.is_first:
            return crew.serve(ranks)
        with crew.told_in_any_case(ranks) as tell:
            if fork is None or launched.read().restart:  # then the fork is made already
                return _lead(loaded, run_name, runs_dir, resume, manner, ranks, tell)
            made, code = _fork(fork, run_name, runs_dir), 2
            try:
                code = _lead(loaded, made.name, runs_dir, True, manner, ranks, tell)
            finally:
                if code:
                    forking.discard(made)  # where it has come to nothing
            return code


def _fork(source: str, name: str | None, runs_dir: Path) -> Run:
    """A new run made of another's checkpoint."""
    run_name, place = forking.parse_source(source)
    run = Run.open(runs_dir, run_name)
    return forking.make(run, forking.find_source(run, place), name)


def _lead(
    loaded: Loaded, run_name: str | None, runs_dir: Path, resume: Resume, manner: Manner, ranks: Ranks,
    tell: crew.Tell,
) -> int:  # fmt: skip
    """The sitting of the first rank, or the only one: it has the run's folder, and tells the others what to train."""
    launch = launched.read()
    there = launch.run(runs_dir, run_name)
    if there is not None:
        run_name, resume = there.name, resume is True or there.checkpoint_time() is not None
    sitting = sitting_for(loaded, run_name, runs_dir, resume)
    profile = sitting.profile if sitting else loaded.profile
    check_share(profile, ranks.size)
    check_source(profile.data, profile.model)
    check_trackers(profile.track)
    folder = sitting.folder if sitting else there or Run.create(runs_dir, run_name, profile.name)
    with folder.lock():
        if not sitting:
            folder.write_profile(loaded.text)
            folder.write_facts(facts_of(loaded, folder) | launch.facts(0))
        elif not launch.restart:
            facts = {"file_settings": file_settings(loaded), **launch.facts(checkpoint.step_of(sitting.checkpoint))}
            folder.write_facts(folder.read_facts() | facts)
        checkpoint_path = sitting.checkpoint if sitting else None
        restarted = launch.restarted(checkpoint.step_of(checkpoint_path) if checkpoint_path else 0)
        attended = manner.screen is not None
        link = LocalLink(folder, profile, resume=checkpoint_path, attended=attended, ranks=ranks, restarted=restarted)
        tell(crew.Task(folder.path, checkpoint_path, profile))

        def reload_profile() -> Profile:
            again = profiles.load(loaded.path, loaded.overrides)
            return resumed_profile(again, sitting.file_then, sitting.at_checkpoint) if sitting else again.profile

        def wrote(settings: dict[str, Any]) -> None:
            """What the screen has saved to the file is no edit of its pilot's that a resume would take up."""
            folder.write_facts(folder.read_facts() | {"file_settings": settings})

        code, fork = _sit(link, reload_profile, WriteBack(loaded.path, wrote), folder, manner)
        if link.failure and link.failure.user_error and not sitting:
            folder.discard()
    if fork and not code:
        made = fork.run or forking.make(folder, forking.find_source(folder, None), fork.name)
        forking.become(forking.command(made, loaded.path, fork.overrides))
    return code


def _sit(
    link: LocalLink, reload_profile: Callable[[], Profile], file: WriteBack, folder: Run, manner: Manner
) -> tuple[int, Fork | None]:
    """Runs the trainer behind a screen, without one, or first the one and then the other.

    Returns the exit code, and the fork that its pilot has asked for.
    """
    left = Left(RunState(max_steps=link.profile.train.max_steps))
    with captured_console(folder.console_path) as outside:

        def let_go() -> None:
            """The prompt comes back, where a shell waits for a front; otherwise the run goes on here in lines."""
            if front.is_there():
                _say(outside, _farewell(folder))
                outside.let_go()
                front.leave()

        signals = Signals(link.send)
        with signals.installed(manner.deadline):
            if manner.screen:
                left = _show_screen(link, reload_profile, file, manner.screen, outside, signals)
                if left.goes_on:
                    note_departure(link, left.why)
                    link.send(Leave())
                if left.is_cut_off:
                    _say(outside, _farewell(folder))
                    outside.let_go()
                    front.live_on()
                elif left.on_purpose:
                    let_go()
            began = time.time()
            link.start()
            follower = Follower(
                link, HeadlessReporter(link.profile, stream=outside, run=folder), outside, state=left.state,
                since=0.0 if manner.screen else began,
                silent=manner.detach or outside.is_let_go or not (left.goes_on or manner.screen is None),
            )  # fmt: skip
            follower.follow(signals, let_go if manner.detach else None)
            link.close()
        if link.crash:
            traceback.print_exception(link.crash)  # into console.log
    return _report_end(link, folder, signals), left.fork


class Left(msgspec.Struct, frozen=True):
    """How a screen was left, if there was one."""

    state: RunState
    """What it knew."""
    goes_on: bool = False
    """Whether the run does, without a screen."""
    why: str = ""
    on_purpose: bool = False
    is_cut_off: bool = False
    """Whether there is no terminal any more."""
    fork: Fork | None = None
    """The fork that is to follow the run."""


def _show_screen(
    link: LocalLink,
    reload_profile: Callable[[], Profile],
    file: WriteBack,
    options: ScreenOptions,
    outside: Outside,
    signals: Signals,
) -> Left:
    """Shows the screen until its pilot leaves, or it can be shown no longer."""
    from cockpit.app import CockpitApp
    from cockpit.recall import Recall

    app = signals.app = CockpitApp(
        link, reload_profile=reload_profile, file=file, options=options, recall=Recall.usual()
    )
    link.screen = app.budget
    link.known = lambda: (app.homes[0] if app.homes else app).state  # whatever is visited meanwhile
    choice, failed = None, False
    try:
        with screen_on_terminal(outside):
            try:
                choice = app.run()
                failed = bool(app.return_code)  # Textual has written why into console.log
            finally:
                app.abandon()  # before the terminal is put back, or what still waits to be drawn would be after that
    except (Exception, SystemExit, CancelledError):  # a second ctrl+c alone is meant
        traceback.print_exc()  # into console.log
        failed = True
    finally:
        signals.app = link.screen = None
        link.when_standing_changes(nobody_looks)
    for number, handler in ((signal.SIGTSTP, _stand_still), (signal.SIGCONT, signal.SIG_DFL)):
        signal.signal(number, handler)  # Textual's own stay behind, and abort where it is gone
    if app.gone_because and (failed or choice == "detach"):
        return Left(app.state, goes_on=True, why=app.gone_because, is_cut_off=True)
    if failed:  # the screen can die, the run goes on
        _say(outside, "gpt-cockpit: the screen failed and is gone; the run goes on (ctrl+c saves and stops it)\n")
        return Left(app.state, goes_on=True, why="the screen failed (console.log has the details)")
    if choice == "detach":
        return Left(app.state, goes_on=True, why="its pilot has left the screen", on_purpose=True)
    if link.alive:
        _say(outside, "finishing the step" + (" and saving …\n" if choice == "stop" else " …\n"))
    return Left(app.state, fork=app.fork)


def _stand_still(number: int, frame: object) -> None:
    """SIGTSTP without a screen. Where a front waits, the system would drop it: no shell knows of our group."""
    os.kill(os.getpid(), signal.SIGSTOP)


def _farewell(folder: Run) -> str:
    attach = shlex.join(["gpt-cockpit", "attach", folder.name, *folder.where()])
    return f"{folder.name} goes on without a screen, process {os.getpid()}\n  {attach}\n"


def _say(outside: Outside, text: str) -> None:
    """Writes to the terminal, if there still is one."""
    with suppress(OSError):
        outside.write(text)
        outside.flush()


def _report_end(link: LocalLink, folder: Run, signals: Signals) -> int:
    if link.failure:
        _complain(clean_line(link.failure.error))
        if link.failure.user_error:
            return 2
        whose = "" if link.failure.rank_lost else "this is our error; "
        _complain(f"{whose}the details are in {folder.console_path}")
        return 1
    code = signals.exit_code
    if code == MORE_TO_DO:
        if link.is_complete:
            return 0
        _complain("time is up; what was done is saved, --resume auto goes on with it")
    return code


def _complain(text: str) -> None:
    sys.stderr.write(f"gpt-cockpit: {text}\n")
