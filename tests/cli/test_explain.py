"""`gpt-cockpit explain`, as it is typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cockpit.cli import main
from cockpit.runs import Run
from gpt import events as ev

LINE = "iter 5000: loss 0.8236, time 4446.83ms, mfu 9.99%"
PROFILES = Path(__file__).parents[2] / "profiles"


def explain(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["explain", *arguments])
    told = capsys.readouterr()
    return int(ended.value.code or 0), told.out, told.err


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """One run of nanoGPT's Shakespeare settings, three steps long: 64 · 256 = 16,384 characters in 40 ms."""
    run = Run.create(tmp_path, "first", "shakespeare_char")
    run.write_facts({"created": 1.0})
    run.write_profile((PROFILES / "shakespeare_char.toml").read_text())
    started = ev.RunStarted(
        run="first", profile="shakespeare_char", step=0, max_steps=5000, parameters=10_745_088,
        parameters_without_positions=10_646_784, block_size=256, micro_batch_size=64, grad_accum_steps=1,
        tokens_per_step=16_384, vocab_size=65, tokenizer="char", train_tokens=1_003_854, val_tokens=111_540,
        tokens_per_epoch=1_003_776, bytes_per_token=1.0, device="NVIDIA A100-SXM4-40GB", device_type="cuda",
        dtype="bfloat16", compiled=True, flops_per_token=70_958_592.0, peak_flops=312e12, peak_source="datasheet",
        pid=1, versions="torch",
    )  # fmt: skip
    steps = [
        ev.StepDone(
            step=step, loss=4.0 - step / 10, lr=1e-5 * step, grad_norm=1.5, ms=40.0, tokens=16_384 * step,
            tokens_per_s=409_600.0, mfu=0.0932,
        )
        for step in (1, 2, 3)
    ]  # fmt: skip
    changed = ev.ConfigChanged(step=3, key="optim.grad_clip", old="1.0", new="0.5")
    run.events_path.write_bytes(b"".join(map(ev.encode, [started, *steps, changed])))
    return tmp_path


def test_a_runs_numbers_are_explained_with_its_settings_in_force(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """70,958,592 · 409,600 / 312e12 = 9.32 %; 0.5 / 1.5 = 0.33."""
    code, out, _ = explain(capsys, "first", "--runs-dir", str(runs))
    assert code == 0
    assert out.startswith("first, step 3\n\nloss  ")
    assert "6 × 10,646,784 + 12 × 6 × 6 × 64 × 256 = 7.096e+07" in out and "= 9.32 %" in out
    assert "min(1, 0.5 / 1.50) = × 0.33" in out
    assert "nanoGPT 10.65M 1.4697" in out


def test_a_line_needs_no_run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = explain(capsys, "--line", LINE)
    assert code == 0 and out.startswith(LINE)
    assert "perplexity e^0.8236 = 2.279" in out and "31.17 TFLOP/s" in out


def test_a_line_is_read_with_a_runs_settings_or_a_profiles(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """70,958,592 · 16,384 / (9.99 % · 312e12) = 37.3 ms."""
    for arguments in (["first", "--runs-dir", str(runs)], ["--profile", str(PROFILES / "shakespeare_char.toml")]):
        code, out, _ = explain(capsys, *arguments, "--line", LINE)
        assert code == 0
        assert "means about 37.3 ms" in out and "an evaluation (every 250 steps)" in out
    _, out, _ = explain(capsys, "first", "--runs-dir", str(runs), "--line", LINE)
    assert "ln 65 = 4.17; 3.35 below" in out and "grad norm" not in out


def test_json_has_every_number_with_all_its_parts(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = explain(capsys, "first", "--runs-dir", str(runs), "--json")
    told = {each["id"]: each for each in json.loads(out)}
    assert code == 0
    assert told["mfu"]["value"] == "9.3 %" and told["ms_per_iter"]["value"] == "40.0 ms"
    assert {"meaning", "computation", "usual", "says", "change"} < set(told["loss"])
    assert "val_loss" not in told, "nothing was evaluated"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "say what to explain"),
        (["--line", "hello"], "not one of nanoGPT's"),
        (["first", "--profile", "demo"], "--profile says with which settings"),
        (["nobody"], "no run nobody"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = explain(capsys, *arguments)
    assert (code, out) == (2, "") and complaint in err and err.count("\n") == 1
