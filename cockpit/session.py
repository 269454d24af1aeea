"""One sitting at a run: opens its folder, puts a screen in front of the trainer or none, and ends with an exit code."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import msgspec

from cockpit import __version__, forking, launched
from cockpit import profile as profiles
from cockpit.forking import Fork
from cockpit.headless import HeadlessReporter
from cockpit.link import crew
from cockpit.link.local import LocalLink
from cockpit.options import USUAL, ScreenOptions
from cockpit.profile import Loaded
from cockpit.runs import Run, latest
from cockpit.sanitize import clean_line
from cockpit.state import RunState, reduce
from cockpit.stretch import Stretch
from cockpit.terminal import captured_console, is_interactive, screen_on_terminal
from cockpit.trackers import check_trackers
from cockpit.writeback import WriteBack
from gpt import checkpoint
from gpt.commands import Leave, Stop
from gpt.config import Profile, flatten, replace
from gpt.data import check_source
from gpt.errors import CheckpointError, ProfileError, RunError
from gpt.ranks import Ranks, check_share, launched_ranks
from gpt.runtime import prepare_process

POLL_SECONDS = 0.1
"""How often a run without a screen looks for events to print."""


def run(
    loaded: Loaded, *, run_name: str | None, runs_dir: Path, resume: bool, fork: str | None = None, headless: bool,
    options: ScreenOptions = USUAL,
) -> int:  # fmt: skip
    """Trains one run to its end and returns the exit code; where its pilot forks it on the screen, goes on as the fork.

    Args:
        fork: `RUN[@STEP]` to make the run from, `run_name` its name.

    0: all steps done, or stopped by its pilot. 1: our error. 2: the user's. 130 and 143: SIGINT and SIGTERM, saved.

    Raises a UserError, with nothing touched, where the profile, the data, the run or the terminal will not do.
    """
    if not headless and launched_ranks() > 1:
        raise RunError("one screen cannot show several ranks; add --headless to train without a screen")
    if not headless and not is_interactive():
        raise RunError("no terminal to draw on; add --headless to train without a screen")
    if fork is not None and resume:
        raise RunError("--fork begins a new run and --resume goes on with one; give one of them")
    if not headless:
        from cockpit import keymap

        keymap.load(keymap.usual_path())
    prepare_process()
    with crew.joined() as ranks:
        if not ranks.is_first:
            return crew.serve(ranks)
        with crew.told_in_any_case(ranks) as tell:
            if fork is None or launched.read().restart:  # then the fork is made already
                return _lead(loaded, run_name, runs_dir, resume, headless, options, ranks, tell)
            made, code = _fork(fork, run_name, runs_dir), 2
            try:
                code = _lead(loaded, made.name, runs_dir, True, headless, options, ranks, tell)
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
    loaded: Loaded, run_name: str | None, runs_dir: Path, resume: bool, headless: bool, options: ScreenOptions,
    ranks: Ranks, tell: crew.Tell,
) -> int:  # fmt: skip
    """The sitting of the first rank, or the only one: it has the run's folder, and tells the others what to train."""
    launch = launched.read()
    there = launch.run(runs_dir, run_name)
    if there is not None:
        run_name, resume = there.name, resume or there.checkpoint_time() is not None
    sitting = _resume(loaded, run_name, runs_dir) if resume else None
    profile = sitting.profile if sitting else loaded.profile
    check_share(profile, ranks.size)
    check_source(profile.data, profile.model)
    check_trackers(profile.track)
    folder = sitting.folder if sitting else there or Run.create(runs_dir, run_name, profile.name)
    with folder.lock():
        if not sitting:
            folder.write_profile(loaded.text)
            folder.write_facts(_facts(loaded, folder) | launch.facts(0))
        elif not launch.restart:
            facts = {"file_settings": _file_settings(loaded), **launch.facts(checkpoint.step_of(sitting.checkpoint))}
            folder.write_facts(folder.read_facts() | facts)
        checkpoint_path = sitting.checkpoint if sitting else None
        restarted = launch.restarted(checkpoint.step_of(checkpoint_path) if checkpoint_path else 0)
        link = LocalLink(
            folder, profile, resume=checkpoint_path, attended=not headless, ranks=ranks, restarted=restarted
        )
        tell(crew.Task(folder.path, checkpoint_path, profile))

        def reload_profile() -> Profile:
            again = profiles.load(loaded.path, loaded.overrides)
            return _resumed_profile(again, sitting.file_then, sitting.at_checkpoint) if sitting else again.profile

        def wrote(settings: dict[str, Any]) -> None:
            """What the screen has saved to the file is no edit of its pilot's that a resume would take up."""
            folder.write_facts(folder.read_facts() | {"file_settings": settings})

        file = WriteBack(loaded.path, wrote)
        code, fork = _sit(link, profile, reload_profile, file, folder, None if headless else options)
        if link.failure and link.failure.user_error and not sitting:
            folder.discard()
    if fork and not code:
        made = fork.run or forking.make(folder, forking.find_source(folder, None), fork.name)
        forking.become(forking.command(made, loaded.path, fork.overrides))
    return code


def _sit(
    link: LocalLink,
    profile: Profile,
    reload_profile: Callable[[], Profile],
    file: WriteBack,
    folder: Run,
    screen: ScreenOptions | None,
) -> tuple[int, Fork | None]:
    """Runs the trainer behind a screen, without one, or first the one and then the other.

    Returns the exit code, and the fork that its pilot has asked for.
    """
    fork = None
    with captured_console(folder.console_path) as outside:
        signals = _Signals(link)
        state, goes_on = RunState(max_steps=profile.train.max_steps), True
        with signals.installed():
            if screen:
                state, goes_on, fork = _show_screen(link, reload_profile, file, screen, outside, signals)
                if goes_on:
                    link.send(Leave())
            began = time.time()
            link.start()
            reporter = HeadlessReporter(profile, stream=outside, run=folder)
            reporter.state = state
            link.known = lambda: reporter.state
            _follow(link, reporter, since=0.0 if screen else began, silently=not goes_on)
            link.close()
        if link.crash:
            traceback.print_exception(link.crash)  # into console.log
    return _report_end(link, folder, signals), fork


def _show_screen(
    link: LocalLink,
    reload_profile: Callable[[], Profile],
    file: WriteBack,
    options: ScreenOptions,
    outside: IO[str],
    signals: _Signals,
) -> tuple[RunState, bool, Fork | None]:
    """Shows the screen until its pilot leaves.

    Returns what it knew, whether the run is to be followed in lines, and the fork that is to follow it.
    """
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
            choice = app.run()
            failed = bool(app.return_code)  # Textual has written why into console.log
    except Exception:
        traceback.print_exc()  # into console.log
        failed = True
    finally:
        signals.app = link.screen = None
    for number in (signal.SIGTSTP, signal.SIGCONT):  # Textual's own stay behind, and abort where it is gone
        signal.signal(number, signal.SIG_DFL)
    if failed:  # the screen can die, the run goes on
        outside.write("gpt-cockpit: the screen failed and is gone; the run goes on (ctrl+c saves and stops it)\n")
        choice = "detach"
    if link.alive and choice != "detach":
        outside.write("finishing the step" + (" and saving …\n" if choice == "stop" else " …\n"))
        outside.flush()
    return app.state, choice == "detach", app.fork if choice != "detach" else None


def _follow(link: LocalLink, reporter: HeadlessReporter, *, since: float, silently: bool) -> None:
    """Takes in events until the trainer has ended, then prints what was reached.

    Args:
        since: Unix time before which events are those of earlier sittings: taken in, not printed again.
        silently: print nothing before the end.
    """

    def take_in() -> None:
        for event in link.drain():
            if silently or isinstance(event, Stretch) or event.time < since:
                reporter.state = reduce(reporter.state, event)
                continue
            with suppress(OSError):  # whoever read our output is gone; the run goes on
                reporter.show(event)

    ended = False
    while not ended:
        ended = link.join(POLL_SECONDS)
        take_in()
    link.conclude(reporter.state)
    take_in()
    with suppress(OSError):
        reporter.close()


def _report_end(link: LocalLink, folder: Run, signals: _Signals) -> int:
    if link.failure:
        _complain(clean_line(link.failure.error))
        if link.failure.user_error:
            return 2
        _complain(f"this is our error; the details are in {folder.console_path}")
        return 1
    return 128 + signals.received if signals.received else 0


def _complain(text: str) -> None:
    sys.stderr.write(f"gpt-cockpit: {text}\n")


class _Signals:
    """Turns SIGINT and SIGTERM into an orderly stop; a second SIGINT ends at once, without saving."""

    def __init__(self, link: LocalLink) -> None:
        self.link = link
        self.received = 0
        self.app: Any = None

    @contextmanager
    def installed(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hang_up)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: object) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = number
        if self.app is not None:
            self.app.terminate()
        else:
            self.link.send(Stop(save=True))

    def _hang_up(self, number: int, frame: object) -> None:
        """The terminal is gone; the run goes on."""
        if self.app is not None:
            self.app.hang_up()


class _Sitting(msgspec.Struct, frozen=True):
    folder: Run
    checkpoint: Path
    profile: Profile
    at_checkpoint: Profile
    file_then: dict[str, Any]
    """What the profile's file said when the run was last started or resumed, by dotted key."""


def _resume(loaded: Loaded, run_name: str | None, runs_dir: Path) -> _Sitting:
    """The run to go on with, its newest whole checkpoint, and the profile it goes on with."""
    folder = Run.open(runs_dir, run_name) if run_name else latest(runs_dir, loaded.profile.name)
    if folder is None:
        raise RunError(f"no run of {loaded.profile.name} with a checkpoint under {runs_dir}; start without --resume")
    path, state, complaints = checkpoint.newest(folder.checkpoints_path)
    for complaint in complaints:
        _complain(f"passed over {clean_line(complaint)}")
    try:
        at_checkpoint = msgspec.convert(state["profile"], Profile)
    except msgspec.ValidationError as error:
        raise CheckpointError(
            f"{path}: its settings are not readable ({error}); use the program that wrote it"
        ) from None
    file_then: dict[str, Any] = folder.read_facts().get("file_settings", {})
    profile = _resumed_profile(loaded, file_then, at_checkpoint)
    if launched.read().has_saved(folder.read_facts(), state["step"]):
        profile = at_checkpoint
    wanted = {key: getattr(profile.model, key) for key in state["model"]}
    difference = checkpoint.shape_difference(state["model"], {k: v for k, v in wanted.items() if v is not None})
    if difference:
        raise CheckpointError(
            f"{path} holds another shape: {difference}; resume with its own profile, or start a new run"
        )
    return _Sitting(folder, path, profile, at_checkpoint, file_then)


def _resumed_profile(loaded: Loaded, file_then: dict[str, Any], at_checkpoint: Profile) -> Profile:
    """The settings in force at the checkpoint, with what its pilot has since edited in the file or asks for by --set.

    So a run started or changed with other settings than the file's goes on with those, without naming them again.
    """
    file_now, asked = _file_settings(loaded), flatten(loaded.profile)
    named = {override.split("=", 1)[0].strip() for override in loaded.overrides}
    overridden = {key for key in asked if key in named or asked[key] != file_now.get(key)}
    changes = {key: value for key, value in file_now.items() if key in file_then and value != file_then[key]}
    return replace(at_checkpoint, changes | {key: asked[key] for key in overridden})


def _file_settings(loaded: Loaded) -> dict[str, Any]:
    """What the file alone says, without --set; what cannot stand without it counts as said with it."""
    try:
        return flatten(profiles.load(loaded.path).profile)
    except ProfileError:
        return flatten(loaded.profile)


def _facts(loaded: Loaded, folder: Run) -> dict[str, Any]:
    """run.json: who, when, with what."""
    return {
        "run": folder.name, "profile": loaded.profile.name, "profile_path": str(loaded.path.resolve()),
        "overrides": list(loaded.overrides), "file_settings": _file_settings(loaded),
        "profile_sha256": hashlib.sha256(msgspec.json.encode(loaded.profile)).hexdigest(),
        "created": time.time(), "user": _user(), "host": platform.node(), "pid": os.getpid(), "argv": sys.argv[1:],
        "cockpit": __version__, "python": platform.python_version(), "system": platform.platform(), "git": _git(),
    }  # fmt: skip


def _user() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a passwd entry
        return None


def _git() -> dict[str, Any] | None:
    """Commit and cleanliness of the folder the run was started in, where it is a checkout."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
        changes = subprocess.run(
            ["git", "status", "--porcelain"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit.stdout.strip(), "clean": not changes.stdout.strip()}
