"""How much memory a step takes, by part, from a profile alone. No torch.

What autograd keeps for the backward pass (gpt/model.py in eager mode; n = B·T tokens, C = n_embd, H heads, V symbols of
the vocabulary; r = 4 bytes, the residual stream and the parameters; a = 4 bytes, or 2 where a product is autocast;
m = bytes of a dropout mask's element: 1 on CUDA, where the kernel is fused, else as many as the tensor's):

    token ids, targets      8n each
    embedding's dropout     m·nC                    the mask
    each layer
      a norm (twice)        r·nC + 8n               its input, which is the residual stream; mean and 1/deviation
                            a·nC                    its output, which is the linear layer's input
      attention             3a·nC + a·nC + 4·nH     query, key, value in one; output; log of the softmax's sum
      the MLP               4a·nC + 4a·nC           GELU's input and output
      dropout (twice)       m·nC                    the masks
      under autocast        a·12C²                  the matrices, in the lower precision
    last norm               r·nC + 8n + a·nC
    head                    a·VC                    its matrix, where it runs in the lower precision
    loss                    4·nV                    the log-probabilities, in float32

The switches of [model] change this: RMSNorm keeps what it has normed as well, except on CUDA; SwiGLU keeps four tensors
of the MLP's width, not two; QK norm and rotary positions keep queries and keys apart; fewer key heads keep less; a soft
cap on logits keeps its tanh, 4·nV.

Attention (flash, or the memory-efficient kernel) keeps no T×T matrix. On a CPU with dropout torch has no such kernel:
the plain one keeps 3·4·nC (query, key, value in float32), 3·4·nH·T (probabilities, mask, their product) and the output.

`activation_checkpointing = "selective"` keeps nothing of the MLP and of the second norm but its input, `"full"` keeps
r·nC of each layer; what is computed again exists for one layer at a time. The gradient of the loss needs two more
float32 tensors of the logits' size (with respect to the log-probabilities and to the logits), so the loss peaks at
12·nV; `loss_chunk` puts that many tokens in n's place there.

What is left out: the allocator's fragments, the library's workspaces, CUDA's own context (about 0.5 GB). A compiled
step keeps less than this, never much more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpt.config import ModelConfig, Profile
from gpt.flops import parameter_count

FLOAT32 = 4
"""Bytes of a parameter, its gradient, a moment and an element of the residual stream."""

ACTIVATION_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of what a product reads and writes, by `train.dtype`."""

MOMENTS = {"adamw": 2, "muon": 1}
"""Tensors of its size that an optimizer keeps of each matrix inside the layers, by `optim.name`; AdamW has the rest."""

MARGIN = 0.9
"""Share of the capacity that an estimate may fill: fragments and workspaces take some of the rest."""


@dataclass(frozen=True)
class Memory:
    """Bytes by part at each moment of a step that may be its peak, the optimizer's state (made in the first) there."""

    moments: dict[str, dict[str, int]]
    """`loss`: the backward pass begins. `last layer`, `first layer`: it is in their MLPs, the gradients of the
    other layers not made yet, or made. `embedding`: it ends. `update`: the optimizer has all gradients."""
    saved: dict[str, int]
    """What the forward pass leaves for the backward pass: `activations` (all layers, norms, ids), `casts`, `logits`."""
    layer: int
    """Of the activations, one layer's."""

    @property
    def moment(self) -> str:
        """When the peak is."""
        return max(self.moments, key=lambda moment: sum(self.moments[moment].values()))

    @property
    def parts(self) -> dict[str, int]:
        """Bytes by part at the peak; they add up to it."""
        return self.moments[self.moment]

    @property
    def peak(self) -> int:
        """Bytes."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class _Sizes:
    """One micro-step's numbers, by the letters of this module's docstring."""

    model: ModelConfig
    n: int
    a: int
    fused: bool
    """On CUDA: masks are bits in bytes, and RMSNorm keeps nothing between."""
    plain_attention: bool

    @property
    def stream(self) -> int:
        """r·nC: the residual stream between two parts."""
        return FLOAT32 * self.n * self.model.n_embd

    @property
    def norm(self) -> int:
        """What a norm keeps beside its input, its output included."""
        stats, between = 8 * self.n, 0
        if self.model.norm == "rmsnorm":
            stats, between = 4 * self.n, 0 if self.fused else self.stream
        return stats + between + self.a * self.n * self.model.n_embd

    @property
    def attention(self) -> int:
        model, n, a = self.model, self.n, self.a
        output, apart = a * n * model.n_embd, n * (model.n_head + model.kv_heads) * model.head_width
        joint = a * (apart + n * model.kv_heads * model.head_width)
        kept = output
        if model.qk_norm:  # input and what is normed, both float32; with a = 4 the input is the joint tensor's
            kept += 4 * n * (model.n_head + model.kv_heads)
            kept += FLOAT32 * apart * ((a < FLOAT32) + (not self.fused))
        if self.plain_attention:
            kept += 3 * FLOAT32 * n * (model.n_embd + model.n_head * model.block_size)
            return kept + (joint if model.qk_norm and a == FLOAT32 else 0)
        if model.qk_norm or model.positions == "rotary":
            kept += a * apart + (
                0 if self.fused else output
            )  # on a CPU the output comes in another layout, and is copied
        return kept + joint + 4 * n * model.n_head

    @property
    def mlp(self) -> int:
        wide = self.a * self.n * self.model.mlp_width
        if self.model.activation != "swiglu":
            return 2 * wide
        cast_again = (
            self.a * self.n * self.model.n_embd if self.a < FLOAT32 else 0
        )  # the gate casts the input for itself
        return 4 * wide + cast_again

    def mask(self, of: int) -> int:
        """What dropout keeps of a tensor whose elements have `of` bytes."""
        return (1 if self.fused else of) * self.n * self.model.n_embd if self.model.dropout else 0

    def layer(self, checkpointing: str) -> tuple[int, int]:
        """Bytes of a layer: what is kept of it until its backward pass, what is made again for that."""
        whole = 2 * (self.stream + self.norm + self.mask(self.a)) + self.attention + self.mlp
        again = {"off": 0, "selective": self.norm + self.mlp, "full": whole - self.stream}[checkpointing]
        return whole - again, again


def estimate(
    profile: Profile, vocab_size: int, *, dtype: str = "float32", device_type: str = "cuda",
    micro_batch_size: int | None = None,
) -> Memory:  # fmt: skip
    """What a step of the profile needs.

    Args:
        vocab_size: rows of the token embedding.
        dtype: `float32`, or what autocast lowers products to: `bfloat16`, `float16`.
        micro_batch_size: instead of the profile's, the tokens in a step unchanged.
    """
    model, train = profile.model, profile.train
    batch = micro_batch_size or profile.micro_batch_size
    accumulates = profile.sequences_per_step > batch
    a, n, C = ACTIVATION_BYTES[dtype], batch * model.block_size, model.n_embd
    sizes = _Sizes(model, n, a, device_type == "cuda", model.dropout > 0 and device_type == "cpu")
    weights = FLOAT32 * parameter_count(model, vocab_size)[0]
    table = FLOAT32 * vocab_size * C

    kept, again = sizes.layer(train.activation_checkpointing)
    beginning = 16 * n + sizes.mask(FLOAT32)
    if model.positions == "rotary":  # cosines and sines, for all layers
        beginning += FLOAT32 * model.block_size * model.head_width
    end = sizes.stream + (0 if train.loss_chunk else sizes.norm)
    activations = beginning + model.n_layer * kept + end
    casts = head_cast = 0
    if a < FLOAT32:
        attention, mlp = _matrices(model)
        lowered = {"off": attention + mlp, "selective": attention, "full": 0}[train.activation_checkpointing]
        casts, head_cast = a * lowered * model.n_layer, 0 if train.loss_chunk else a * vocab_size * C
    rows, capped = min(n, train.loss_chunk or n), model.logit_softcap is not None
    logits = (4 if capped else 3) * FLOAT32 * rows * vocab_size
    if train.loss_chunk:  # the gradient of the head's matrix adds up, and each chunk brings its own
        logits += 2 * table
    # Of the residual stream a gradient (twice where it is cast), of the MLP's width one or two, of its last matrix one.
    hidden = (1 if model.activation == "gelu" else 2) * a * model.mlp_width
    work = again + n * (C * (FLOAT32 + (a if a < FLOAT32 else 0)) + hidden) + FLOAT32 * model.mlp_width * C

    standing = {"weights": weights, "optimizer": optimizer_bytes(profile, vocab_size)}
    before = weights if accumulates else 0  # gradients of the micro-steps before this one
    waiting = table if model.tie_weights or not accumulates else 0  # the head's gradient, for the embedding's
    tables = table if model.tie_weights else 2 * table
    made = waiting if accumulates else weights - (weights - tables) // model.n_layer - (tables - table)
    embedding = {"gradients": before + waiting, "workspace": table}
    if not accumulates:
        embedding = {"gradients": weights, "workspace": table if model.tie_weights else 0}
    return Memory(
        moments={
            "loss": standing | {
                "gradients": before, "activations": activations, "casts": casts + head_cast, "logits": logits,
            },
            "last layer": standing | {
                "gradients": before + waiting, "activations": activations - end, "casts": casts, "workspace": work,
            },
            "first layer": standing | {
                "gradients": before + made, "activations": beginning + kept, "casts": casts // model.n_layer,
                "workspace": work,
            },
            "embedding": standing | embedding,
            "update": standing | {"gradients": weights},
        },
        saved={
            "activations": activations, "casts": casts + head_cast,
            "logits": 0 if train.loss_chunk else (2 if capped else 1) * FLOAT32 * n * vocab_size,
        },
        layer=kept,
    )  # fmt: skip


def optimizer_bytes(profile: Profile, vocab_size: int) -> int:
    """What the optimizer keeps from its first step on."""
    matrices = FLOAT32 * sum(_matrices(profile.model)) * profile.model.n_layer
    weights = FLOAT32 * parameter_count(profile.model, vocab_size)[0]
    return MOMENTS[profile.optim.name] * matrices + MOMENTS["adamw"] * (weights - matrices)


def sampling_bytes(model: ModelConfig, vocab_size: int, texts: int, *, dtype: str = "float32") -> int:
    """What a second model takes that only speaks: its weights, keys and values of texts drawn side by side, logits."""
    kept = 2 * model.n_layer * model.kv_heads * model.head_width * model.block_size
    cache = ACTIVATION_BYTES[dtype] * kept * texts
    return FLOAT32 * (parameter_count(model, vocab_size)[0] + texts * vocab_size) + cache


def _matrices(model: ModelConfig) -> tuple[int, int]:
    """Numbers in a layer's matrices: attention's, the MLP's."""
    C, channels = model.n_embd, (model.n_head + 2 * model.kv_heads) * model.head_width
    return (channels + C) * C, (3 if model.activation == "swiglu" else 2) * model.mlp_width * C


def largest_micro_batch(
    profile: Profile, vocab_size: int, capacity_bytes: int, *, dtype: str = "float32", device_type: str = "cuda",
) -> int | None:  # fmt: skip
    """The most sequences of a micro-step that keep tokens_per_step and fit into the capacity; None: not even one."""
    fitting = [
        size for size in portions(profile.sequences_per_step)
        if estimate(profile, vocab_size, dtype=dtype, device_type=device_type, micro_batch_size=size).peak
        <= capacity_bytes
    ]  # fmt: skip
    return max(fitting, default=None)


def portions(sequences: int, largest: int = 65536) -> Sequence[int]:
    """Micro-batches that make a step of `sequences` without a rest: its divisors, ascending."""
    return [size for size in range(1, min(sequences, largest) + 1) if sequences % size == 0]
