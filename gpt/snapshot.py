"""The training state that a checkpoint holds: weights, optimizer, scaler, data position and generators.

A snapshot always describes the last step boundary. Between two micro-steps neither weights nor optimizer have changed,
and the generators' states are those captured at the boundary, so that a checkpoint may be written at any moment.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gpt import checkpoint
from gpt.config import SWITCHES, ModelConfig, Profile
from gpt.cudagraphs import Replayed
from gpt.data import BatchOrder, Dataset
from gpt.device import Device
from gpt.errors import CheckpointError
from gpt.joint_graph import JointGraph, can_take
from gpt.lanes import BothPasses, Lanes, by_autograd, count_lanes, replica
from gpt.ledger import TimeLedger
from gpt.manual_backprop import ManualBackprop, writes_out
from gpt.model import GPT
from gpt.optim import make_optimizer
from gpt.products import compile_options
from gpt.ranks import ALONE, Ranks
from gpt.stepper import Stepper


class Snapshot:
    """The live training state of one run.

    Attributes:
        model: the plain model; `forward` is it or its compiled form.
        parameters: by name; with sharded ranks, the shares.
        sequences: sequences trained on since step 0.
        passed_over: sequences that were read and are not to be read again, for a rewind has undone their steps.
    """

    def __init__(self, model: GPT, forward: nn.Module, stepper: Stepper, device: Device, vocab_size: int) -> None:
        self.model, self.forward, self.stepper, self.device, self.vocab_size = (
            model,
            forward,
            stepper,
            device,
            vocab_size,
        )
        self.optimizer, self.scaler, self._ranks = stepper.optimizer, stepper.scaler, stepper.ranks
        self.parameters = dict(model.named_parameters())
        self._betas = next(group["betas"] for group in self.optimizer.param_groups if "betas" in group)
        self.sequences = 0
        self.passed_over = 0
        self._generators: dict[str, torch.Tensor] = {}

    @property
    def position(self) -> int:
        """Number of the sequence that is read next."""
        return self.sequences + self.passed_over

    def move_on_to(self, position: int) -> None:
        """Reads on at sequence number `position`, passing over those before it."""
        self.passed_over = position - self.sequences

    def capture_generators(self) -> None:
        """Notes the state of every random generator that training draws from. To be called at each step boundary."""
        self._generators = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            self._generators["cuda"] = torch.cuda.get_rng_state(self.device.torch_device)
        elif self.device.type == "mps":
            self._generators["mps"] = torch.mps.get_rng_state()

    def begin_step_again(self) -> None:
        """Goes back to the step boundary from inside a step that has changed no weight yet."""
        self.stepper.forget_gradient()
        for name, state in self._generators.items():
            self._set_generator(name, state)

    def portion(self, profile: Profile) -> None:
        """Takes the steps that follow in the profile's micro-steps."""
        alone = self.stepper.ranks.size == 1
        lanes = _lanes(self.model, self.forward, self.device, profile) if alone else None
        self.stepper.portion(profile, lanes)

    def facts(self) -> dict[str, Any]:
        """JSON values for state.json."""
        return {
            "model": _shape(self.model.config, self.vocab_size),
            "sequences": self.sequences,
            "passed_over": self.passed_over,
            "optimizer_groups": self.optimizer.state_dict()["param_groups"],
            "scaler": self.scaler.state_dict() if self.scaler else None,
        }

    def tensors(self) -> dict[str, dict[str, torch.Tensor]]:
        """The two tensor files: `model` by parameter name, `optimizer` by parameter number, generators included.

        They are the run's own, where they are: the next step changes them. All ranks come here; only the first gets
        the tensors themselves.
        """
        gathered = self._ranks.gathered
        weights = {name: gathered(parameter) for name, parameter in self.parameters.items()}
        moments = {
            f"state.{number}.{name}": gathered(torch.as_tensor(value))
            for number, entries in self.optimizer.state_dict()["state"].items()
            for name, value in entries.items()
        }
        generators = {f"generator.{name}": state for name, state in self._generators.items()}
        return {"model": weights, "optimizer": moments | generators}

    def state_bytes(self) -> tuple[int, int]:
        """What the weights and the optimizer's own tensors take, of all ranks together."""
        kept = [value for entries in self.optimizer.state.values() for value in entries.values()]
        sizes = [sum(t.numel() * t.element_size() for t in tensors if isinstance(t, torch.Tensor))
                 for tensors in (self.parameters.values(), kept)]  # fmt: skip
        return sizes[0], sizes[1]

    def restore(self, path: Path, state: dict[str, Any]) -> None:
        """Puts a verified checkpoint's content in place. Raises CheckpointError where it does not fit."""
        self.put(checkpoint.load_tensors(path, "model"), checkpoint.load_tensors(path, "optimizer"), state, path)

    def put(
        self, weights: dict[str, torch.Tensor], saved: dict[str, torch.Tensor], state: dict[str, Any], source: Path
    ) -> None:
        """Puts weights, and moments and generators, in place. Raises CheckpointError where they do not fit.

        Args:
            weights, saved: the two files of `tensors`.
            state: `optimizer_groups`, `scaler` and `sequences` as in state.json.
            source: where they come from, for errors.
        """
        groups = [
            [group["name"] for group in each] for each in (state["optimizer_groups"], self.optimizer.param_groups)
        ]
        if groups[0] != groups[1]:
            raise CheckpointError(f"{source} was trained with another optimizer; resume with its own optim.name")
        load_weights(self.model, weights, source, self._ranks)
        ordered = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        entries: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in saved.items():
            kind, _, rest = name.partition(".")
            if kind == "state":
                number, _, key = rest.partition(".")
                whose = ordered[int(number)] if int(number) < len(ordered) else tensor
                entries.setdefault(int(number), {})[key] = self._ranks.like(whose, tensor)
            elif kind == "generator":
                self._set_generator(rest, tensor)
        try:
            self.optimizer.load_state_dict({"state": entries, "param_groups": state["optimizer_groups"]})
        except ValueError as error:
            raise CheckpointError(f"{source}: its optimizer state does not fit this model ({error})") from None
        for group in self.optimizer.param_groups:
            if "betas" in group:  # Muon's has none; loading brings the old ones back
                group["betas"] = self._betas
        if self.scaler and state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        self.sequences, self.passed_over = state["sequences"], state.get("passed_over", 0)

    def _set_generator(self, name: str, state: torch.Tensor) -> None:
        if name == "cpu":
            torch.set_rng_state(state)
        elif name == self.device.type == "cuda":
            torch.cuda.set_rng_state(state, self.device.torch_device)
        elif name == self.device.type == "mps":
            torch.mps.set_rng_state(state)


def build(
    profile: Profile, device: Device, data: Dataset, ledger: TimeLedger, saved: dict[str, Any] | None = None,
    *, ranks: Ranks = ALONE,
) -> Snapshot:  # fmt: skip
    """The training state before the first step; its weights are those of the seed, or the ones it starts from.

    Args:
        saved: the state.json of the checkpoint that will be restored into it; its shape must be the profile's.

    The seed sets the one global generator, so the same profile gives the same weights. Raises CheckpointError.
    """
    torch.manual_seed(profile.train.seed)
    vocab_size = profile.model.vocab_size or data.tokenizer.vocab_size
    weights = None
    if saved:
        vocab_size = saved["model"]["vocab_size"]
        gpt2 = ModelConfig(n_head=saved["model"]["n_head"])  # what a checkpoint older than a switch does not say
        there = _shape(gpt2, vocab_size) | saved["model"]
        difference = checkpoint.shape_difference(there, _shape(profile.model, vocab_size))
        if difference:
            raise CheckpointError(f"the checkpoint holds another shape: {difference}; resume with its own profile")
    elif profile.model.init_from != "scratch":
        from gpt.interop.huggingface import load_gpt2

        weights, vocab_size = load_gpt2(profile.model.init_from, profile.model)
    model = GPT(profile.model, vocab_size)
    if weights:
        load_weights(model, weights, Path(profile.model.init_from))
    model.to(device.torch_device)
    model.save_memory(profile.train.activation_checkpointing, profile.train.loss_chunk)
    placed = ranks.place(model, compile_options(device.type, device.dtype) if device.compile else None)
    optimizer = make_optimizer(model, profile.optim, device.type)
    scaler = torch.amp.GradScaler(device.type) if device.dtype == "float16" else None
    forward: nn.Module = placed or (_compiled(model, device) if device.compile else model)
    order = BatchOrder(len(data.train), profile.model.block_size, profile.train.seed, profile.data.sampling)
    lanes = _lanes(model, forward, device, profile) if ranks.size == 1 else None
    shared = ranks.wrap(forward)
    if device.cuda_graphs:  # evaluation goes without: its batches are few
        shared = Replayed(model, torch.compile(model, mode="reduce-overhead"))
    stepper = Stepper(model, shared, optimizer, scaler, data.train, order, device, profile, ledger, lanes, ranks)
    return Snapshot(model, forward, stepper, device, vocab_size)


def _compiled(model: GPT, device: Device) -> nn.Module:
    return torch.compile(model, options=compile_options(device.type, device.dtype))  # pyright: ignore[reportReturnType]


def _lanes(model: GPT, forward: nn.Module, device: Device, profile: Profile) -> Lanes | None:
    """Threads that share a micro-batch by rows, where that pays."""
    if device.type != "cpu":
        return None
    rows, threads = profile.micro_batch_size, torch.get_num_threads()
    count = count_lanes(threads, rows, dropout=profile.model.dropout, parameters=model.count_parameters())
    if count == 1:
        return None
    replicas = [replica(model) for _ in range(count - 1)]
    for twin in replicas:
        twin.save_memory(profile.train.activation_checkpointing, profile.train.loss_chunk)
    if can_take(profile, device.dtype):
        models = (model, *replicas)
        if device.compile:
            joint = JointGraph(model)
            return Lanes(model, [*map(joint.passes, models)], replicas, threads // count, backward="joint graph")
        if writes_out(profile.model):
            passes: list[BothPasses] = [ManualBackprop(each).add_gradient for each in models]
            return Lanes(model, passes, replicas, threads // count, backward="written out")
    modules = [forward, *(_compiled(twin, device) if device.compile else twin for twin in replicas)]

    def loss_of(module: Any, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        with device.autocast():
            return module(inputs, targets)[1]

    passes = [by_autograd(functools.partial(loss_of, module)) for module in modules]
    return Lanes(model, passes, replicas, threads // count)


def _shape(config: ModelConfig, vocab_size: int) -> dict[str, Any]:
    """What must be equal for weights to fit and to mean the same."""
    keys = ("n_layer", "n_head", "n_embd", "block_size", "bias", *(key for key in SWITCHES if key != "zero_init"))
    return {key: getattr(config, key) for key in keys} | {"n_kv_head": config.kv_heads, "vocab_size": vocab_size}


def load_weights(model: GPT, weights: dict[str, torch.Tensor], source: Path, ranks: Ranks = ALONE) -> None:
    """Copies tensors into the model's parameters, all of them or none. Raises CheckpointError, field by field."""
    parameters = dict(model.named_parameters())
    complaints = [f"{name} is missing" for name in parameters.keys() - weights.keys()]
    complaints += [f"{name} is not in the model" for name in weights.keys() - parameters.keys()]
    complaints += [
        f"{name} is {tuple(weights[name].shape)} there, {tuple(parameter.shape)} here"
        for name, parameter in parameters.items()
        if name in weights and weights[name].shape != parameter.shape
    ]
    if complaints:
        raise CheckpointError(f"{source} does not fit this model: {'; '.join(sorted(complaints)[:4])}")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(ranks.like(parameter, weights[name]))
