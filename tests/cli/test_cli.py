"""The command line: what it answers, its exit codes, and errors of one line."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from cockpit import __version__, cli
from gpt import errors

PROFILE = '[data]\nname = "python-stdlib"\n'


class Session:
    """Stands in for cockpit.session: keeps what it was asked, answers with a code or an error."""

    def __init__(self, answer: int | BaseException = 0) -> None:
        self.answer = answer
        self.asked: dict[str, Any] = {}

    def run(self, loaded: Any, **asked: Any) -> int:
        self.asked = {"loaded": loaded, **asked}
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    session = Session()
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(PROFILE)
    monkeypatch.setitem(sys.modules, "cockpit.session", SimpleNamespace(run=session.run))  # type: ignore[arg-type]
    monkeypatch.setattr("cockpit.session", sys.modules["cockpit.session"], raising=False)
    return session


def exit_code(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    return left.value.code


def test_a_profile_is_loaded_and_handed_to_a_session_with_the_options(session: Session) -> None:
    code = exit_code(
        "mine.toml", "--set", "train.max_steps=7", "--set", "optim.learning_rate=1e-3", "--run", "x",
        "--runs-dir", "elsewhere", "--resume", "--headless",
    )  # fmt: skip
    assert code == 0
    loaded = session.asked.pop("loaded")
    assert (loaded.profile.train.max_steps, loaded.profile.optim.learning_rate) == (7, 1e-3)
    assert loaded.overrides == ("train.max_steps=7", "optim.learning_rate=1e-3")
    session.asked.pop("options")
    assert session.asked.pop("fork") is None
    assert not session.asked.pop("detach") and session.asked.pop("deadline") is None
    assert session.asked == {"run_name": "x", "runs_dir": Path("elsewhere"), "resume": True, "headless": True}


def test_text_named_on_the_command_line_is_made_into_tokens_once_and_trained_on(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("texts").mkdir()
    for number in range(20):
        Path(f"texts/{number}.txt").write_text("one two three\n" * 40)
    assert exit_code("mine.toml", "--data", "texts", "--data", "mine.toml", "--set", "data.val_fraction=0.25") == 0
    data = session.asked["loaded"].profile.data
    assert data.name is None and data.dir.startswith("data/texts-byte-")
    made = json.loads(Path(data.dir, "dataset.json").read_text())
    assert (made["tokenizer"], made["splits"]["val"]["documents"]) == ({"name": "byte"}, 6)
    monkeypatch.setattr("gpt.prepare_folder.Preparing", lambda *_: pytest.fail("it is there already"))
    assert exit_code("mine.toml", "--data", "texts", "--data", "mine.toml", "--set", "data.val_fraction=0.25") == 0
    assert exit_code("mine.toml", "--data", data.dir) == 0
    assert session.asked["loaded"].profile.data.dir == data.dir


@pytest.mark.parametrize(
    ("source", "said"), [("-", "save the text to a file"), ("gone.txt", "no file matches gone.txt")]
)
def test_text_that_cannot_be_trained_on_is_one_line(
    session: Session, source: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("mine.toml", f"--data={source}") == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1 and not session.asked


def test_the_usage_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code("--help")
    usage = capsys.readouterr().out.split("\n\n")[0]
    names = {name for name in cli.app if not name.startswith("-") and cli.app[name].show}
    assert {"import", "export", "data", "eval", "pause"} < names
    assert not [name for name in names if not re.search(rf"gpt-cockpit (\w+\|)*{name}\b", usage)]


def test_the_profile_may_come_after_the_options(session: Session) -> None:
    assert exit_code("--headless", "--set", "train.max_steps=7", "--set=train.seed=8", "mine.toml") == 0
    assert session.asked["loaded"].overrides == ("train.max_steps=7", "train.seed=8")


def test_without_options_a_session_gets_the_defaults(session: Session) -> None:
    assert exit_code("mine.toml") == 0
    del session.asked["loaded"]
    session.asked.pop("options")
    assert session.asked.pop("fork") is None
    assert not session.asked.pop("detach") and session.asked.pop("deadline") is None
    assert session.asked == {"run_name": None, "runs_dir": Path("runs"), "resume": False, "headless": False}


@pytest.mark.parametrize("value", ['sample.prompts=["a b", "c"]', "data.input=-dash", "name=two words", "name=x=y"])
def test_an_override_reaches_the_profile_as_it_was_typed(session: Session, value: str) -> None:
    assert exit_code("mine.toml", "--set", value) == 0
    assert session.asked["loaded"].overrides == (value,)


@pytest.mark.parametrize("code", [0, 1, 2, 130, 143])
def test_a_sessions_code_is_the_programs(session: Session, code: int) -> None:
    session.answer = code
    assert exit_code("mine.toml") == code


@pytest.mark.parametrize("kind", [errors.DataError, errors.RunError, errors.DeviceError, errors.CheckpointError])
def test_a_users_error_is_one_clean_line_and_exit_2(
    session: Session, kind: type[errors.UserError], capsys: pytest.CaptureFixture[str]
) -> None:
    session.answer = kind("no such file\nx\x1b]52;c;aGk=\x07")
    assert exit_code("mine.toml") == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("gpt-cockpit: no such file") and err.endswith("\n")
    assert err[:-1].isprintable()


def test_an_interrupt_is_exit_130(session: Session) -> None:
    session.answer = KeyboardInterrupt()
    assert exit_code("mine.toml") == 130


def test_our_own_error_keeps_its_traceback(session: Session) -> None:
    session.answer = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        cli.main(["mine.toml"])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["mine.toml", "--headles"], "Unknown option: --headles. Did you mean --headless?"),
        (["mine.toml", "other.toml"], "Unused Tokens: ['other.toml']."),
        (["mine.toml", "--run"], "Parameter --run requires an argument."),
        (["min"], "no profile or command min; did you mean mine.toml?"),
        (["runz"], "no profile or command runz; did you mean gpt-cockpit runs?"),
        (["./runz"], "no profile runz; profiles are "),
        (["zzz"], "no profile or command zzz; profiles are "),
        (["mine.toml", "--set", "train.max_stesp=1"], "--set: unknown key train.max_stesp; did you mean max_steps?"),
        (["runs", "--jsn"], "Unknown option: --jsn. Did you mean --json?"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line_and_exit_2(
    session: Session, arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"gpt-cockpit: {line}") and err.count("\n") == 1
    assert not session.asked and not Path("runs").exists()


def test_help_wraps_an_entry_once_and_goes_on_below_it(
    session: Session, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli.app, "console", Console(width=60))  # the app keeps the first it has made
    assert exit_code("--help") == 0
    out = capsys.readouterr().out
    assert "\n  wait: Waits for the end of a run. Exits as it does: 0\n      finished or stopped, " in out
    assert "\n  --nproc INT: Train on this many ranks of this machine, a\n      process each.\n" in out


def test_alone_it_explains_itself_and_lists_the_profiles_with_their_commands(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("profiles").mkdir()
    Path("profiles/my own.toml").write_text(f'description = "of my own"\n{PROFILE}')
    assert exit_code() == 0
    out = capsys.readouterr().out
    assert "gpt-cockpit PROFILE" in out and "demo.toml" in out and "fineweb_124m.toml" in out
    assert "  gpt-cockpit 'profiles/my own.toml'\n      of my own\n" in out


def test_a_profile_that_cannot_be_read_does_not_hide_the_others(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("profiles").mkdir()
    Path("profiles/broken.toml").write_text("a = ")
    assert exit_code() == 0
    out = capsys.readouterr().out
    assert "not readable: profiles/broken.toml:1:5" in out and "demo.toml" in out


def test_runs_of_an_empty_folder_are_said_to_be_none(session: Session, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("runs") == 0
    assert capsys.readouterr().out == "no runs in runs\n"
    assert exit_code("runs", "--json") == 0
    assert capsys.readouterr().out == "[]\n"


def test_the_version_and_the_help_are_there_as_a_module_too() -> None:
    version = subprocess.run([sys.executable, "-m", "cockpit", "--version"], capture_output=True, text=True, check=True)
    assert version.stdout == f"{__version__}\n"
    help_text = subprocess.run([sys.executable, "-m", "cockpit", "-h"], capture_output=True, text=True, check=True)
    for option in ("PROFILE", "--set", "--run", "--runs-dir", "--resume", "--headless", "runs"):
        assert option in help_text.stdout


def test_a_reader_that_goes_away_is_no_error_of_ours() -> None:
    process = subprocess.Popen([sys.executable, "-m", "cockpit"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() in (0, 141)
