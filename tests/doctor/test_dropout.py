"""Validation below training with dropout on."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from stories import evidence, played, profile

from cockpit.doctor import dropout
from cockpit.doctor.diagnosis import Diagnosis
from cockpit.series import Series

NARROW = profile("fineweb_124m", model__n_embd=384, model__dropout=0.1, expected_parameters=None)


def found(dropped: float = 0.1, epoch: int = 10**10, **story: Any) -> list[Diagnosis]:
    settings = profile("fineweb_124m", model__n_embd=384, model__dropout=dropped, expected_parameters=None)
    state = played(settings, steps=1000, **{"regularized": 0.09, "train_tokens": epoch, **story})
    return list(dropout.find(evidence(settings, state)))


def test_it_compares_like_with_like_and_advises_none_where_the_data_is_seen_once() -> None:
    """Running loss 0.09 above what evaluation mode reads, validation 0.02 above that; 10.0 of 20 B tokens."""
    (one,) = found(epoch=2 * 10**10)
    running, alike = one.evidence["running_loss"], one.evidence["train_eval_loss"]
    assert isinstance(running, float) and isinstance(alike, float)
    assert one.severity == "warning" and running - alike == pytest.approx(0.09, abs=0.02)
    assert one.evidence["epochs_planned"] == pytest.approx(0.5, rel=0.01)
    assert "model.dropout = 0" in one.advice and "0.50 epochs" in one.advice
    assert one.treatment is not None and one.treatment.changes == {"model.dropout": 0.0}


def test_where_the_data_comes_again_it_only_explains() -> None:
    (one,) = found(epoch=10**8)
    assert one.severity == "note" and one.treatment is None and "evaluation losses" in one.advice


@pytest.mark.parametrize(
    "story",
    [
        {"dropped": 0.0},
        {"regularized": 0.0},
        {"gap": lambda step: 0.12},
        {"stderr": 0.08},
        {"steps": 60},
    ],
    ids=["no dropout", "costs nothing", "validation above", "within the noise", "too early"],
)
def test_it_is_silent(story: dict[str, Any]) -> None:
    dropped, steps = story.pop("dropped", 0.1), story.pop("steps", 1000)
    settings = profile("fineweb_124m", model__n_embd=384, model__dropout=dropped, expected_parameters=None)
    state = played(settings, **{"steps": steps, "regularized": 0.09, **story})
    assert not list(dropout.find(evidence(settings, state)))


def test_a_single_line_of_a_log_is_enough() -> None:
    """40.56M at step 14,500: training 3.6415, validation 3.5696, dropout 0.1."""
    state = played(
        NARROW, steps=14_500, every=14_500, noise=0.0, stderr=0.0, loss=lambda step: 3.6415, gap=lambda step: -0.0719
    )
    (one,) = dropout.find(evidence(NARROW, state))
    assert one.title == "validation 0.072 below training: its text is the easier one"  # evaluation mode reads the same
    unknown = msgspec.structs.replace(state, train_eval_loss=Series())
    (one,) = dropout.find(evidence(NARROW, unknown))
    assert one.title == "validation 0.072 below training: one has dropout 0.1, the other none"
    assert one.severity == "warning" and "model.dropout = 0" in one.advice


def test_the_running_loss_is_read_where_the_evaluation_was_made() -> None:
    """It falls so fast that its mean over the newest quarter lies above validation, dropout or not."""
    assert not found(regularized=0.0, loss=lambda step: 9 - step / 200, gap=lambda step: 0.02)
