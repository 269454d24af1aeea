"""Losses at equal steps, tokens, FLOPs and seconds, and whether they may be ranked."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from pairs import FACTS, GPU, START, checkpoint, falling, laptop_and_gpu, make, taken, write

from cockpit.cli import main
from cockpit.comparing.comparison import Comparison, compare
from cockpit.comparing.entry import Curve, Data, Entry
from cockpit.comparing.reading import read
from cockpit.comparing.report import as_json, as_text
from cockpit.comparing.standing import relation
from cockpit.references import REFERENCES
from gpt import events as ev
from gpt.config import decode, flatten


def side_by_side(folder: Path, *names: str) -> Comparison:
    return compare([read(name, folder) for name in names])


def curve(*points: tuple[float, float, float]) -> Curve:
    step, loss, error = (np.array(column) for column in zip(*points, strict=True))
    return Curve(step, step * 100, step * 0.5, loss, error)


def test_a_loss_between_two_evaluations_lies_on_the_line_over_the_logarithm() -> None:
    entry = Entry("a", "run", val=curve((100, 4.0, 0.02), (400, 3.0, 0.04)), flops_per_token=6.0)
    measured = entry.at(entry.val, "step", 400)
    assert measured is not None and (measured.loss, measured.error, measured.between) == (3.0, 0.04, None)
    halfway = entry.at(entry.val, "step", 200)  # halfway between 100 and 400 in the logarithm
    assert halfway is not None and halfway.between == (100, 400)
    assert (halfway.loss, halfway.error) == (pytest.approx(3.5), pytest.approx(0.03))
    for axis, place in (("tokens", 20_000), ("flops", 120_000), ("seconds", 100)):
        assert entry.at(entry.val, axis, place) == halfway or entry.at(entry.val, axis, place).loss == pytest.approx(
            3.5
        )  # type: ignore[union-attr]


def test_nothing_is_said_of_places_that_a_run_has_not_reached() -> None:
    entry = Entry("a", "run", val=curve((100, 4.0, math.nan), (400, 3.0, math.nan)))
    assert entry.at(entry.val, "step", 401) is None and entry.at(entry.val, "step", 99) is None
    assert entry.at(entry.val, "flops", 10) is None
    found = entry.at(entry.val, "step", 250)
    assert found is not None and found.error is None


def test_two_runs_are_held_equal_where_the_shorter_one_ends(tmp_path: Path) -> None:
    laptop_and_gpu(tmp_path)
    found = side_by_side(tmp_path, "laptop", "gpu")
    assert found.common_end("step") == 2000 and found.common_end("tokens") == 2000 * 768
    assert found.common_end("seconds") == pytest.approx(180.0)
    assert found.common_end("flops") == pytest.approx(2000 * 768 * 5.2e6)
    small, large = found.entries
    place = found.common_end("tokens")
    assert place is not None
    at_small, at_large = found.at(small, "tokens", place), found.at(large, "tokens", place)
    assert at_small is not None and at_large is not None and at_small.loss < at_large.loss
    assert [each.name for each in found.order] == ["gpu", "laptop"]


def test_steps_that_a_run_went_back_from_count_nowhere(tmp_path: Path) -> None:
    run = make(tmp_path, "a", steps=500, loss=lambda step: 3.0)
    started = ev.RunStarted(time=START, run="a", **{**FACTS, "step": 250})
    before = list(run.read_events())
    write(run, [*before, started, ev.Resumed(step=250, exact=True), *taken(started, 251, 750, lambda step: 2.0)])
    entry = read("a", tmp_path)
    assert entry.steps == 750 and entry.tokens == 750 * 768 and entry.seconds == pytest.approx(750 * 0.09)
    assert entry.val.loss.tolist() == [3.0, 2.0, 2.0, 2.0]  # step 250 was evaluated again
    assert [(each.first_step, each.last_step, each.exact) for each in entry.sittings] == [
        (0, 250, None),
        (250, 750, True),
    ]


def test_a_run_that_changed_its_device_says_so_by_sitting(tmp_path: Path) -> None:
    run = make(tmp_path, "a", steps=250, loss=lambda step: 3.0)
    told = list(run.read_events())
    devices = [{"device": "NVIDIA H200", "device_type": "cuda", "dtype": "bfloat16", "compiled": True}, {}]
    for number, facts in enumerate(devices):
        started = ev.RunStarted(time=START, run="a", **{**FACTS, "step": 250 * (number + 1), **facts})
        why = "device Apple M1 → NVIDIA H200; dtype float32 → bfloat16" if facts else "device NVIDIA H200 → Apple M1"
        told += [started, ev.Resumed(step=started.step, exact=False, why=why)]
        told += taken(started, started.step + 1, started.step + 250, lambda step: 2.5, ms=4.0 if facts else 90.0)
    write(run, told)
    make(tmp_path, "b", steps=750, loss=lambda step: 2.6)
    text = as_text(side_by_side(tmp_path, "a", "b"))
    assert "a: 3 sittings" in text and "b: 1 sitting" not in text
    assert "steps 1 to 250 on Apple M1, float32, 8,533 tokens/s\n" in text
    assert "steps 251 to 500 on NVIDIA H200, bfloat16, compiled, 192,000 tokens/s, went on, not exactly: device" in text
    assert "steps 501 to 750 on Apple M1, float32" in text
    assert "Apple M1, then NVIDIA H200, then Apple M1 for a, Apple M1 for b" in text


def test_settings_are_those_last_in_force(tmp_path: Path) -> None:
    changed = ev.ConfigChanged(step=400, key="optim.learning_rate", old="0.001", new="0.0005")
    stale = ev.ConfigChanged(step=100, key="optim.grad_clip", old="1.0", new="0.5")
    run = make(tmp_path, "a", steps=500, loss=lambda step: 3.0, more=[stale, changed])
    make(tmp_path, "b", steps=500, loss=lambda step: 3.0)
    profile = flatten(decode({"optim": {"grad_clip": 2.0}, "data": {"name": "python-stdlib"}}))
    checkpoint(run, 250, profile={"optim": {"grad_clip": profile["optim.grad_clip"]}}, data_fingerprint="x")
    found = side_by_side(tmp_path, "a", "b").differing
    assert found == {"optim.learning_rate": [0.0005, 0.001], "optim.grad_clip": [2.0, 1.0]}


CHAR = Data("s", "Shakespeare", "char", 65, 1_003_854, 111_540, 1.0)


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (Data("copy", None, "char", 65, 1_003_854, 111_540, 1.0), "same"),  # another path, the same counts
        (Data("s", "Shakespeare", "char", 65, 1_003_000, 112_394, 1.0), "other"),  # split elsewhere
        (Data("s", "Shakespeare", "gpt2", 50_257, 301_966, 36_059, 111_540 / 36_059), "tokens"),
        (Data("w", "WikiText-2", "gpt2", 50_257, 2_000_000, 200_000, 4.5), "other"),
        (Data("x", None, "gpt2", 50_257, 2_000_000, 200_000, 4.5), "other"),  # nothing in common but a letter
        (Data("Shakespeare", "Shakespeare", "char"), "presumed"),  # a reference
        (Data(), "unknown"),
        (Data(vocab_size=65), "presumed"),  # nanoGPT's log
    ],
)  # fmt: skip
def test_what_is_the_same_text_and_what_is_not(other: Data, kind: str) -> None:
    assert relation(CHAR, other).kind == relation(other, CHAR).kind == kind


def test_a_padded_vocabulary_is_the_same_tokens() -> None:
    padded, plain = (Data("o", "OpenWebText", "gpt2", size) for size in (50_304, 50_257))
    assert relation(padded, plain).kind == "presumed"


def test_other_tokens_of_one_text_are_ranked_in_bits_per_byte(tmp_path: Path) -> None:
    make(tmp_path, "char", steps=500, loss=lambda step: 1.5)
    make(tmp_path, "pairs", steps=500, loss=lambda step: 3.5, facts={
        "tokenizer": "gpt2", "vocab_size": 50_257, "train_tokens": 301_966, "val_tokens": 36_059,
        "bytes_per_token": 111_540 / 36_059,
    })  # fmt: skip
    found = side_by_side(tmp_path, "char", "pairs")
    assert found.standing.unit == "bits/byte" and [each.name for each in found.order] == ["pairs", "char"]
    best = found.best(found.entries[1])
    assert best is not None and best[0].loss == pytest.approx(3.5 / math.log(2) / (111_540 / 36_059))
    assert "Ranked in bits per byte" in as_text(found)


def test_without_the_bytes_other_tokens_are_not_ranked(tmp_path: Path) -> None:
    make(tmp_path, "char", steps=500, loss=lambda step: 1.5)
    make(tmp_path, "pairs", steps=500, loss=lambda step: 3.5, facts={
        "tokenizer": "gpt2", "vocab_size": 50_257, "train_tokens": 301_966, "val_tokens": 36_059,
        "bytes_per_token": None,
    })  # fmt: skip
    found = side_by_side(tmp_path, "char", "pairs")
    assert not found.standing.ranked and found.order == [] and "bytes behind a token" in found.standing.why
    said = as_json(found)
    assert said["at_equal"] == {} and said["runs"][0]["bpb"] == pytest.approx(1.5 / math.log(2))
    assert "at equal" not in as_text(found)


def test_a_reference_is_a_run_of_one_evaluation(tmp_path: Path) -> None:
    make(tmp_path, "mine", steps=2500, loss=falling(4.2, 1.8, 2500))
    found = side_by_side(tmp_path, "mine", "shakespeare-char-cpu")
    assert found.common_end("tokens") == 1_536_000 and found.common_end("seconds") is None
    mine = found.at(found.entries[0], "tokens", 1_536_000)
    assert mine is not None and mine.loss < REFERENCES["shakespeare-char-cpu"].loss == 1.88
    text = as_text(found)
    assert "Ranked on trust" in text and "mine < shakespeare-char-cpu" in text and "on a CPU, nanoGPT's README" in text
    refused = side_by_side(tmp_path, "mine", "gpt2-124m")
    assert not refused.standing.ranked and "Shakespeare is another text than OpenWebText" in refused.standing.why


def test_nanogpts_log_is_compared_by_its_file(tmp_path: Path) -> None:
    lines = ["tokens per iteration will be: 768", "found vocab_size = 65 (inside x)", "number of parameters: 0.80M"]
    curve = falling(4.2, 1.88, 2000)
    for step in range(0, 2001, 250):
        lines.append(f"step {step}: train loss {curve(step) - 0.03:.4f}, val loss {curve(step):.4f}")
        lines.append(f"iter {step}: loss 2.0, time {900 if step else 4000}.00ms, mfu 1.00%")
        lines.append(f"iter {step + 10}: loss 2.0, time 50.00ms, mfu 1.00%")
    log = tmp_path / "train.log"
    log.write_text("\n".join(lines))
    make(tmp_path, "mine", steps=2000, loss=falling(4.2, 1.7, 2000))
    entry = read(str(log), tmp_path)
    assert (entry.name, entry.kind, entry.tokens_per_step) == ("train", "log", 768)
    assert entry.tokens_per_s == pytest.approx(768 / 0.05)  # not the 900 ms with an evaluation in them
    found = side_by_side(tmp_path, "mine", str(log))
    assert found.standing.ranked and [each.name for each in found.order] == ["mine", "train"]
    assert found.common_end("tokens") == 2000 * 768


def test_runs_without_an_evaluation_are_compared_by_their_training_loss(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    for name, low in (("a", 2.0), ("b", 2.5)):
        make(tmp_path, name, steps=2000, loss=lambda step, low=low: low + dice.normal() * 0.1, every=0)
    found = side_by_side(tmp_path, "a", "b")
    assert found.measure == "train_loss"
    value = found.at(found.entries[0], "step", 1000)
    assert value is not None and value.loss == pytest.approx(2.0, abs=0.15)
    assert value.error == pytest.approx(0.1 / math.sqrt(10), rel=0.6)  # ten steps to a stretch
    assert "training loss" in as_text(found)


def test_the_command_prints_and_refuses(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    laptop_and_gpu(tmp_path)

    def run(*arguments: str) -> tuple[int | str | None, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["compare", *arguments, "--runs-dir", str(tmp_path)])
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    code, out, _ = run("laptop", "gpu", "--json")
    said = json.loads(out)
    assert code == 0 and said["order"] == ["gpu", "laptop"] and said["at_equal"].keys() == {
        "step", "tokens", "flops", "seconds"
    }  # fmt: skip
    assert (
        said["runs"][0]["perplexity"] == pytest.approx(math.exp(1.88)) and "53 times the tokens" in said["story"]["gpu"]
    )
    code, out, _ = run("laptop", "gpu", "--at", "tokens")
    assert code == 0 and "1.54 M tokens" in out and out.count(" tokens  ") >= 2
    assert "model.n_layer" in out and "screen." not in out
    code, _, err = run("laptop")
    assert code == 2 and "two or more" in err
    code, _, err = run("laptop", "gpt2-124")
    assert code == 2 and "did you mean gpt2-124m?" in err and err.count("\n") == 1
    assert GPU["max_steps"] == 5000
