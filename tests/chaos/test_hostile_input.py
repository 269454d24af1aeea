"""What fuzzing has found once, and a little of the fuzzing itself."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest

from cockpit import keymap, nanogpt_log
from cockpit import profile as profiles
from cockpit.cli import main
from cockpit.driver import Keys, _Outlet
from cockpit.link import wire
from cockpit.link.place import knock
from cockpit.pilotage import from_toml
from cockpit.runs import Run, list_runs
from gpt import events as ev
from gpt.dataset_file import read_dataset_file
from gpt.errors import DataError, ProfileError, RunError, UserError
from gpt.interop.huggingface import read_config
from gpt.preparing import STATE_FILE, read_state
from tests.chaos import escapes, fuzzing, hostile
from tests.chaos.gate import Effort

DEEP = b'{"format":1,"tokenizer":' + b'{"a":' * 100_000


def test_no_reader_stumbles_over_a_few_hundred_mutated_inputs() -> None:
    outcome = fuzzing.fuzzing(Effort(scale=0.01, seed=7, workers=1))
    assert outcome.count >= 500 and not outcome.findings


def test_an_error_that_nobody_promised_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "from_reader", wire._from_reader.decode)
    frames = next(index for index, target in enumerate(fuzzing.TARGETS) if target.name == "socket frames")
    findings = fuzzing._fuzz((frames, 100, 0))
    assert findings and all("socket frames: " in finding for finding in findings)


@pytest.mark.parametrize(
    ("name", "read"),
    [("dataset.json", read_dataset_file), (STATE_FILE, read_state), ("config.json", read_config)],
)
def test_a_file_nested_too_deeply_is_a_users_error(
    tmp_path: Path, name: str, read: Callable[[Path], object]
) -> None:  # fmt: skip
    (tmp_path / name).write_bytes(DEEP)
    with pytest.raises(UserError, match=name):
        read(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 5000, "nested too deeply"), ("a." * 1500 + "a = 1", "nested too deeply"),
        (f"pause = {'9' * 5000}", "4300"), ("# " + "x" * keymap.MAX_BYTES, "longer than 100,000 bytes"),
    ],
    ids=["nested", "dotted", "digits", "long"],
)  # fmt: skip
def test_a_file_of_keys_that_is_none_is_refused_in_words(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(keymap.KeymapError, match=said):
        keymap.load(path)


def test_a_frame_that_still_waits_is_not_drawn_once_the_screen_was_given_up() -> None:
    terminal = io.StringIO()
    outlet = _Outlet(terminal)
    outlet.write("frame")
    outlet.close()
    outlet.write("\x1b[?25l")
    outlet.flush()
    assert terminal.getvalue() == "frame"


def test_keys_are_heard_after_a_sequence_that_textual_stumbles_over() -> None:
    keys = Keys()
    assert list(keys.feed(b"\x1b[97:5u")) == []
    assert [getattr(message, "key", None) for message in keys.feed(b"q")] == ["q"]


def test_an_argument_that_is_no_utf_8_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('name = "x"\n')
    for override in ("optim.name=a\udcee", "data.input=\udcee", 'data.input=["\udcee"]'):
        with pytest.raises(ProfileError, match=override.partition("=")[0]):
            profiles.load(path, [override])


@pytest.mark.parametrize("name", [b"/tmp/a\0b", b"", b"/" + b"a" * 4000], ids=["NUL", "empty", "long"])
def test_a_pointer_that_names_no_socket_is_refused(tmp_path: Path, name: bytes) -> None:
    (tmp_path / "control.path").write_bytes(name)
    with pytest.raises(wire.LinkError, match="names no socket"):
        knock(Run(tmp_path))


@pytest.mark.parametrize("number", ["9" * 400, "9" * 5000], ids=["400 digits", "5000 digits"])
def test_a_number_that_no_count_of_nanogpts_is_passed_over(tmp_path: Path, number: str) -> None:
    path = tmp_path / "log.txt"
    path.write_text(
        f"iter 1: loss 2.0, time 5.0ms\niter {number}: loss 1.0, time 5.0ms\n"
        f"step {number}: train loss 1.0, val loss 1.0\n"
        f"tokens per iteration will be: {number}\nfound vocab_size = {number} (inside x)\n"
    )
    state = nanogpt_log.read(path).state
    assert state.step == 1
    path.write_text(f"iter {number}: loss 1.0, time 5.0ms\n")
    with pytest.raises(DataError, match="no line of nanoGPT"):
        nanogpt_log.read(path)


def test_a_change_in_a_log_that_is_no_toml_stays_text() -> None:
    for text in ("[" * 5000, "9" * 5000, "\ud800", "= ="):
        assert from_toml(text) == text


def test_a_run_that_is_a_link_is_neither_opened_nor_listed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "checkpoints").mkdir(parents=True)
    (tmp_path / "elsewhere" / "run.json").write_text("{}")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="is a link"):
        Run.open(tmp_path / "runs", "link")
    assert list_runs(tmp_path / "runs") == []


@pytest.mark.parametrize("words", [["explain", "evil"], ["compare", "evil", "other"], ["doctor", "evil"]])
def test_what_a_command_prints_of_a_run_steers_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    for name in ("evil", "other"):
        run = Run(tmp_path / name)
        run.checkpoints_path.mkdir(parents=True)
        run.write_facts({"run": name})
        run.write_profile(f'name = "{name}"\n')
        words_of_it = hostile.EVIL.encode("utf-8", "replace").decode()
        run.events_path.write_bytes(b"".join(map(ev.encode, hostile.every_event(words_of_it))))
    with pytest.raises(SystemExit):
        main([*words, "--runs-dir", str(tmp_path)])
    printed = capsys.readouterr()
    assert len(printed.out) > 100
    assert escapes.foreign(printed.out.encode()) == escapes.foreign(printed.err.encode()) == []
