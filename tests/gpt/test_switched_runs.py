"""Runs of another architecture than GPT-2's: they resume exactly, and no checkpoint is taken for another's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from piloted_runs import Run, Tiny, at_step, of, state_of

from gpt import checkpoint, commands
from gpt import events as ev
from gpt.config import SWITCHES

ALL: dict[str, Any] = {
    "model__positions": "rotary", "model__norm": "rmsnorm", "model__activation": "swiglu", "model__qk_norm": True,
    "model__n_kv_head": 1, "model__tie_weights": False, "model__logit_softcap": 15.0, "model__zero_init": True,
}  # fmt: skip


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_with_all_switches_on_learns_and_resumes_with_the_same_bits(
    tiny: Tiny, run: Run, tmp_path: Path, optimizer: str
) -> None:
    profile = tiny(**ALL, model__bias=False, train__grad_accum_steps=2, optim__name=optimizer)
    evals = of(run(profile, "whole"), ev.EvalDone)
    assert evals[-1].val_loss < evals[0].val_loss - 1
    run(profile, "parted", pilot=at_step(6, commands.Stop(save=True)))
    torch.manual_seed(99)  # the process it resumes in has its own history
    resumed = of(run(profile, "parted", resume="latest"), ev.Resumed)[0]
    assert (resumed.step, resumed.exact) == (6, True)
    whole, parted = state_of(tmp_path / "whole"), state_of(tmp_path / "parted")
    assert (whole["step"], whole["files"]) == (parted["step"], parted["files"]) == (12, parted["files"])


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"model__positions": "rotary"}, "positions learned there, rotary here"),
        ({"model__norm": "rmsnorm"}, "norm layernorm there, rmsnorm here"),
        ({"model__activation": "relu2"}, "activation gelu there, relu2 here"),
        ({"model__qk_norm": True}, "qk_norm False there, True here"),
        ({"model__n_kv_head": 1}, "n_kv_head 2 there, 1 here"),
        ({"model__tie_weights": False}, "tie_weights True there, False here"),
        ({"model__logit_softcap": 15.0}, "logit_softcap None there, 15.0 here"),
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused_with_its_switch(
    tiny: Tiny, run: Run, setting: dict[str, Any], said: str
) -> None:
    run(tiny(train__max_steps=1, train__eval_interval=0))
    failed = of(run(tiny(**setting), resume="latest"), ev.Failed)[0]
    assert failed.user_error and said in failed.error


@pytest.mark.parametrize("now", [{}, {"model__n_kv_head": 2}], ids=["as it was", "default written out"])
def test_a_checkpoint_older_than_the_switches_is_gpt2s_and_goes_on(
    tiny: Tiny, run: Run, tmp_path: Path, now: dict[str, Any]
) -> None:
    run(tiny())
    state = state_of(tmp_path / "run", 4)
    for key in SWITCHES:
        state["model"].pop(key, None)
        del state["profile"]["model"][key]
    path = tmp_path / "run/checkpoints/step-00000004"
    names = [Path(file).stem for file in state.pop("files")]
    tensors = {name: checkpoint.load_tensors(path, name) for name in names}
    del state["sha256"], state["format"]
    checkpoint.write(path.parent, state.pop("step"), tensors, state)
    whole = state_of(tmp_path / "run", 12)["files"]
    resumed = of(run(tiny(**now), resume="step-00000004"), ev.Resumed)[0]
    assert resumed.exact or now, resumed.why
    assert state_of(tmp_path / "run", 12)["files"] == whole


def test_how_weights_begin_does_not_matter_to_those_that_have_begun(tiny: Tiny, run: Run) -> None:
    run(tiny())
    assert of(run(tiny(model__zero_init=True), resume="step-00000008"), ev.Resumed)[0].exact
