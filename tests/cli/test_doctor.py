"""`gpt-cockpit doctor`: profiles, runs and logs from elsewhere, for people and for scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cockpit import cli
from cockpit import profile as profiles
from cockpit.doctor import report
from cockpit.doctor.diagnosis import Diagnosis
from cockpit.runs import Run
from gpt import events as ev
from gpt.config import Profile
from gpt.errors import ProfileError
from gpt.flops import flops_per_token, parameter_count

PROFILE = """
[model]
n_layer = 2
n_head = 2
n_embd = 128
block_size = 64
vocab_size = 256
[data]
name = "python-stdlib"
[train]
max_steps = 1000
device = "cpu"
[optim]
learning_rate = 1e-3
warmup_steps = 50
"""
KEYS = {"rule", "severity", "title", "evidence", "why", "advice", "action", "reference"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(PROFILE)


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int | str | None, str]:
    with pytest.raises(SystemExit) as left:
        cli.main(["doctor", *arguments])
    said = capsys.readouterr()
    return left.value.code, said.out + said.err


def rules(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, Any]]:
    code, said = doctor(capsys, *arguments, "--json")
    found = json.loads(said)
    assert code == 0 and all(set(each) == KEYS for each in found)
    return {each["rule"]: each for each in found}


def begun(name: str = "amber", changes: list[ev.Event] | None = None, steps: int = 300, **shape: int) -> Run:
    """A run of mine.toml as it lies on disk."""
    loaded = profiles.load(Path("mine.toml"), [f"model.{key}={value}" for key, value in shape.items()])
    run, settings = Run.create(Path("runs"), name, loaded.profile.name), loaded.profile
    run.write_profile(loaded.text)
    run.write_facts({"run": name, "profile_path": str(Path("mine.toml").absolute()), "overrides": []})
    counts = parameter_count(settings.model, 256)
    events: list[ev.Event] = [
        ev.RunStarted(
            time=1.0, run=name, profile=settings.name, step=0, max_steps=1000, parameters=counts[0],
            parameters_without_positions=counts[1], block_size=64, micro_batch_size=12, grad_accum_steps=1,
            tokens_per_step=768, vocab_size=256, tokenizer="byte", train_tokens=10**7, val_tokens=10**6, device="CPU",
            device_type="cpu", dtype="float32", compiled=False, pid=1, versions="",
            flops_per_token=flops_per_token(settings.model, vocab_size=256),
        ),
        *(changes or []),
    ]  # fmt: skip
    events += [
        ev.StepDone(
            time=float(step), step=step, loss=2 + 3.5 / step**0.5, lr=1e-3, grad_norm=0.5, ms=50.0, tokens=768 * step,
            tokens_per_s=15_000.0,
        )
        for step in range(1, steps + 1)
    ]  # fmt: skip
    run.events_path.write_bytes(b"".join(map(ev.encode, events)))
    return run


def save(run: Run, step: int, settings: Profile) -> None:
    """The part of a checkpoint that the doctor reads."""
    from gpt import checkpoint

    folder = run.checkpoints_path / checkpoint.folder_name(step)
    folder.mkdir(parents=True)
    keys = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")
    document: dict[str, Any] = {
        "format": checkpoint.FORMAT, "step": step, "files": {}, "profile": msgspec.to_builtins(settings),
        "model": {key: getattr(settings.model, key) for key in keys},
    }  # fmt: skip
    document["sha256"] = checkpoint._document_hash(document)
    (folder / "state.json").write_text(json.dumps(document))


def test_a_sound_profile_has_nothing_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(capsys, "mine.toml") == (0, "profile mine: nothing found wrong\n")
    assert rules(capsys, "mine.toml") == {}


def test_data_that_is_not_here_is_not_passed_for_sound(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text(PROFILE.replace('name = "python-stdlib"', 'dir = "data/mine"'))
    code, said = doctor(capsys, "mine.toml")
    assert code == 0 and said.startswith("profile mine: nothing found wrong\nIts data was not looked at: data.dir: no ")
    assert rules(capsys, "mine.toml") == {}


def test_before_a_run_its_settings_are_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    found = rules(capsys, "mine.toml", "--set", "optim.warmup_steps=1000", "--set", "optim.learning_rate=0.1")
    assert found["warmup"]["severity"] == "critical" and found["warmup"]["evidence"]["warmup_steps"] == 1000
    assert found["learning_rate"]["action"]["changes"] == {"optim.learning_rate": 0.001}


def test_a_run_is_looked_at_while_it_goes_on_with_the_settings_in_force(capsys: pytest.CaptureFixture[str]) -> None:
    change = ev.ConfigChanged(time=1.0, step=0, key="optim.decay_steps", old="unset", new="200")
    begun(changes=[change])
    found = rules(capsys, "amber")
    assert found["decay_end"]["evidence"]["decay_end"] == 200 and found["decay_end"]["evidence"]["step"] == 300
    assert "decay_end" in rules(capsys, str(Path("runs/amber").absolute()))


def test_a_file_that_was_edited_since_is_held_against_the_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    run = begun()
    save(run, 200, profiles.load(Path("mine.toml")).profile)
    assert "cannot_resume" not in rules(capsys, "amber")
    Path("mine.toml").write_text(PROFILE.replace("n_embd = 128", "n_embd = 64"))
    for source in ("amber", "mine.toml"):
        one = rules(capsys, source)["cannot_resume"]
        assert one["evidence"]["run"] == "amber" and one["action"]["changes"] == {"model.n_embd": 128}


def test_a_log_from_elsewhere_is_looked_at_with_and_without_settings(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"iter {step}: loss {2 + 3.5 / (step + 1) ** 0.5 if step < 800 else 'nan'}, time 50.0ms, mfu 3.00%"
             for step in range(0, 1000, 10)]  # fmt: skip
    Path("train.log").write_text("\n".join(lines))
    bare, known = rules(capsys, "--log", "train.log"), rules(capsys, "--log", "train.log", "--profile", "mine.toml")
    assert bare["not_finite"]["title"] == "the loss is not finite since step 800"
    assert bare["not_finite"]["action"] is None and "half the learning rate" in bare["not_finite"]["advice"]
    assert "optim.learning_rate = 0.0005" in known["not_finite"]["advice"]


def test_a_silenced_rule_is_silent_and_listed_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.toml").write_text(PROFILE + "[doctor]\nsilence = ['warmup: a test of the first steps']\n")
    code, said = doctor(capsys, "mine.toml", "--set", "optim.warmup_steps=1000")
    assert code == 0 and "critical" not in said and "silenced: warmup: a test of the first steps" in said


def test_a_rule_that_there_is_none_of_cannot_be_silenced() -> None:
    Path("mine.toml").write_text(PROFILE + "[doctor]\nsilence = ['warm_up: why not']\n")
    with pytest.raises(
        ProfileError, match=r"mine\.toml: doctor.silence: no rule is named warm_up; did you mean warmup"
    ):
        profiles.load(Path("mine.toml"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "doctor looks at one thing"),
        (["mine.toml", "--log", "x"], "doctor looks at one thing"),
        (["mine.toml", "--profile", "mine"], "--profile gives the settings of a log"),
        (["--log", "missing.log"], "missing.log cannot be read"),
        (["--log", "mine.toml"], "holds no line of nanoGPT's"),
        (["ambr"], "no profile or run ambr; did you mean the run amber?"),
        (["min"], "no profile or run min; did you mean mine.toml?"),
        (["zzz"], "; gpt-cockpit runs lists the runs"),
        (["amber", "--set", "train.seed=1"], "leave --set out"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    begun(steps=1)
    code, text = doctor(capsys, *arguments)
    assert code == 2 and said in text and text.count("\n") == 1


ONE = Diagnosis(
    "saturated", "warning", "61 tokens\x1b[2J a parameter",
    {"tokens_per_parameter": 61.4567, "tokens": 7_600_000_000, "compiled": True, "slope": float("nan")},
    "It has seen more than it can learn. " * 5, "Stop here.", None, "Hoffmann et al. 2022",
)  # fmt: skip


def test_findings_are_wrapped_cleaned_and_told_by_a_glyph_and_a_word() -> None:
    lines = report.as_text([ONE], "run amber", width=60).splitlines()
    assert lines[0] == "run amber: 1 warning" and lines[2].startswith("▲ warning   61 tokens")
    assert max(map(len, lines)) <= 60 and not any("\x1b" in line for line in lines)
    assert "tokens_per_parameter 61.46" in lines[-3] and "· compiled yes" in lines[-2]


def test_json_holds_plain_numbers_and_no_nan() -> None:
    (each,) = json.loads(json.dumps(report.as_json([ONE]), allow_nan=False))
    assert each["evidence"]["slope"] is None and each["evidence"]["compiled"] is True
