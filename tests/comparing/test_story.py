"""Why two runs are where they are: causes by name, and the paragraph made of the figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from pairs import GPU, falling, laptop_and_gpu, make

from cockpit.comparing.causes import causes
from cockpit.comparing.comparison import compare
from cockpit.comparing.reading import read
from cockpit.comparing.story import paragraph


def told(folder: Path, *names: str) -> str:
    comparison = compare([read(name, folder) for name in names])
    return paragraph(*comparison.entries[:2])


def test_the_laptop_and_the_gpu_are_explained_from_their_figures(tmp_path: Path) -> None:
    """2,000 steps of 12 × 64 tokens against 5,000 of 64 × 256: 1.5 M tokens against 82 M; nanoGPT's README reports 1.88
    and 1.4697 for these two."""
    laptop_and_gpu(tmp_path)
    story = told(tmp_path, "laptop", "gpu")
    assert "laptop reaches 1.8800 ± 0.0100 nats/token (perplexity 6.55 on Shakespeare, char tokens)" in story
    assert "gpu is 0.4103 ± 0.0104 nats lower" in story
    assert "laptop took 2,000 steps of 12 × 64 tokens, 1.54 M in all" in story
    assert "gpu 5,000 steps of 64 × 256 tokens, 81.9 M in all: gpu has seen 53 times the tokens" in story
    assert "which their numbers of steps do not tell" in story
    assert "gpu has 10.6 M parameters, laptop 796 k: 13 times as many" in story
    assert "a token of gpu is predicted from up to 256 before it, one of laptop from 64" in story
    assert "16,384 tokens, one of laptop 768: 21 times, and 4.6 times less noise in its gradient" in story
    assert "precision: float32 in laptop, bfloat16 in gpu" in story
    assert "Device: Apple M1 for laptop, NVIDIA A100-SXM4-40GB for gpu" in story
    assert "gpu makes 455 k tokens/s, laptop 8.53 k, 53 times as many and 728 times the arithmetic" in story
    assert (
        "at 1.54 M tokens 1.8800 against" in story and "(laptop by" in story
    )  # a token is worth more to the small one
    assert "The 80.4 M tokens that only gpu has seen took it from" in story
    assert "would take laptop's machine 1 d 12 h" in story  # 5.8e15 FLOPs at 4.4e10 a second
    assert story.endswith("So the losses compare the runs, not the machines: for those, train one profile on both.")
    assert "\n" not in story


def test_causes_come_by_name_with_their_figures(tmp_path: Path) -> None:
    laptop_and_gpu(tmp_path)
    a, b = (read(name, tmp_path) for name in ("laptop", "gpu"))
    found = {each.kind: each.figures for each in causes(a, b)}
    assert list(found) == ["tokens", "size", "context", "batch", "dropout", "precision", "device"]
    assert found["batch"]["ratio"] == pytest.approx(16_384 / 768)
    assert found["tokens"] == {"laptop": 1_536_000, "gpu": 81_920_000, "ratio": pytest.approx(53.33, abs=0.01)}
    assert found["device"]["speed_ratio"] == pytest.approx(53.3, abs=0.1)
    assert found["precision"] == {"laptop": "float32", "gpu": "bfloat16"}


def test_the_same_run_on_two_machines_leaves_only_the_machine(tmp_path: Path) -> None:
    curve = falling(4.2, 1.9, 2000)
    make(tmp_path, "here", steps=2000, loss=curve)
    make(tmp_path, "there", steps=2000, loss=lambda step: curve(step) + 0.001, ms=9.0,
         facts={key: GPU[key] for key in ("device", "device_type", "dtype", "compiled")})  # fmt: skip
    story = told(tmp_path, "here", "there")
    assert "Only the machine differs" in story and "within the evaluations' error" in story
    assert "Both have seen 1.54 M tokens." in story and "10 times as many" in story
    assert "train one profile on both" not in story


def test_one_run_and_its_twin_have_no_cause_at_all(tmp_path: Path) -> None:
    for name in ("one", "other"):
        make(tmp_path, name, steps=500, loss=falling(4.2, 2.4, 500))
    assert causes(read("one", tmp_path), read("other", tmp_path)) == []
    assert "Unequal" not in told(tmp_path, "one", "other")


def test_the_measured_noise_says_whether_a_larger_batch_was_of_use(tmp_path: Path) -> None:
    make(tmp_path, "small", steps=500, loss=falling(4.2, 2.4, 500), noise=3000.0)
    make(tmp_path, "large", steps=500, loss=falling(4.2, 2.2, 500),
         facts={"micro_batch_size": 48, "tokens_per_step": 3072})  # fmt: skip
    assert "4.0 times, and 2.0 times less noise in its gradient, where 3.00 k were last measured" in told(
        tmp_path, "small", "large"
    )


def test_of_other_data_no_one_is_called_lower(tmp_path: Path) -> None:
    make(tmp_path, "plays", steps=500, loss=falling(4.2, 2.4, 500))
    make(tmp_path, "code", steps=500, loss=falling(5.5, 1.4, 500), profile="demo",
         facts={"tokenizer": "byte", "vocab_size": 256, "val_tokens": 1_000_000})  # fmt: skip
    story = told(tmp_path, "plays", "code")
    assert "which is the better model, that does not tell" in story
    assert "lower" not in story.replace("lowers", "") and "As far as both" not in story
