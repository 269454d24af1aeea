"""`gpt-cockpit sample` and `gpt-cockpit eval` on a tiny trained run: what they print, and how they refuse."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cockpit import cli, commands_eval, commands_sample
from gpt.config import Profile, decode
from gpt.errors import UserError
from gpt.events import EvalDone, Event, SampleDone
from tests.tiny_runs import sums

ROOT = Path(__file__).parent.parent.parent


def trained(folder: Path, name: str, **data: Any) -> list[Event]:
    """Trains a run of that name in `folder`/runs for eight steps, a checkpoint every four."""
    from gpt.commands import Sample
    from gpt.trainer import Trainer

    profile: Profile = decode({
        "model": {"n_layer": 1, "n_head": 2, "n_embd": 32, "block_size": 16},
        "data": {"input": str(folder / "sums.txt"), **data},
        "train": {"max_steps": 8, "micro_batch_size": 4, "eval_interval": 4, "eval_steps": 0, "device": "cpu",
                  "threads": 1, "noise_scale_interval": 0},
        "optim": {"learning_rate": 1e-2},
        "checkpoint": {"interval": 4, "keep": 9},
        "sample": {"prompts": ["1 + "], "max_new_tokens": 12, "temperature": 1.1, "top_k": 7, "seed": 5},
        "device": {"peak_tflops": 1.0},
    })  # fmt: skip
    events: list[Event] = []
    run = folder / "runs" / name
    run.mkdir(parents=True)
    (run / "run.json").write_text("{}")
    trainer = Trainer(profile, run, events.append)
    trainer.run()
    trainer.send(Sample(seed=5, count=2))
    trainer.helm.obey()
    return events


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    (folder / "sums.txt").write_text(sums())
    return folder


@pytest.fixture(scope="module")
def events(place: Path) -> list[Event]:
    return trained(place, "mine")


@pytest.fixture(scope="module")
def characters(place: Path) -> list[Event]:
    return trained(place, "chars", tokenizer="char")


@pytest.fixture(autouse=True)
def _there(place: Path, events: list[Event], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    pipe(monkeypatch, b"")


def pipe(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def command(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        cli.main(arguments)
    return left.value.code


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of an error."""
    assert command(*arguments) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("gpt-cockpit: ") and err.count("\n") == 1, (out, err)
    return err


# -- sample ------------------------------------------------------------------------------------------------------------


def test_a_sample_is_the_one_the_trainer_draws_with_the_runs_settings(
    events: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = [event for event in events if isinstance(event, SampleDone)][-2:]
    assert len({event.text for event in theirs}) == 2
    assert command("sample", "mine", "--count", "2", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["prompt"], row["text"], row["tokens"]) for row in rows] == [
        (event.prompt, event.text, event.tokens) for event in theirs
    ]
    assert [(row["source"], row["step"], row["seed"]) for row in rows] == [("mine", 8, 5), ("mine", 8, 6)]
    assert command("sample", "mine", "--count", "2") == 0
    assert capsys.readouterr().out == f"1 + {theirs[0].text}\n---\n1 + {theirs[1].text}\n"


def test_a_seed_gives_the_same_text_and_another_one_another(capsys: pytest.CaptureFixture[str]) -> None:
    def text(seed: str) -> str:
        assert command("sample", "mine", "2 + ", "--seed", seed) == 0
        return capsys.readouterr().out

    assert text("1") == text("1") != text("2")


def test_each_setting_reaches_the_draw(capsys: pytest.CaptureFixture[str]) -> None:
    def text(*options: str) -> str:
        assert command("sample", "mine", "--max-new-tokens", "40", *options) == 0
        return capsys.readouterr().out

    plain = text()
    likeliest = text("--temperature", "0", "--seed", "1")
    assert likeliest == text("--temperature", "0", "--seed", "2") != plain
    assert likeliest == text("--top-k", "1") == text("--top-p", "1e-9")
    assert text("--repetition-penalty", "3") != plain
    assert text("--step", "4") != plain
    stop = plain[len("1 + ") + 9]
    assert text("--stop", stop) == plain[: plain.index(stop, 4)] + "\n"


@pytest.mark.parametrize(
    ("arguments", "piped", "prompt"),
    [
        (("7 + ",), b"", "7 + "),
        (("--prompt", "7 + "), b"", "7 + "),
        (("7 + ",), b"8 + ", "7 + "),
        ((), b"8 + \n", "8 + "),
        ((), b"8 + \n\n", "8 + \n"),
        ((), b"\xff8", "\N{REPLACEMENT CHARACTER}8"),
        ((), b"", "1 + "),
        (("",), b"", ""),
    ],
)
def test_the_prompt_is_an_argument_or_piped_in_or_the_runs(
    arguments: tuple[str, ...], piped: bytes, prompt: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pipe(monkeypatch, piped)
    assert command("sample", "mine", *arguments, "--json", "--max-new-tokens", "1") == 0
    assert json.loads(capsys.readouterr().out)[0]["prompt"] == prompt


def test_a_terminal_gets_no_escape_sequence_and_a_pipe_gets_the_text_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = "\x1b]52;c;aGk=\x07"
    assert command("sample", "mine", prompt, "--max-new-tokens", "1") == 0
    assert capsys.readouterr().out.startswith(prompt)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    assert command("sample", "mine", prompt, "--max-new-tokens", "1") == 0
    assert "\x1b" not in terminal.getvalue() and "]52;c;aGk=" in terminal.getvalue()


def test_text_is_printed_while_it_is_drawn(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    writes: list[str] = []
    monkeypatch.setattr("gpt.sampler.CHUNK_SECONDS", -1.0)
    monkeypatch.setattr(commands_sample, "_write", writes.append)
    assert command("sample", "mine", "1 + ", "--max-new-tokens", "6", "--count", "2", "--temperature", "0") == 0
    first = writes[: next(at for at, text in enumerate(writes) if text.endswith("\n")) + 1]
    assert len([text for text in first if text]) > 5, "in pieces"
    assert "".join(writes) == "{0}---\n{0}".format("".join(first))


def test_characters_that_a_model_does_not_know_are_mentioned(
    characters: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("sample", "chars", "1 § ") == 0
    out, err = capsys.readouterr()
    assert out.startswith("1 § ") and "does not know" in err
    assert command("sample", "chars", "1 + ") == 0
    assert not capsys.readouterr().err


def test_an_interrupt_ends_the_sample_where_it_is(place: Path) -> None:
    arguments = ["sample", "mine", "1 + ", "--max-new-tokens", "10000000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cockpit", *arguments], cwd=place, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.read(4) == b"1 + "
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, b"") and out.endswith(b"\n")


# -- eval --------------------------------------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_runs_own_evaluation(
    events: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    last = [event for event in events if isinstance(event, EvalDone)][-1]
    assert command("eval", "mine", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["loss"] == pytest.approx(last.val_loss, abs=1e-6) and row["tokens"] == last.val_tokens
    assert (row["source"], row["step"]) == ("mine", 8)
    assert {"data", "loss_stderr", "perplexity", "bpb"} <= row.keys()


def test_which_checkpoint_is_asked_for(events: list[Event], capsys: pytest.CaptureFixture[str]) -> None:
    losses = {event.step: event.val_loss for event in events if isinstance(event, EvalDone)}
    best = min(losses, key=lambda step: losses[step] or 0)
    for options, step in ((["--step", "4"], 4), (["--best"], best), ([], 8)):
        assert command("eval", "mine", *options, "--against", "runs/mine/checkpoints/step-00000004", "--json") == 0
        rows = json.loads(capsys.readouterr().out)
        assert [row["step"] for row in rows] == [step, 4], "--step and --best are SOURCE's"
        assert rows[0]["loss"] == pytest.approx(losses[step], abs=1e-6)
    assert command("eval", "runs/mine", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["step"] == 8


def test_a_damaged_checkpoint_is_passed_over(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = place / "runs" / "mine" / "checkpoints" / "step-00000008" / "model.safetensors"
    whole = weights.read_bytes()
    try:
        weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        assert command("eval", "mine", "--json") == 0
        out, err = capsys.readouterr()
        assert json.loads(out)[0]["step"] == 4 and "passed over" in err and err.count("\n") == 1
        assert "damaged" in refused(capsys, "eval", "mine", "--step", "8")
    finally:
        weights.write_bytes(whole)


def test_models_with_different_tokenizers_stand_side_by_side_and_only_their_bits_per_byte_compare(
    characters: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("text.txt").write_text("3 + 4 = 7\n" * 40)
    assert command("eval", "mine", "--against", "chars", "--text", "text.txt") == 0
    table = capsys.readouterr().out
    assert commands_eval.ONLY_BPB in table
    rows = [line.split() for line in table.splitlines() if line.startswith(("mine", "chars"))]
    assert [(row[0], row[2]) for row in rows] == [("mine", "byte"), ("chars", "char")]
    assert command("eval", "mine", "--against", "chars", "mine", "--text", "text.txt", "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert [row["source"] for row in scores] == ["mine", "chars", "mine"]
    assert {row["bytes"] for row in scores} == {399} and scores[0]["loss"] == scores[2]["loss"]
    assert command("eval", "mine", "--against", "mine", "--text", "text.txt") == 0
    assert commands_eval.ONLY_BPB not in capsys.readouterr().out


def test_a_slow_measurement_says_in_a_pipe_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("text.txt").write_text("3 + 4 = 7\n" * 40)
    monkeypatch.setattr("cockpit.progress.ELSEWHERE", 0.0)
    assert command("eval", "mine", "--text", "text.txt", "--json") == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)) == 1 and err.splitlines()[-1] == "mine: 100 % measured"


def test_more_sources_are_measured_on_the_first_ones_data(
    characters: list[Event], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("eval", "mine", "--against", "chars", "--json") == 0
    first, second = json.loads(capsys.readouterr().out)
    assert first["data"] == second["data"] and first["bytes"] == second["bytes"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("sample", "mien"), "did you mean the run mine?"),
        (("sample", "elsewhere/x"), "neither a run in runs, a model's folder"),
        (("sample", "runs"), "holds neither a checkpoint's state.json"),
        (("sample", "mine", "--step", "5"), "no checkpoint of step 5; it has those of steps 8, 4"),
        (("sample", "mine", "--step", "4", "--best"), "keep one"),
        (("sample", "gpt2", "--best"), "gpt2 is no run"),
        (("sample", "mine", "--temperature", "-1"), "sample.temperature"),
        (("sample", "mine", "--count", "0"), "sample.count"),
        (("sample", "mine", "--device", "abacus"), "abacus"),
        (("sample", "mine", "--dtype", "int3"), "int3"),
        (("eval", "gpt2"), "no validation data of its own; add --data DIR or --text FILE"),
        (("eval", "mine", "--text", "none.txt"), "no file matches none.txt"),
        (("eval", "mine", "--data", "none"), "no folder none"),
        (("eval", "mine", "--text", "sums.txt", "--data", "x"), "--data and --text"),
        (("eval", "mine", "--against", "none"), "none is neither a run"),
        (("eval", "mine", "--suite", "mmlu"), "mmlu"),
        (("eval",), "SOURCE"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert line in refused(capsys, *arguments)


def test_a_name_of_gpt2s_without_a_network_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: Any, **__: Any) -> str:
        raise ConnectionError("cannot reach the hub\nand a page of advice")

    monkeypatch.setitem(sys.modules, "huggingface_hub", type(sys)("huggingface_hub"))
    monkeypatch.setattr(sys.modules["huggingface_hub"], "snapshot_download", offline, raising=False)
    line = refused(capsys, "sample", "gpt2-large", "Once")
    assert "cannot reach the hub" in line and "bring a folder" in line


def test_a_run_without_a_checkpoint_says_so(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "runs" / "empty" / "checkpoints").mkdir(parents=True, exist_ok=True)
    assert "no checkpoint yet" in refused(capsys, "sample", "empty")


def test_a_user_error_from_the_engine_is_not_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise UserError("no room")

    monkeypatch.setattr("gpt.source.load", broken)
    assert "no room" in refused(capsys, "sample", "mine")
