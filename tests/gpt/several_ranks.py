"""What each rank does in the tests of `test_distributed.py`: all runs of several ranks, in one pair of processes.

    RANK=… WORLD_SIZE=… MASTER_ADDR=… MASTER_PORT=… python several_ranks.py FOLDER

Reads FOLDER/profile.json; leaves each run in a folder below FOLDER, and what it said in `events.jsonl` there.
"""

import os
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


def train(
    name: str, *, resume: Path | None = None, pilot: Any = None, before_step: Any = None, **settings: Any
) -> Trainer:
    """A run; only the first rank's has a `pilot` that hears its events, `before_step` is called on each."""
    folder = FOLDER / name
    folder.mkdir(exist_ok=True)
    profile: Profile = replace(PROFILE, {key.replace("__", "."): value for key, value in settings.items()})

    def emit(event: ev.Event) -> None:
        with (folder / "events.jsonl").open("ab") as file:
            file.write(ev.encode(event))
        if pilot:
            pilot(trainer, event)

    trainer = Trainer(profile, folder, emit, resume=resume, ranks=ranks, attended=bool(pilot))
    take = trainer._take_step
    trainer._take_step = lambda: (before_step and before_step(trainer), take())[1]
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


ORDERS: dict[int, list[commands.Command]] = {
    2: [commands.Save(), commands.Sample(max_new_tokens=4), commands.StopSampling()],
    3: [commands.At(step=5, what=commands.SetConfig(changes={"optim.grad_clip": 0.25})), commands.Extend(steps=10)],
    4: [commands.StopWhen(val_loss=0.01), commands.At(step=9, what=commands.Pause()), commands.Cancel(item=3)],
    6: [commands.Pause(), commands.StepOnce(), commands.RangeTest(), commands.Evaluate(whole=True)],
    7: [commands.Leave(), commands.BreakOff(), commands.Continue()],  # the one step was taken
    8: [commands.Rewind(step=2, changes={"optim.learning_rate": 4e-4})],
    12: [commands.Cooldown(steps=3)],
}
"""What a pilot orders once so many steps are taken: every command but those that `steered` has."""
given: set[int] = set()


def order(trainer: Trainer, event: ev.Event) -> None:
    if isinstance(event, ev.StepDone) and event.step in ORDERS and event.step not in given:
        given.add(event.step)
        for command in ORDERS[event.step]:
            trainer.send(command)


stood: list[list[int]] = []
train(
    "ordered", train__parallel="ddp", pilot=order, train__max_steps=20, train__eval_interval=0,
    before_step=lambda run: stood.append([run.step, run.snapshot.position, run.profile.train.max_steps]),
)  # fmt: skip
(FOLDER / f"ordered/stood-{ranks.rank}.json").write_bytes(msgspec.json.encode(stood))


def decide(trainer: Trainer, event: ev.Event) -> None:
    """The first rank's pilot, asked what to do: go on."""
    if isinstance(event, ev.Paused):
        trainer.send(commands.Continue())


def spoil_one_rank(trainer: Trainer) -> None:
    """Lets the other rank's part of two steps' gradient be no number; its loss stays one. Notes what each rank does."""
    taken.append([trainer.step, trainer.snapshot.position, trainer.watch.guard.in_a_row])
    stepper = trainer.snapshot.stepper
    if len(taken) == 1:
        whole = stepper.share_of_loss

        def share_of_loss(*batch: torch.Tensor) -> torch.Tensor:
            loss = whole(*batch)
            if trainer.ranks.rank == 1 and len(taken) in (11, 12):
                loss.register_hook(lambda gradient: gradient * float("nan"))
            return loss

        stepper.share_of_loss = share_of_loss


for way in ("ddp", "fsdp"):
    taken: list[list[int]] = []
    guard = {"guard__policy": "rewind", "guard__patience": 2, "guard__window": 10}
    short = {"train__max_steps": 16, "checkpoint__interval": 4, "train__eval_interval": 0}
    train(f"{way}-spoilt", train__parallel=way, before_step=spoil_one_rank, **guard, **short)
    (FOLDER / f"{way}-spoilt/taken-{ranks.rank}.json").write_bytes(msgspec.json.encode(taken))

taken = []
asks = {"guard__policy": "pause", "guard__patience": 2, "guard__window": 10}
train("asked", pilot=decide, before_step=spoil_one_rank, train__max_steps=16, train__eval_interval=0, **asks)

train("odd", train__grad_accum_steps=3)


def fail_on_one_rank(trainer: Trainer) -> None:
    def shrunk(*_: Any) -> Any:
        raise DataError("train.bin has become shorter")

    if trainer.ranks.rank == 1 and trainer.step == 5:
        object.__setattr__(trainer.data.train, "gather", shrunk)


train("lost", checkpoint__interval=0, before_step=fail_on_one_rank)
os._exit(0)  # as the program does: threads of the network may want the interpreter while it is taken down, and abort
