"""A run that is gone on with in other ways, and back: each sitting is in its log, and a comparison shows it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "cli"))
from small_runs import lay_out, settings, train

from cockpit.comparing.causes import causes
from cockpit.comparing.comparison import compare
from cockpit.comparing.reading import read
from cockpit.comparing.report import as_text


def go(name: str, until: int, *more: str, resume: bool = True) -> None:
    given = settings("train.eval_interval=2", "checkpoint.interval=0", f"train.max_steps={until}", *more)
    assert train("--run", name, *(("--resume",) if resume else ()), *given) == 0


@pytest.mark.parametrize(
    ("there", "back"),
    [
        (("train.threads=2",), ("train.threads=1",)),
        pytest.param(
            ("train.device=cuda", "train.dtype=bfloat16"), ("train.device=cpu", "train.dtype=auto"),
            marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")],
        ),
    ],
    ids=["threads", "cuda"],
)  # fmt: skip
def test_a_checkpoint_goes_on_elsewhere_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], back: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    lay_out()
    go("wanderer", 4, resume=False)
    go("wanderer", 8, *there)
    go("wanderer", 12, *back)
    go("homebody", 12, resume=False)
    wanderer, homebody = (read(name, tmp_path / "runs") for name in ("wanderer", "homebody"))

    assert [(each.first_step, each.last_step) for each in wanderer.sittings] == [(0, 4), (4, 8), (8, 12)]
    first, second, third = wanderer.sittings
    assert first.device == third.device == homebody.sittings[0].device != second.device
    assert [each.exact for each in wanderer.sittings] == [None, False, False]
    elsewhere = "cuda" if "train.device=cuda" in there else "cpu"
    assert [each.device_type for each in wanderer.sittings] == ["cpu", elsewhere, "cpu"]
    assert [each.dtype for each in wanderer.sittings] == ["float32", "bfloat16" if elsewhere == "cuda" else "float32",
                                                          "float32"]  # fmt: skip
    assert wanderer.steps == 12 and wanderer.val.step.tolist() == [0, 2, 4, 6, 8, 10, 12]

    found = compare([wanderer, homebody])
    assert found.standing.ranked and found.differing.keys() <= {"train.dtype"}  # the settings are what they were
    text = as_text(found)
    assert "wanderer: 3 sittings" in text and f"steps 5 to 8 on {second.device}" in text
    assert f"went on, not exactly: {second.why}" in text and second.why
    device = next(each for each in causes(wanderer, homebody) if each.kind == "device")
    assert device.figures["wanderer"] == f"{first.device}, then {second.device}, then {first.device}"
