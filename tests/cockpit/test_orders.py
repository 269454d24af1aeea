"""What is typed to have something done later, understood or refused in one line."""

from __future__ import annotations

from typing import Any

import pytest

from cockpit.orders import EXAMPLES, parse
from gpt.commands import At, Cancel, Cooldown, Evaluate, Extend, Pause, Sample, Save, SetConfig, Stop, StopWhen
from gpt.config import decode
from gpt.errors import ProfileError
from gpt.events import CommandScheduled

PROFILE = decode({"data": {"name": "python-stdlib"}})
WAITS = [CommandScheduled(item=1, step=1, what="save", when="at step 900", at_step=900)]


def understood(line: str) -> Any:
    return parse(line, PROFILE, step=100, wall=50.0, agenda=WAITS)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("at 5000 set optim.learning_rate=3e-4", At(step=5000, what=SetConfig(changes={"optim.learning_rate": 3e-4}))),
        ("at 5,000 set lr = 3e-4", At(step=5000, what=SetConfig(changes={"optim.learning_rate": 3e-4}))),
        ("at 5k set learning_rate=3e-4, grad_clip=0.5 schedule=wsd", At(step=5000, what=SetConfig(changes={
            "optim.learning_rate": 3e-4, "optim.grad_clip": 0.5, "optim.schedule": "wsd"}))),
        ('at 900 set sample.prompts=["a, b=c", "d"], min_lr=unset', At(step=900, what=SetConfig(changes={
            "sample.prompts": ["a, b=c", "d"], "optim.min_lr": None}))),
        ("at step +200 save", At(step=300, what=Save())),
        ("at 900 evaluate all", At(step=900, what=Evaluate(whole=True))),
        ("at 900 sample", At(step=900, what=Sample())),
        ("at 900 pause", At(step=900, what=Pause())),
        ("at 900 cool down 500 steps", At(step=900, what=Cooldown(steps=500))),
        ("at 900 cooldown", At(step=900, what=Cooldown())),
        ("at 900 extend by 200", At(step=900, what=Extend(steps=200))),
        ("  stop at step 1.5k ", At(step=1500, what=Stop())),
        ("stop in 2h 30m", StopWhen(wall=9050)),
        ("stop in 90 s", StopWhen(wall=140)),
        ("stop when val < 3.28", StopWhen(val_loss=3.28)),
        ("stop when val_loss ≤ 3.28", StopWhen(val_loss=3.28)),
        ("cancel 1", Cancel(item=1)),
    ],
)  # fmt: skip
def test_a_line_is_understood(line: str, command: Any) -> None:
    assert understood(line).command == command


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_that_is_shown_can_be_typed(line: str) -> None:
    assert understood(line).words


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "begin with"), ("at", "a step is a whole number"),
        ("at 100 save", "step 100 has passed: the run is at 100"),
        ("at 3.5 save", "a step is a whole number"), ("at 900", "say what to do"), ("at 900 dance", "got dance"),
        ("at 900 save all", "got save all"), ("at 900 set", "say what to set"), ("at 900 set lr", "say what"),
        ("at 900 set lr=-1", "must be a number > 0"),
        ("at 900 set model.n_layer=3", "cannot change while the run goes on"),
        ("at 900 set interval=3", "could be checkpoint.interval or sample.interval"),
        ("at 900 set optim.learning_rat=3", "did you mean learning_rate?"), ("at 900 set learn_rate=3", "did you mean"),
        ("at 900 set min_lr=1.0", "is above optim.learning_rate"), ("at 900 extend", "say what to do"),
        ("at 900 cool down 0", "a number of steps is whole"), ("stop", "say when"),
        ("stop in 5 parsecs", "a time is like"),
        ("stop in", "a time is like"), ("stop when val < low", "say which loss"), ("cancel 7", "one of 1"),
        ("at \x1b]52 save", "a step is a whole number"),
    ],
)  # fmt: skip
def test_what_is_not_understood_says_what_can_be_typed(line: str, words: str) -> None:
    with pytest.raises(ProfileError) as refused:
        understood(line)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value) and "\x1b" not in str(refused.value)
