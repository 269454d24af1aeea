"""An earlier checkpoint speaks beside the present weights, and a pilot can end what is being said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from piloted_runs import at_step, of

from gpt import commands
from gpt import events as ev
from gpt.config import Profile, replace
from gpt.trainer import Trainer

SUMS = "".join(f"{a} + {b} = {a + b}\n" for a in range(30) for b in range(30))


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    text = tmp_path / "sums.txt"
    text.write_text(SUMS)
    return replace(Profile(), {
        "data.input": str(text), "model.n_layer": 1, "model.n_head": 2, "model.n_embd": 16, "model.block_size": 16,
        "model.dropout": 0.1, "train.micro_batch_size": 4, "train.max_steps": 6, "train.eval_interval": 0,
        "train.eval_steps": 1, "train.device": "cpu", "train.threads": 1, "train.noise_scale_interval": 0,
        "optim.learning_rate": 0.1, "checkpoint.interval": 2, "checkpoint.keep": 9, "checkpoint.best": False,
        "sample.prompts": ["1 + ", "2"], "sample.max_new_tokens": 12, "device.peak_tflops": 1.0,
    })  # fmt: skip


def train(profile: Profile, folder: Path, hook: Callable[[Trainer, ev.Event], None] | None = None) -> list[Any]:
    events: list[Any] = []

    def emit(event: ev.Event) -> None:
        events.append(event)
        if hook:
            hook(trainer, event)

    trainer = Trainer(profile, folder, emit)
    trainer.run()
    assert trainer.failure is None, trainer.failure
    return events


def weights(folder: Path) -> bytes:
    return (folder / "checkpoints" / "latest" / "model.safetensors").read_bytes()


def test_an_earlier_checkpoint_says_what_it_said_then_and_training_is_not_disturbed(
    profile: Profile, tmp_path: Path
) -> None:
    ask = commands.Sample(prompt="1 + ", seed=5, count=2)
    then = train(profile, tmp_path / "then", at_step(2, ask))
    alone = {e.sample: e.text for e in of(then, ev.SampleDone)}
    both = train(profile, tmp_path / "both", at_step(5, commands.Sample(prompt="1 + ", seed=5, count=2, against=2)))
    started = of(both, ev.SampleStarted)
    assert [(e.sample, e.step, e.seed, e.beside) for e in started] == [
        (1, 5, 5, None), (2, 5, 6, None), (3, 2, 5, 1), (4, 2, 6, 2),
    ]  # fmt: skip
    texts = {e.sample: e.text for e in of(both, ev.SampleDone)}
    assert (texts[3], texts[4]) == (alone[1], alone[2]) and texts[1] != texts[3]
    assert weights(tmp_path / "both") == weights(tmp_path / "then")


def test_without_a_seed_both_speak_with_that_of_the_samples_number(profile: Profile, tmp_path: Path) -> None:
    events = train(profile, tmp_path / "run", at_step(5, commands.Sample(), commands.Sample(against=4)))
    assert [(e.sample, e.seed) for e in of(events, ev.SampleStarted)] == [(1, 2), (2, 3), (3, 3)]


@pytest.mark.parametrize("reason", ["gone", "memory"])
def test_what_cannot_be_compared_is_a_warning_and_the_present_weights_speak_all_the_same(
    profile: Profile, tmp_path: Path, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason == "memory":
        monkeypatch.setattr("gpt.earlier.free_memory", lambda device: 1000)
    events = train(profile, tmp_path / "run", at_step(5, commands.Sample(against=3 if reason == "gone" else 4)))
    assert len(of(events, ev.SampleDone)) == 1
    (line,) = [e.text for e in of(events, ev.LogLine) if e.level == "warning"]
    expected = {"gone": "no checkpoint of step 3 is left; there are 4, 2", "memory": "a second model needs"}
    assert line.startswith("nothing to compare with: ") and expected[reason] in line
    assert of(events, ev.Finished)


def test_loading_an_earlier_model_touches_no_generator(profile: Profile, tmp_path: Path) -> None:
    from gpt.earlier import earlier_model

    seen: list[tuple[bool, bool]] = []

    def hook(trainer: Trainer, event: ev.Event) -> None:
        if isinstance(event, ev.StepDone) and event.step == 5:
            state = torch.get_rng_state()
            with earlier_model(tmp_path / "run" / "checkpoints", 4, trainer.snapshot, 1) as model:
                seen.append((torch.equal(state, torch.get_rng_state()), model.training))

    train(profile, tmp_path / "run", hook)
    assert seen == [(True, False)]


def test_stop_sampling_ends_the_sample_under_way_and_those_that_wait_but_not_the_run(
    profile: Profile, tmp_path: Path
) -> None:
    long = replace(profile, {"sample.max_new_tokens": 100_000})

    def hook(trainer: Trainer, event: ev.Event) -> None:
        at_step(3, commands.Sample(), commands.Sample())(trainer, event)
        if isinstance(event, ev.SampleText) and event.sample == 1:
            trainer.send(commands.StopSampling())

    events = train(long, tmp_path / "run", hook)
    first, second = of(events, ev.SampleDone)
    assert 0 < first.tokens < 100_000 and second.tokens == 1
    assert of(events, ev.Finished)[0].reason == "max_steps"
    assert [e.command for e in of(events, ev.CommandReceived)] == ["Sample", "Sample", "StopSampling"]


def test_stop_sampling_with_nothing_under_way_does_nothing_to_what_comes_after(
    profile: Profile, tmp_path: Path
) -> None:
    events = train(profile, tmp_path / "run", at_step(3, commands.StopSampling(), commands.Sample()))
    assert [e.tokens for e in of(events, ev.SampleDone)] == [12]


def test_prompts_are_continued_at_each_evaluation_with_seeds_that_stay(profile: Profile, tmp_path: Path) -> None:
    often = replace(profile, {
        "train.eval_interval": 3, "sample.at_evaluation": True, "sample.interval": 3, "sample.alternatives": 2,
        "sample.max_new_tokens": 4,
    })  # fmt: skip
    events = train(often, tmp_path / "run")
    assert [(e.step, e.prompt, e.seed) for e in of(events, ev.SampleStarted)] == [
        (step, prompt, seed) for step in (0, 3, 6) for prompt, seed in (("1 + ", 1), ("2", 2))
    ]
    scores = of(events, ev.SampleScored)
    assert len(scores) == 6 and scores[0].prompt_loss is not None and scores[1].prompt_loss is None


def test_what_the_training_state_takes_is_told_after_the_first_step(profile: Profile, tmp_path: Path) -> None:
    events = train(profile, tmp_path / "run")
    (measured,) = of(events, ev.StateMeasured)
    started = of(events, ev.RunStarted)[0]
    assert measured.weights == 4 * started.parameters
    assert 2 * measured.weights <= measured.optimizer < 2.1 * measured.weights
    assert [type(e) for e in events].index(ev.StateMeasured) > [type(e) for e in events].index(ev.StepDone)
