"""The command line. Imports nothing heavy: `--help` answers at once."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

from cyclopts import App, CycloptsError, Parameter

from cockpit import __version__, commands_data, commands_eval, commands_sample, commands_steer
from cockpit.arguments import AsJson, Data, ForkSource, NewRunName, Overrides, ProfileName, RunName, RunsDir, Theme
from cockpit.commands_attach import attach, link
from cockpit.commands_compare import compare
from cockpit.commands_doctor import doctor
from cockpit.commands_explain import explain
from cockpit.commands_export import export
from cockpit.commands_plan import plan
from cockpit.commands_report import report
from cockpit.commands_serve import serve
from cockpit.helptext import Hanging
from cockpit.options import ScreenOptions
from cockpit.quantity import duration
from cockpit.sanitize import clean_line
from cockpit.signals import AtOnce
from gpt.errors import UserError
from gpt.ranks import launched_rank, launched_ranks

if TYPE_CHECKING:
    from cockpit.profile import Others

app = App(
    name="gpt-cockpit",
    help="Trains a small GPT on this machine and puts its pilot in front of it.",
    usage="Usage: gpt-cockpit PROFILE [--data SOURCE] [OPTIONS]\n"
    "       gpt-cockpit PROFILE --fork RUN[@STEP] [--run NAME]\n"
    "       gpt-cockpit PROFILE --nproc N [--max-restarts N] [OPTIONS]\n"
    "       gpt-cockpit serve PROFILE [--port N] [OPTIONS]\n"
    "       gpt-cockpit runs [--screen] [--json]\n"
    "       gpt-cockpit attach [RUN|user@host:RUN] [--watch]\n"
    "       gpt-cockpit wait|stop|pause|continue RUN\n"
    "       gpt-cockpit send RUN COMMAND [KEY=VALUE …]\n"
    "       gpt-cockpit replay RUN [--speed N] [--end] [--theme NAME]\n"
    "       gpt-cockpit keys\n"
    "       gpt-cockpit reset\n"
    "       gpt-cockpit bench PROFILE [--baseline] [--screen] [--json]\n"
    "       gpt-cockpit import CKPT.PT [--data FOLDER] [--run NAME]\n"
    "       gpt-cockpit plan PROFILE [--device CARD …] [--days N] [--json]\n"
    "       gpt-cockpit doctor PROFILE|RUN|--log FILE [--json]\n"
    "       gpt-cockpit explain RUN [--line TEXT] [--json]\n"
    "       gpt-cockpit compare RUN RUN… [--at tokens] [--json]\n"
    "       gpt-cockpit export RUN --to FORM --out PATH\n"
    "       gpt-cockpit report RUN [--out DIR] [--json]\n"
    "       gpt-cockpit sample SOURCE [PROMPT] [--json]\n"
    "       gpt-cockpit eval SOURCE [--against SOURCE …] [--json]\n"
    "       gpt-cockpit data prepare SOURCE... --out DIR\n"
    "       gpt-cockpit data list [--json]\n"
    "       gpt-cockpit data inspect FOLDER|FILE [--tokenizer NAME] [--json]\n"
    "       gpt-cockpit data tokenizer SOURCE... --vocab-size N --out FILE.tiktoken\n",
    version=__version__,
    help_flags=["--help", "-h"],
    help_formatter=Hanging(),
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=(), show_default=False),
)

app.command(explain)
app.command(export)
app.command(commands_data.app)
app.command(plan)
app.command(doctor)
app.command(compare)
app.command(report)
app.command(serve)
app.command(attach)
app.command(link, show=False)
app.command(commands_steer.wait)
app.command(commands_steer.stop)
app.command(commands_steer.pause)
app.command(commands_steer.continue_, name="continue")
app.command(commands_steer.send)


@app.default
def train(
    profile: Annotated[
        str | None, Parameter(help="A profile: a TOML file, or the bare name of one that is there.")
    ] = None,
    /,
    *,
    overrides: Overrides = (),
    data: Data = (),
    run: NewRunName = None,
    runs_dir: RunsDir = Path("runs"),
    resume: Annotated[
        bool,
        Parameter(
            help="Go on with --run, or else with the profile's newest run. --resume auto: begin anew where there is "
            "nothing to go on with."
        ),
    ] = False,
    resume_auto: Annotated[bool, Parameter(show=False)] = False,
    fork: ForkSource = None,
    nproc: Annotated[int | None, Parameter(help="Train on this many ranks of this machine, a process each.")] = None,
    max_restarts: Annotated[int, Parameter(help="With --nproc: starts anew after a rank died.", show_default=True)] = 3,
    headless: Annotated[bool, Parameter(help="Print lines instead of drawing a screen.")] = False,
    detach: Annotated[
        bool, Parameter(help="Give the prompt back once training has begun; gpt-cockpit attach shows the run.")
    ] = False,
    max_time: Annotated[
        str | None, Parameter(help="Save and end with exit code 75 after so long: 3h30m, 90m, 1d12h.")
    ] = None,
    theme: Theme = None,
    readonly: Annotated[bool, Parameter(help="Only watch: every key that would change the run is refused.")] = False,
    thin: Annotated[bool, Parameter(help="Send the terminal less: for a slow or dear line.")] = False,
) -> int:
    """Trains a profile.

    Without a profile: shows the runs that are there, if any, on a terminal; otherwise what can be trained.
    """
    from cockpit.terminal import is_interactive

    if profile is None:
        if is_interactive() and any(runs_dir.glob("*/run.json")):
            return runs(screen=True, runs_dir=runs_dir)
        _print(_overview())
        return 0
    from cockpit import front
    from cockpit import profile as profiles

    deadline = None if max_time is None else time.monotonic() + duration(max_time, "--max-time")
    if nproc is None and (detach or (is_interactive() and not headless)):
        front.split(needs_terminal=not detach)
    loaded = profiles.load(profiles.find(profile, lambda: _others(runs_dir)), overrides)
    if data:
        from cockpit.preparation import other_data

        loaded = profiles.load(loaded.path, (*overrides, other_data(data, loaded.profile.data)))
    options = ScreenOptions(theme=theme, readonly=readonly, thin=thin)
    if nproc is not None:
        from cockpit import launching
        from cockpit.watching import need_terminal

        if not headless and not detach:
            need_terminal("--headless trains without one")
        launch = launching.prepare(
            loaded, run_name=run, runs_dir=runs_dir, resume="auto" if resume_auto else resume, fork=fork, nproc=nproc,
            max_restarts=max_restarts, deadline=deadline,
        )  # fmt: skip
        if headless and not detach:
            return launching.train(launch)
        return launching.train_with_screen(launch, None if detach else options)
    from cockpit import session

    return session.run(
        loaded, run_name=run, runs_dir=runs_dir, resume="auto" if resume_auto else resume, fork=fork,
        headless=headless, options=options, detach=detach, deadline=deadline,
    )  # fmt: skip


@app.command
def runs(
    *,
    screen: Annotated[bool, Parameter(help="On a screen: sort, filter, open, compare, resume, delete.")] = False,
    json: AsJson = False,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """Lists the runs: state, steps, losses, speed."""
    if screen:
        from cockpit import watching

        return watching.show_runs(runs_dir)
    from cockpit import listing
    from cockpit.runs import list_runs

    summaries = [listing.summarize(run) for run in list_runs(runs_dir)]
    _print(listing.as_json(summaries) if json else listing.as_table(summaries, runs_dir))
    return 0


@app.command
def reset() -> int:
    """Puts a terminal back that a killed gpt-cockpit (kill -9) has left without an echo, or full of its screen."""
    from cockpit import terminal

    if not terminal.mend():
        raise UserError("there is no terminal here to put back; type it in the one that was left")
    return 0


@app.command
def keys() -> int:
    """Lists every action, its key, and the name by which keys.toml gives it another."""
    from cockpit import keymap
    from cockpit.actions import ACTIONS

    keymap.load(keymap.usual_path())
    width = max(len(action.id) for action in ACTIONS)
    lines = [f"{action.id:<{width}}  {action.key_label or '-':<9} {action.help}" for action in ACTIONS]
    _print("\n".join([*lines, "", f"Other keys: {keymap.usual_path()}"]))
    return 0


@app.command
def replay(
    run: RunName,
    /,
    *,
    speed: Annotated[float, Parameter(help="How many times as fast as it was, 1 to 1000.", show_default=True)] = 10,
    end: Annotated[bool, Parameter(help="Begin at the end: all of it in view, and followed if it goes on.")] = False,
    theme: Theme = None,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """Plays a run again from its log."""
    from cockpit import watching

    return watching.replay(run, runs_dir, speed=speed, at_end=end, options=ScreenOptions(theme=theme))


@app.command(name="import")
def import_(
    checkpoint: Annotated[Path, Parameter(help="nanoGPT's ckpt.pt.")],
    /,
    *,
    data: Annotated[Path | None, Parameter(help="Folder of its train.bin and val.bin, where it is not found.")] = None,
    run: NewRunName = None,
    runs_dir: RunsDir = Path("runs"),
) -> int:
    """Makes a run of a nanoGPT checkpoint, to go on from."""
    from cockpit.importing import import_nanogpt

    _print(import_nanogpt(checkpoint, data, run, runs_dir))
    return 0


@app.command
def bench(
    profile: ProfileName,
    /,
    *,
    overrides: Overrides = (),
    steps: Annotated[int, Parameter(help="Steps that are timed.", show_default=True)] = 100,
    warmup: Annotated[int, Parameter(help="Steps before them that are not.", show_default=True)] = 20,
    repeats: Annotated[int, Parameter(help="Measurements, each in a process of its own.", show_default=True)] = 3,
    baseline: Annotated[bool, Parameter(help="Also time a plain loop doing the same work, in turns.")] = False,
    screen: Annotated[bool, Parameter(help="Also what the screen costs: runs with and without it, in turns.")] = False,
    columns: Annotated[int, Parameter(help="Width of that screen.", show_default=True)] = 120,
    rows: Annotated[int, Parameter(help="Height of that screen.", show_default=True)] = 35,
    seconds: Annotated[
        float, Parameter(help="Measured with it and without it, in each repeat.", show_default=True)
    ] = 20.0,
    json: AsJson = False,
) -> int:
    """Times a profile's real step, and says where the time goes."""
    from cockpit import benchmark
    from cockpit import profile as profiles

    loaded = profiles.load(profiles.find(profile), overrides)
    measure = benchmark.Plan(
        steps=steps, warmup=warmup, repeats=repeats, baseline=baseline,
        screen=screen, columns=columns, rows=rows, seconds=seconds,
    )  # fmt: skip
    try:
        result = benchmark.bench(loaded, measure)
    except benchmark.MeasurementError as error:
        sys.stderr.write(f"gpt-cockpit: {clean_line(str(error))}\n")
        return 1
    _print(dumps(result, indent=1) if json else benchmark.as_table(loaded.profile, result))
    return 0


app.command(commands_sample.sample)
app.command(commands_eval.evaluate, name="eval")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits: 0, 1 for our error, 2 for the user's, 130 for an interrupt; a run that was saved
    because its time was up, 75."""
    try:
        code = app(_spelled_out(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except UserError as error:
        _refuse(error)
    except CycloptsError as error:
        _refuse(f"{error} See gpt-cockpit --help")
    except AtOnce:
        _end(130)
    except KeyboardInterrupt:
        _leave(130)
    except BrokenPipeError:
        _leave_broken_pipe()
    _leave(code or 0)


def _spelled_out(arguments: Sequence[str]) -> list[str]:
    """`--resume auto` as one word: --resume alone takes no value, and what follows it may be the profile."""
    words = list(arguments)
    for at, word in enumerate(words):
        if word == "--":
            break
        if word == "--resume=auto" or (word == "--resume" and words[at + 1 : at + 2] == ["auto"]):
            words[at : at + 1 + (word == "--resume")] = ["--resume-auto"]
    return words


def _others(runs_dir: Path) -> Others:
    """What the first word may stand for, where it is no profile."""
    from cockpit.profile import Others
    from cockpit.runs import list_runs

    typed = {run.name: f"gpt-cockpit replay {clean_line(run.name)}" for run in list_runs(runs_dir)}
    typed |= {name: f"gpt-cockpit {name}" for name in app if not name.startswith("-") and app[name].show}
    return Others("command", typed, "gpt-cockpit --help lists the commands")


def _overview() -> str:
    """What the program is and what it can train here."""
    from cockpit.profile import shipped, short

    lines = [
        "gpt-cockpit trains a small GPT on this machine: live curves, honest clocks, and keys to steer it.",
        "",
        "  gpt-cockpit PROFILE            train, with a screen (--headless: without; --resume: go on)",
        "  gpt-cockpit PROFILE --set train.max_steps=100",
        "  gpt-cockpit PROFILE --data TEXT|NAME   on other text: files, folders, a set of `data list`",
        "  gpt-cockpit plan PROFILE       what a run will take, here or on any card",
        "  gpt-cockpit doctor PROFILE|RUN what is wrong with it, and what to do",
        "  gpt-cockpit serve PROFILE      the same screen in a browser of this machine",
        "  gpt-cockpit runs               what has been trained here",
        "  gpt-cockpit attach [RUN]       the screen of one that another process trains",
        "  gpt-cockpit replay RUN         one of them again, at any speed",
        "  gpt-cockpit explain RUN        what each of its numbers says; --line: a line of nanoGPT's",
        "  gpt-cockpit compare RUN RUN…   losses at equal steps, tokens, FLOPs, seconds, and why they differ",
        "  gpt-cockpit report RUN         its curves, samples and diagnoses as a page",
        "  gpt-cockpit sample RUN         let it continue a prompt",
        "  gpt-cockpit eval RUN           its loss, perplexity and bits per byte; --against others",
        "  gpt-cockpit --help             all options",
        "",
    ]
    profiles = [(f"gpt-cockpit {shlex.quote(str(short(path)))}", description) for path, _, description in shipped()]
    if not profiles:
        return "\n".join([*lines, "There are no profiles here; gpt-cockpit PATH takes any."])
    lines.append("Profiles:")
    for command, description in profiles:
        lines += [f"  {clean_line(command)}", f"      {clean_line(description)}"]
    return "\n".join(lines)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _refuse(reason: object) -> NoReturn:
    if launched_rank() == 0:  # what is wrong before they have met is wrong for every rank alike
        sys.stderr.write(f"gpt-cockpit: {clean_line(str(reason))}\n")
    _leave(2)


def _leave(code: int) -> NoReturn:
    """Ends the process. Of several ranks each ends at once: threads of their network, for which nothing waits, may want
    the interpreter while it is taken down, and then abort a process that has done all it had to do."""
    if launched_ranks() > 1:
        _end(code)
    sys.exit(code)


def _end(code: int) -> NoReturn:
    """Ends the process without taking the interpreter down."""
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _leave_broken_pipe() -> NoReturn:
    """Whoever read our output has gone (`| head`): no complaint, and none from the interpreter's last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(128 + signal.SIGPIPE)
