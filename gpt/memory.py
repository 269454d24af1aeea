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

from gpt.config import Profile
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

    n: int
    C: int
    H: int
    T: int
    V: int
    a: int
    mask: int
    """Bytes of a mask's element on what a product has made; 0 without dropout."""
    wide_mask: int
    """The same on the residual stream."""
    plain_attention: bool


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
    a = ACTIVATION_BYTES[dtype]
    drops, on_cuda = model.dropout > 0, device_type == "cuda"
    sizes = _Sizes(
        n=batch * model.block_size, C=model.n_embd, H=model.n_head, T=model.block_size, V=vocab_size, a=a,
        mask=(1 if on_cuda else a) if drops else 0, wide_mask=(1 if on_cuda else FLOAT32) if drops else 0,
        plain_attention=drops and device_type == "cpu",
    )  # fmt: skip
    n, C = sizes.n, sizes.C
    weights = FLOAT32 * parameter_count(model, vocab_size)[0]
    table = FLOAT32 * vocab_size * C

    kept, again = _layer(sizes, train.activation_checkpointing)
    beginning = 16 * n + sizes.wide_mask * n * C
    end = (FLOAT32 if train.loss_chunk else FLOAT32 + a) * n * C + (0 if train.loss_chunk else 8 * n)
    activations = beginning + model.n_layer * kept + end
    casts = head_cast = 0
    if a < FLOAT32:
        matrices = {"off": 12, "selective": 4, "full": 0}[train.activation_checkpointing]
        casts = a * matrices * C * C * model.n_layer
        head_cast = 0 if train.loss_chunk else a * vocab_size * C
    rows = min(n, train.loss_chunk or n)
    logits = 3 * FLOAT32 * rows * vocab_size
    if train.loss_chunk:  # the gradient of the head's matrix adds up, and each chunk brings its own
        logits += 2 * table
    # Of the residual stream a gradient (twice where it is cast), of the MLP's width one, of its second matrix one.
    work = again + n * C * (FLOAT32 + (a if a < FLOAT32 else 0) + 4 * a) + FLOAT32 * 4 * C * C

    standing = {"weights": weights, "optimizer": optimizer_bytes(profile, vocab_size)}
    before = weights if accumulates else 0  # gradients of the micro-steps before this one
    made = table if accumulates else weights - (weights - table) // model.n_layer
    inner = activations - end
    return Memory(
        moments={
            "loss": standing | {
                "gradients": before, "activations": activations, "casts": casts + head_cast, "logits": logits,
            },
            "last layer": standing | {
                "gradients": before + table, "activations": inner, "casts": casts, "workspace": work,
            },
            "first layer": standing | {
                "gradients": before + made, "activations": beginning + kept, "casts": casts // model.n_layer,
                "workspace": work,
            },
            "embedding": standing | {"gradients": before + (table if accumulates else weights), "workspace": table},
            "update": standing | {"gradients": weights},
        },
        saved={
            "activations": activations, "casts": casts + head_cast,
            "logits": 0 if train.loss_chunk else FLOAT32 * n * vocab_size,
        },
        layer=kept,
    )  # fmt: skip


def _layer(sizes: _Sizes, checkpointing: str) -> tuple[int, int]:
    """Bytes of one layer: what is kept of it until its backward pass, what is made again for that."""
    n, C, a = sizes.n, sizes.C, sizes.a
    residual, normed = FLOAT32 * n * C, a * n * C + 8 * n
    if sizes.plain_attention:
        attention = FLOAT32 * 3 * n * C + FLOAT32 * 3 * n * sizes.H * sizes.T + a * n * C
    else:
        attention = 3 * a * n * C + a * n * C + 4 * n * sizes.H
    mlp = 2 * 4 * a * n * C
    masks = 2 * sizes.mask * n * C
    whole = 2 * (residual + normed) + attention + mlp + masks
    kept = {"off": whole, "selective": whole - normed - mlp, "full": residual}[checkpointing]
    again = {"off": 0, "selective": normed + mlp, "full": whole - residual}[checkpointing]
    return kept, again


def optimizer_bytes(profile: Profile, vocab_size: int) -> int:
    """What the optimizer keeps from its first step on."""
    matrices = FLOAT32 * 12 * profile.model.n_embd**2 * profile.model.n_layer
    weights = FLOAT32 * parameter_count(profile.model, vocab_size)[0]
    return MOMENTS[profile.optim.name] * matrices + MOMENTS["adamw"] * (weights - matrices)


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
