"""Going on from a checkpoint: to the same bits, or not, and then it says why; and what must not change a bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from piloted_runs import Run, Tiny, at_step, of

from gpt import commands, exactness, products
from gpt import events as ev
from gpt.trainer import Trainer


def digest(folder: Path, step: int) -> dict[str, str]:
    """Hashes of weights and optimizer (generators included), and the data position, of a checkpoint."""
    state = json.loads((folder / "checkpoints" / f"step-{step:08d}" / "state.json").read_text())
    return state["files"] | {"sequences": state["sequences"], "tokens": state["tokens"]}


def test_sampling_evaluating_and_saving_change_nothing(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    def busy(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step in (3, 6, 7):
            trainer.send(commands.Sample(prompt="2 + ", max_new_tokens=30))
            trainer.send(commands.Evaluate())
            trainer.send(commands.Save())

    run(tiny(train__eval_interval=0), "quiet")
    events = run(tiny(train__eval_interval=3, sample__interval=2), "busy", pilot=busy)
    assert len(of(events, ev.SampleDone)) > 5
    assert digest(tmp_path / "quiet", 12) == digest(tmp_path / "busy", 12)


@pytest.mark.parametrize("stop_at", [1, 6, 9])
@pytest.mark.parametrize("accum", [1, 3])
def test_a_stopped_and_resumed_run_ends_with_the_same_bits(
    tiny: Tiny, run: Run, tmp_path: Path, stop_at: int, accum: int
) -> None:
    profile = tiny(train__grad_accum_steps=accum)
    run(profile, "whole")
    run(profile, "parted", pilot=at_step(stop_at, commands.Stop(save=True)))
    torch.manual_seed(99)  # the process it resumes in has its own history
    resumed = run(profile, "parted", resume="latest")
    assert of(resumed, ev.Resumed) == [ev.Resumed(step=stop_at, exact=True, time=of(resumed, ev.Resumed)[0].time)]
    assert digest(tmp_path / "whole", 12) == digest(tmp_path / "parted", 12)


@pytest.mark.parametrize("activation", ["gelu", "gelu_erf"], ids=["written out", "autograd"])
def test_a_run_over_several_lanes_resumes_with_the_same_bits(
    tiny: Tiny, run: Run, tmp_path: Path, activation: str
) -> None:
    """And one with another number of lanes says that it is not the same."""
    profile = tiny(model__dropout=0.0, model__activation=activation, train__threads=2, train__grad_accum_steps=2)
    run(profile, "whole")
    run(profile, "parted")
    assert of(run(profile, "parted", resume="step-00000004"), ev.Resumed)[0].exact
    assert digest(tmp_path / "whole", 12) == digest(tmp_path / "parted", 12)
    one = msgspec.structs.replace(profile, train=msgspec.structs.replace(profile.train, threads=1))
    resumed = of(run(one, "parted", resume="step-00000004"), ev.Resumed)[0]
    assert not resumed.exact and "lanes 2 → 1" in resumed.why


def test_a_checkpoint_from_before_the_backward_pass_was_written_out_is_not_gone_on_from_exactly(
    tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not say how its gradients were taken: by autograd."""
    profile = tiny(model__dropout=0.0, train__threads=2)

    def environment(*args: Any) -> dict[str, Any]:
        known = exactness.environment(*args)
        assert known.pop("backward") == "written out"
        return known

    with monkeypatch.context() as patch:
        patch.setattr("gpt.record.environment", environment)
        run(profile, "run")
    resumed = of(run(profile, "run", resume="step-00000004"), ev.Resumed)[0]
    assert not resumed.exact and resumed.why == "backward autograd → written out"


def test_a_checkpoint_made_with_another_librarys_products_is_not_gone_on_from_exactly(
    tiny: Tiny, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "is_onednn_faster", lambda: False)
    profile = tiny(train__dtype="float32")
    run(profile, "run")
    assert of(run(profile, "run", resume="step-00000004"), ev.Resumed)[0].exact
    monkeypatch.setattr(products, "is_onednn_faster", lambda: True)
    resumed = of(run(profile, "run", resume="step-00000004"), ev.Resumed)[0]
    assert not resumed.exact and resumed.why == "products torch → oneDNN"


def test_a_stop_while_paused_inside_a_step_saves_the_last_whole_one(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    profile = tiny(train__grad_accum_steps=4)
    run(profile, "whole")
    inside = False

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        nonlocal inside
        if isinstance(event, ev.StepDone) and event.step == 5:
            reader = trainer.snapshot.stepper.reader
            take = reader.take

            def pausing(*args: Any) -> Any:  # the pause comes while the step's second batch is read
                reader.take = take
                trainer.send(commands.Pause())
                return take(*args)

            reader.take = pausing
        if isinstance(event, ev.Paused):
            inside = trainer.step == 5
            trainer.send(commands.Stop(save=True))

    run(profile, "parted", pilot=pilot)
    assert inside
    run(profile, "parted", resume="latest")
    assert digest(tmp_path / "whole", 12) == digest(tmp_path / "parted", 12)


def test_a_live_change_survives_a_resume(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    run(tiny(), pilot=at_step(3, commands.SetConfig(changes={"optim.learning_rate": 2e-3})))
    state = json.loads((tmp_path / "run/checkpoints/step-00000004/state.json").read_text())
    assert state["profile"]["optim"]["learning_rate"] == 2e-3
    assert state["config_log"] == [{"step": 3, "key": "optim.learning_rate", "old": 1e-2, "new": 2e-3}]


def test_going_on_with_other_settings_says_continued_and_why(tiny: Tiny, run: Run) -> None:
    run(tiny())
    resumed = of(run(tiny(optim__learning_rate=1e-3), resume="step-00000004"), ev.Resumed)[0]
    assert not resumed.exact
    assert "optim.learning_rate 0.01 → 0.001" in resumed.why


def test_another_shape_is_refused_field_by_field(tiny: Tiny, run: Run) -> None:
    run(tiny())
    failed = of(run(tiny(model__n_embd=64), resume="latest"), ev.Failed)[0]
    assert failed.user_error
    assert "n_embd 32 there, 64 here" in failed.error


def test_another_order_of_the_data_is_not_called_exact(tiny: Tiny, run: Run) -> None:
    run(tiny())
    resumed = of(run(tiny(data__sampling="replacement"), resume="step-00000004"), ev.Resumed)[0]
    assert not resumed.exact and "data.sampling" in resumed.why


def test_other_symbols_than_the_checkpoint_knows_are_refused(tiny: Tiny, run: Run, text_file: Path) -> None:
    run(tiny(data__tokenizer="char"))
    text_file.write_text(text_file.read_text().replace("+", "*"))
    failed = of(run(tiny(data__tokenizer="char"), resume="latest"), ev.Failed)[0]
    assert failed.user_error and "other symbols" in failed.error


def test_another_beta_takes_effect_after_a_resume(tiny: Tiny, run: Run, tmp_path: Path) -> None:
    run(tiny())
    run(tiny(optim__beta2=0.5), resume="step-00000008")
    state = json.loads((tmp_path / "run/checkpoints/step-00000012/state.json").read_text())
    assert [group["betas"] for group in state["optimizer_groups"]] == [[0.9, 0.5]] * 2
