"""What each rank does in the tests of `test_distributed.py`: all runs of several ranks, in one pair of processes.

    RANK=… WORLD_SIZE=… MASTER_ADDR=… MASTER_PORT=… python several_ranks.py FOLDER

Reads FOLDER/profile.json; leaves each run in a folder below FOLDER, and what it said in `events.jsonl` there.
"""

import sys
from pathlib import Path
from typing import Any

import msgspec
import torch

from gpt import commands
from gpt import events as ev
from gpt.config import Profile, decode, flatten, replace
from gpt.distributed import join
from gpt.errors import DataError
from gpt.trainer import Trainer

FOLDER = Path(sys.argv[1])
PROFILE = decode(msgspec.json.decode((FOLDER / "profile.json").read_bytes()))


def train(name: str, *, resume: Path | None = None, pilot: Any = None, **settings: Any) -> Trainer:
    folder = FOLDER / name
    folder.mkdir(exist_ok=True)
    profile: Profile = replace(PROFILE, {key.replace("__", "."): value for key, value in settings.items()})

    def emit(event: ev.Event) -> None:
        with (folder / "events.jsonl").open("ab") as file:
            file.write(ev.encode(event))
        if pilot:
            pilot(trainer, event)

    trainer = Trainer(profile, folder, emit, resume=resume, ranks=ranks)
    try:
        trainer.run()
    except Exception as error:
        sys.stderr.write(f"{name}: {error}\n")
    if trainer.failure:
        (folder / f"failure-{ranks.rank}.txt").write_text(trainer.failure.error)
    else:
        rate = flatten(trainer.profile)["optim.learning_rate"]
        weights = sum(float(p.detach().double().norm()) for p in trainer.snapshot.parameters.values())
        drawn = torch.rand(1).item()
        (folder / f"end-{ranks.rank}.json").write_bytes(msgspec.json.encode([trainer.step, rate, weights, drawn]))
    return trainer


def steer(trainer: Trainer, event: ev.Event) -> None:
    """The first rank's pilot: another rate, a pause, an evaluation while paused, and a stop before the end."""
    if isinstance(event, ev.StepDone) and event.step == 3:
        trainer.send(commands.SetConfig(changes={"optim.learning_rate": 5e-4}))
        trainer.send(commands.Pause())
    elif isinstance(event, ev.Paused):
        trainer.send(commands.Evaluate())
        trainer.send(commands.Continue())
    elif isinstance(event, ev.StepDone) and event.step == 6:
        trainer.send(commands.Stop())


ranks = join()
one = FOLDER / "one/checkpoints/step-00000025"
for way in ("ddp", "fsdp"):
    train(way, train__parallel=way)
    train(f"{way}-from-one", train__parallel=way, train__max_steps=30, resume=one)
    wet = {"train__parallel": way, "train__max_steps": 8, "checkpoint__interval": 4, "model__dropout": 0.1}
    train(f"{way}-wet", **wet)
    train(f"{way}-wet-resumed", resume=FOLDER / f"{way}-wet/checkpoints/step-00000004", **wet)
train("steered", train__parallel="fsdp", pilot=steer)

train("odd", train__grad_accum_steps=3)


def fail_on_one_rank(trainer: Trainer) -> None:
    def shrunk(*_: Any) -> Any:
        raise DataError("train.bin has become shorter")

    if trainer.ranks.rank == 1 and trainer.step == 5:
        object.__setattr__(trainer.data.train, "gather", shrunk)


taken = Trainer._take_step
Trainer._take_step = lambda trainer: (fail_on_one_rank(trainer), taken(trainer))[1]  # pyright: ignore
train("lost", checkpoint__interval=0)
