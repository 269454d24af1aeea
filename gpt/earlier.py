"""An earlier checkpoint's weights beside the present ones, to be compared by what they say.

They are loaded into a second model on the same device and let go of afterwards. No random generator is touched, and
training waits meanwhile, as it does for any sample.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import torch

from gpt import checkpoint
from gpt.commands import Sample
from gpt.config import Profile
from gpt.device import Device
from gpt.errors import CheckpointError, DeviceError, UserError
from gpt.events import Event, LogLine
from gpt.fit import free_memory
from gpt.memory import MARGIN, sampling_bytes
from gpt.model import GPT
from gpt.sampler import SIDE_BY_SIDE, draw_samples, settled
from gpt.snapshot import Snapshot
from gpt.tokenizer import Tokenizer


def compare_samples(
    parent: Path, snapshot: Snapshot, tokenizer: Tokenizer, profile: Profile, command: Sample, *,
    number: int, drawn: int, emit: Callable[[Event], None], go_on: Callable[[], bool],
) -> int:  # fmt: skip
    """Lets an earlier checkpoint continue what the present weights have just continued, with the same seeds.

    Args:
        parent: the run's `checkpoints` folder.
        command: the one that was carried out; `against` names the checkpoint's step.
        number, drawn: of the first sample by the present weights, and how many there are.

    Returns how many samples it drew. What stands in the way is a warning, and nothing is drawn then.
    """
    assert command.against is not None
    try:
        settings = settled(profile.sample, command)
        seeded = msgspec.structs.replace(command, seed=settings.seed + number if command.seed is None else command.seed)
        if command.every_prompt:
            seeded = msgspec.structs.replace(seeded, seed=settings.seed)
        with earlier_model(parent, command.against, snapshot, min(drawn, SIDE_BY_SIDE)) as model:
            return draw_samples(
                model, tokenizer, snapshot.device, profile.sample, seeded,
                number=number + drawn, step=command.against, emit=emit, go_on=go_on, beside=number,
            )  # fmt: skip
    except (UserError, torch.OutOfMemoryError) as error:
        emit(LogLine(level="warning", text=f"nothing to compare with: {error}".splitlines()[0]))
        return 0


@contextlib.contextmanager
def earlier_model(parent: Path, step: int, snapshot: Snapshot, texts: int) -> Iterator[GPT]:
    """A model with the weights of the run's checkpoint of a step, gone after the block.

    Raises CheckpointError where there is none or it does not fit, DeviceError where there is no memory for it and the
    keys and values of `texts` texts.
    """
    path = parent / checkpoint.folder_name(step)
    if not path.is_dir():
        there = ", ".join(f"{checkpoint.step_of(place):,}" for place in checkpoint.list_newest_first(parent))
        raise CheckpointError(f"no checkpoint of step {step:,} is left; there are {there or 'none'}")
    device = snapshot.device
    _check_room(snapshot, device, texts)
    weights = checkpoint.load_tensors(path, "model")
    with torch.device("meta"):  # values would be drawn from the generator that training draws from
        model = GPT(snapshot.model.config, snapshot.vocab_size)
    try:
        model.load_state_dict({name: tensor.to(device.torch_device) for name, tensor in weights.items()}, assign=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit this model: {str(error).splitlines()[-1].strip()}") from None
    del weights
    try:
        yield model.eval()
    finally:
        del model
        if device.type == "cuda":  # or the allocator would keep it from the next step's activations
            torch.cuda.empty_cache()


def _check_room(snapshot: Snapshot, device: Device, texts: int) -> None:
    needed = sampling_bytes(snapshot.model.config, snapshot.vocab_size, texts, dtype=device.dtype)
    free = free_memory(device)
    if device.type == "cuda":  # what training holds is not free, whatever the allocator could hand out again
        free -= torch.cuda.memory_allocated(device.torch_device)
    if needed > MARGIN * free:
        raise DeviceError(
            f"a second model needs {needed / 1e9:.2g} GB and {free / 1e9:.2g} GB are free; "
            "draw fewer samples at once, or compare with gpt-cockpit sample on another device"
        )
