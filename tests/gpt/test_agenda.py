"""What is scheduled is done at its very boundary, survives a resume, and can be cancelled; risky changes save first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from piloted_runs import Run, Tiny, at_step, of, state_of

from gpt import commands as do
from gpt import events as ev
from gpt.agenda import Agenda
from gpt.config import decode, replace
from gpt.live import risk
from gpt.trainer import Trainer

# -- the list itself -----------------------------------------------------------------------------------------------


def test_a_step_that_has_passed_is_refused_with_the_reason():
    agenda = Agenda()
    said = agenda.add(do.At(step=5, what=do.Save()), 5)
    assert isinstance(said, ev.CommandUnscheduled)
    assert (said.why, said.reason, agenda.items) == ("refused", "step 5 has passed", [])


def test_each_item_has_a_number_of_its_own_even_after_one_is_gone():
    agenda = Agenda()
    agenda.add(do.At(step=5, what=do.Save()), 0)
    agenda.cancel(1, 0)
    said = agenda.add(do.At(step=5, what=do.Save()), 0)
    assert isinstance(said, ev.CommandScheduled) and said.item == 2
    assert agenda.cancel(1, 0).why == "refused"


@pytest.mark.parametrize(
    ("waits", "now", "then"),
    [
        (do.At(step=7, what=do.Pause()), (6, 99.0, 1.0), (7, 0.0, None)),
        (do.StopWhen(wall=60), (6, 59.9, 1.0), (6, 60.0, None)),
        (do.StopWhen(val_loss=2.5), (6, 99.0, 2.51), (6, 0.0, 2.5)),
        (do.StopWhen(wall=60, val_loss=2.5), (6, 59.0, 3.0), (6, 59.0, 2.0)),
    ],
)
def test_something_is_due_when_its_condition_holds_and_not_before(waits: Any, now: Any, then: Any):
    agenda = Agenda()
    agenda.add(waits, 0)
    assert not agenda.due(now[0], wall=now[1], val_loss=now[2])
    assert [item.waits for item in agenda.due(then[0], wall=then[1], val_loss=then[2])] == [waits]


def test_an_agenda_comes_back_from_a_checkpoint_as_it_was():
    agenda, again = Agenda(), Agenda()
    agenda.add(do.At(step=7, what=do.SetConfig(changes={"sample.prompts": ["a"], "optim.min_lr": None})), 1)
    agenda.add(do.StopWhen(val_loss=2.5), 2)
    again.restore(json.loads(json.dumps(agenda.facts())))
    assert again.items == agenda.items
    assert again.facts() == agenda.facts()
    again.restore({})
    assert again.items == [], "a checkpoint older than the agenda has none"


# -- in a run ------------------------------------------------------------------------------------------------------


def test_a_setting_scheduled_for_a_step_holds_from_the_next_one_on(tiny: Tiny, run: Run):
    later = do.At(step=6, what=do.SetConfig(changes={"optim.learning_rate": 1e-3, "optim.schedule": "constant"}))
    events = run(tiny(train__eval_interval=0), pilot=at_step(2, later))
    (scheduled,) = of(events, ev.CommandScheduled)
    assert (scheduled.step, scheduled.at_step) == (2, 6)
    assert {(change.key, change.step) for change in of(events, ev.ConfigChanged)} == {
        ("optim.learning_rate", 6), ("optim.schedule", 6)
    }  # fmt: skip
    rates = {event.step: event.lr for event in of(events, ev.StepDone)}
    assert rates[6] > 2e-3 and rates[7] == rates[12] == 1e-3
    (done,) = of(events, ev.CommandUnscheduled)
    assert (done.item, done.step, done.why) == (scheduled.item, 6, "due")


def test_what_is_cancelled_is_not_done(tiny: Tiny, run: Run):
    orders = [do.At(step=5, what=do.Stop()), do.At(step=6, what=do.Save()), do.Cancel(item=1), do.Cancel(item=9)]
    events = run(tiny(train__eval_interval=0, checkpoint__interval=0), pilot=at_step(2, *orders))
    assert of(events, ev.Finished)[0].step == 12
    assert [(gone.item, gone.why) for gone in of(events, ev.CommandUnscheduled)] == [
        (1, "cancelled"), (9, "refused"), (2, "due")
    ]  # fmt: skip
    assert [saved.step for saved in of(events, ev.CheckpointSaved) if saved.reason == "asked"] == [6]


def test_a_run_stops_at_its_step_saved_and_can_go_on_from_there(tiny: Tiny, run: Run, tmp_path: Path):
    profile = tiny(train__eval_interval=0, checkpoint__interval=0)
    events = run(profile, pilot=at_step(1, do.At(step=5, what=do.Stop())))
    assert (of(events, ev.Finished)[0].step, of(events, ev.Finished)[0].reason) == (5, "stopped")
    assert state_of(tmp_path / "run")["agenda"]["items"] == [], "else it would stop again at once"
    assert of(run(profile, resume="latest"), ev.Finished)[0].step == 12


def test_a_run_stops_when_its_validation_loss_is_low_enough(tiny: Tiny, run: Run):
    first = of(run(tiny(), "first"), ev.EvalDone)
    wanted = first[1].val_loss  # of step 4: the one of step 0 is above it
    assert wanted < first[0].val_loss
    events = run(tiny(), "second", pilot=at_step(1, do.StopWhen(val_loss=wanted)))
    assert of(events, ev.Finished)[0].step == 4


def test_a_run_stops_when_its_time_is_up(tiny: Tiny, run: Run):
    events = run(tiny(), pilot=at_step(3, do.StopWhen(wall=0.001)))
    assert of(events, ev.Finished)[0].step in (3, 4), "at the first boundary after it was asked"
    assert of(events, ev.Finished)[0].reason == "stopped"


def test_at_the_last_step_a_run_can_still_be_extended(tiny: Tiny, run: Run):
    events = run(tiny(train__eval_interval=0), pilot=at_step(2, do.At(step=12, what=do.Extend(steps=3))))
    assert of(events, ev.Finished)[0].step == 15


def test_the_agenda_survives_a_stop_and_the_resumed_run_is_bit_identical(tiny: Tiny, run: Run, tmp_path: Path):
    profile = tiny(train__eval_interval=0, checkpoint__interval=0)
    change = do.At(step=8, what=do.SetConfig(changes={"optim.learning_rate": 3e-2, "optim.weight_decay": 0.3}))
    run(profile, "whole", pilot=at_step(2, change))
    run(profile, "parted", pilot=at_step(2, change, do.At(step=5, what=do.Stop())))
    kept = decode(state_of(tmp_path / "parted")["profile"])
    events = run(kept, "parted", resume="latest")
    assert of(events, ev.Resumed)[0].exact
    (told,) = of(events, ev.CommandScheduled)
    assert (told.item, told.step, told.at_step) == (1, 2, 8), "told again, for the screen"
    states = [state_of(tmp_path / name) for name in ("whole", "parted")]
    assert states[0]["files"] == states[1]["files"]
    assert states[0]["config_log"] == states[1]["config_log"] != []
    plain = run(profile, "plain")
    assert plain and state_of(tmp_path / "plain")["files"] != states[0]["files"], "the change counts"


# -- before what is risky ------------------------------------------------------------------------------------------


def test_a_checkpoint_of_the_step_is_made_before_a_risky_change(tiny: Tiny, run: Run, tmp_path: Path):
    changes = {"optim.learning_rate": 2e-2}, {"guard.window": 50}
    raising = at_step(6, *(do.SetConfig(changes=each) for each in changes))
    there: list[set[str]] = []

    def pilot(trainer: Trainer, event: ev.Event) -> None:
        raising(trainer, event)
        if isinstance(event, ev.ConfigChanged):
            there.append({path.name for path in (tmp_path / "run/checkpoints").glob("step-*")})

    profile = tiny(train__eval_interval=0, checkpoint__interval=5, checkpoint__keep=1)
    events = run(profile, pilot=pilot)
    assert [saved.step for saved in of(events, ev.CheckpointSaved) if saved.reason == "change"] == [6], "once a step"
    assert there == [{"step-00000005", "step-00000006"}] * 2, "before it, and none is deleted for it"


def test_the_checkpoint_before_a_scheduled_change_still_holds_it(tiny: Tiny, run: Run, tmp_path: Path):
    profile = tiny(train__eval_interval=0, checkpoint__interval=0)
    run(profile, pilot=at_step(2, do.At(step=6, what=do.SetConfig(changes={"optim.learning_rate": 2e-2}))))
    state = json.loads((tmp_path / "run/checkpoints/step-00000006/state.json").read_text())
    assert state["profile"]["optim"]["learning_rate"] == 1e-2
    assert [item["number"] for item in state["agenda"]["items"]] == [1]


@pytest.mark.parametrize("changes", [{"optim.learning_rate": 5e-3}, {"train.eval_steps": 3}, {"model.n_layer": 9}])
def test_a_change_without_risk_or_a_refused_one_saves_nothing(tiny: Tiny, run: Run, changes: dict[str, Any]):
    profile = tiny(train__eval_interval=0, checkpoint__interval=0)
    events = run(profile, pilot=at_step(6, do.SetConfig(changes=changes)))
    assert {saved.step for saved in of(events, ev.CheckpointSaved)} == {12}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"optim.learning_rate": 7e-4}, "the learning rate rises"),
        ({"optim.min_lr": 1e-4}, "the learning rate rises"),
        ({"optim.learning_rate": 5e-4, "optim.min_lr": 1e-4}, "the learning rate rises"),
        ({"optim.learning_rate": 5e-4}, None),
        ({"optim.learning_rate": 5e-4, "optim.grad_clip": 0.5}, "optim.grad_clip decides how steps change the weights"),
        ({"guard.policy": "off"}, "guard.policy decides how steps change the weights"),
        ({"train.micro_batch_size": 3}, "train.micro_batch_size decides how steps change the weights"),
        ({"checkpoint.keep": 9, "train.max_steps": 9}, None),
    ],
)
def test_what_is_risky(changes: dict[str, Any], reason: str | None):
    before = decode({"data": {"name": "python-stdlib"}})
    assert risk(before, replace(before, changes)) == reason
