"""What nanoGPT's train.py prints, read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cockpit import nanogpt_log
from cockpit import profile as profiles
from cockpit.nanogpt_log import Evaluation, Fact, Step, parse
from gpt.config import Profile, replace
from gpt.errors import DataError

HEAD = "tokens per iteration will be: 524,288\nnumber of parameters: 40.56M\n"
NARROW = replace(profiles.load(profiles.find("fineweb_124m")).profile, {"model.n_embd": 384, "train.max_steps": 14_500})


def read(tmp_path: Path, text: str, profile: Profile | None = None, encoding: str = "utf-8") -> nanogpt_log.Log:
    file = tmp_path / "train.log"
    file.write_bytes(text.encode(encoding))
    return nanogpt_log.read(file, profile)


def test_each_kind_of_line_is_understood_alone() -> None:
    assert list(parse("iter 5000: loss 0.8236, time 4446.83ms, mfu 9.99%")) == [
        Step(5000, 0.8236, 4446.83, pytest.approx(0.0999))
    ]
    assert list(parse("step 2000: train loss 3.6415, val loss 3.5696")) == [Evaluation(2000, 3.6415, 3.5696)]
    assert list(parse("number of parameters: 40.56M")) == [Fact(parameters=pytest.approx(40.56e6))]
    assert list(parse("tokens per iteration will be: 524,288")) == [Fact(tokens_per_step=524_288)]
    assert list(parse("found vocab_size = 65 (inside data/shakespeare_char/meta.pkl)")) == [Fact(vocab_size=65)]


def test_what_nanogpt_does_not_know_yet_and_what_is_no_number_are_none() -> None:
    assert list(parse("iter 0: loss nan, time 32445.59ms, mfu -100.00%")) == [Step(0, None, 32445.59, None)]
    assert list(parse("step 9: train loss nan, val loss inf")) == [Evaluation(9, None, None)]


def test_colours_prefixes_and_other_lines_do_not_hide_a_line() -> None:
    text = (
        "[rank0] 12:03 | \x1b[1m\x1b[32miter 10:\x1b[0m loss 3.5, time 95.1ms, mfu 9.9%\nepoch 3, loss 2\nstep by step"
    )
    assert [each.step for each in parse(text) if isinstance(each, Step)] == [10]


def test_a_log_alone_tells_its_curves_and_what_its_head_says(tmp_path: Path) -> None:
    log = read(tmp_path, HEAD + "step 14500: train loss 3.6415, val loss 3.5696\niter 14500: loss 3.7, time 990.0ms\n")
    state = log.state
    assert state.started is None and log.facts.parameters == pytest.approx(40.56e6)
    assert (state.step, state.tokens) == (14_500, 14_500 * 524_288)
    assert (state.train_eval_loss.last, state.val_loss.last, state.best_step) == (3.6415, 3.5696, 14_500)
    assert state.last is not None and state.last.grad_norm is None and not len(state.lr.y[np.isfinite(state.lr.y)])


def test_a_profile_says_what_the_log_does_not(tmp_path: Path) -> None:
    state = read(tmp_path, HEAD + "iter 14500: loss 3.7, time 990.0ms, mfu 40.00%\n", NARROW).state
    assert state.started is not None and state.started.parameters_without_positions == pytest.approx(40.56e6, abs=1e4)
    assert state.started.peak_flops == 312e12 and state.lr.last == pytest.approx(6e-5, rel=0.01)
    assert state.finished is not None and state.finished.reason == "max_steps"


def test_what_was_built_outweighs_what_the_profile_would_build(tmp_path: Path) -> None:
    wide = replace(NARROW, {"model.n_embd": 768})
    started = read(tmp_path, HEAD + "iter 1: loss 3.7, time 990.0ms\n", wide).state.started
    assert started is not None and started.parameters_without_positions == 40_560_000


def test_a_step_timed_with_its_evaluation_tells_how_long_that_took(tmp_path: Path) -> None:
    lines = [f"iter {step}: loss 0.9, time 400.00ms, mfu 10.00%" for step in range(4900, 5000, 10)]
    text = "\n".join([*lines, "step 5000: train loss 0.62, val loss 1.70", "iter 5000: loss 0.8236, time 4446.83ms"])
    state = read(tmp_path, text).state
    assert state.evaluation is not None and state.evaluation.seconds == pytest.approx(4.04683)
    assert state.median_ms() == 400.0 and state.ms.last == 4446.83


def test_a_log_that_goes_back_is_a_resume(tmp_path: Path) -> None:
    lines = [f"iter {step}: loss {loss}, time 95.0ms" for step, loss in [(0, 4.0), (10, 3.0), (20, 9.0), (20, 2.0)]]
    again = read(
        tmp_path, "\n".join([*lines, "iter 30: loss 1.5, time 95.0ms", "iter 10: loss 2.5, time 95.0ms"])
    ).state
    assert list(again.loss.x) == [0, 10] and list(again.loss.y) == [4.0, 2.5]


def test_the_longest_log_keeps_its_evaluations_and_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nanogpt_log, "MOST_LINES", 100)
    monkeypatch.setattr(nanogpt_log, "_CHUNK", 1000)
    lines = [f"iter {step}: loss {'nan' if step > 900 else 3.5}, time 95.0ms" for step in range(1001)]
    lines.insert(500, "step 500: train loss 3.3, val loss 3.4")
    state = read(tmp_path, "\n".join(lines)).state
    assert state.step == 1000 and len(state.loss) < 250
    assert list(state.val_loss.x) == [500] and 500 in state.ms.x and np.isnan(state.loss.y).any()


def test_a_file_that_windows_redirected_reads_the_same(tmp_path: Path) -> None:
    text = HEAD.replace("\n", "\r\n") + "iter 10: loss 3.5, time 95.1ms\r\n"
    assert read(tmp_path, text, encoding="utf-16").state.step == 10


def test_a_file_without_such_lines_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no line of nanoGPT's"):
        read(tmp_path, "hello\n" * 1000)
    with pytest.raises(DataError, match="cannot be read"):
        nanogpt_log.read(tmp_path / "missing.log")
