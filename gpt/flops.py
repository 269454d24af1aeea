"""How much arithmetic a token costs, and how much a device can do. No torch.

MFU (model FLOPs utilization) is the first over the second: the FLOPs a step must do, by formula, over what the
device's datasheet promises for dense matrix products in the dtype in use.
"""

from __future__ import annotations

import re

from gpt.config import ModelConfig


def parameter_count(config: ModelConfig, vocab_size: int) -> tuple[int, int]:
    """(all parameters, the same without the position embedding) of the model that gpt.model.GPT builds.

    The second is what nanoGPT prints. Both count each shared matrix once.
    """
    width, head, bias = config.n_embd, config.head_width, int(config.bias)
    norm = width if config.norm == "rmsnorm" else width * (1 + bias)
    channels = (config.n_head + 2 * config.kv_heads) * head
    attention = (width + bias) * channels + width * width + bias * width + (2 * head if config.qk_norm else 0)
    inward = 2 if config.activation == "swiglu" else 1
    mlp = inward * (width + bias) * config.mlp_width + config.mlp_width * width + bias * width
    blocks = config.n_layer * (2 * norm + attention + mlp)
    embeddings = vocab_size * width * (1 if config.tie_weights else 2)
    without_positions = embeddings + blocks + norm
    positions = config.block_size * width if config.positions == "learned" else 0
    return without_positions + positions, without_positions


def flops_per_token(config: ModelConfig, *, vocab_size: int) -> float:
    """FLOPs to train on one token, forward and backward: 6N + 12·L·H·Q·T.

    Source: Chowdhery et al. 2022 (PaLM), appendix B. N leaves the position embedding out, as nanoGPT does: it is
    looked up, never multiplied. The same goes for the token embedding where the head has a matrix of its own. Fewer key
    and value heads make N smaller, not the second term: every query head still compares with every key.
    """
    multiplied = parameter_count(config, vocab_size)[1] - (0 if config.tie_weights else vocab_size * config.n_embd)
    return 6.0 * multiplied + 12 * config.n_layer * config.n_head * config.head_width * config.block_size


def mfu(flops_per_token: float, tokens: int, seconds: float, peak_flops: float | None) -> float | None:
    """Model FLOPs utilization, 0…1, of `tokens` trained on in `seconds`; None where the peak is unknown."""
    if not peak_flops or seconds <= 0:
        return None
    return flops_per_token * tokens / seconds / peak_flops


_GEFORCE_AMPERE = "NVIDIA GA102 whitepaper, appendix A (dense, FP32 accumulate): 512 FLOP per SM and boost clock"
_GEFORCE_ADA = "NVIDIA Ada whitepaper, appendix A (dense, FP32 accumulate): 512 FLOP per SM and boost clock"
_GEFORCE_BLACKWELL = (
    "NVIDIA RTX Blackwell whitepaper, appendix A (dense, FP32 accumulate): 512 FLOP per SM and boost clock"
)

# name pattern → ({dtype: dense TFLOP/s}, source). GeForce cards run 16-bit products with FP32 accumulation, which is what
# training uses, at half the rate of FP16 accumulation; float32 is the plain (non-TF32) rate. The first match counts.
# A pattern shuts out the cards of other speed that share its name: Ti, SUPER, D, Laptop, NVL.
_PEAKS: list[tuple[str, dict[str, float], str]] = [
    (r"\bB200\b", {"bfloat16": 2250, "float16": 2250, "tfloat32": 1100, "float32": 75}, "NVIDIA HGX B200 datasheet, per GPU, dense (half the sparse figure)"),
    (r"\bH200\b(?! NVL)", {"bfloat16": 989.4, "float16": 989.4, "tfloat32": 494.7, "float32": 66.9}, "NVIDIA H200 datasheet (SXM), dense"),
    (r"\bH100\b.*PCIe", {"bfloat16": 756, "float16": 756, "tfloat32": 378, "float32": 51.2}, "NVIDIA H100 datasheet (PCIe), dense"),
    (r"\bH100\b(?! NVL)", {"bfloat16": 989.4, "float16": 989.4, "tfloat32": 494.7, "float32": 66.9}, "NVIDIA H100 datasheet (SXM), dense"),
    (r"\bA100\b", {"bfloat16": 312, "float16": 312, "tfloat32": 156, "float32": 19.5}, "NVIDIA A100 datasheet, dense"),
    (r"\bV100-PCIE\b", {"float16": 112, "float32": 14}, "NVIDIA V100 datasheet (PCIe)"),
    (r"\bV100-SXM2\b", {"float16": 125, "float32": 15.7}, "NVIDIA V100 datasheet (SXM2)"),
    (r"\bL4\b", {"bfloat16": 121, "float16": 121, "tfloat32": 60, "float32": 30.3}, "NVIDIA L4 datasheet, dense (half the sparse figure)"),
    (r"\bT4\b", {"float16": 65, "float32": 8.1}, "NVIDIA T4 datasheet"),
    (r"RTX 5090(?! ?(D|Laptop))", {"bfloat16": 209.5, "float16": 209.5, "tfloat32": 104.8, "float32": 104.8}, _GEFORCE_BLACKWELL),
    (r"RTX 4090(?! ?(D|Laptop))", {"bfloat16": 165.2, "float16": 165.2, "tfloat32": 82.6, "float32": 82.6}, _GEFORCE_ADA),
    (r"RTX 4080(?! ?(SUPER|Laptop))", {"bfloat16": 97.5, "float16": 97.5, "tfloat32": 48.7, "float32": 48.7}, _GEFORCE_ADA),
    (r"RTX 4070 Ti(?! ?SUPER)", {"bfloat16": 80.2, "float16": 80.2, "tfloat32": 40.1, "float32": 40.1}, _GEFORCE_ADA),
    (r"RTX 4070(?! ?(Ti|SUPER|Laptop))", {"bfloat16": 58.3, "float16": 58.3, "tfloat32": 29.1, "float32": 29.1}, _GEFORCE_ADA),
    (r"RTX 3090(?! ?Ti)", {"bfloat16": 71, "float16": 71, "tfloat32": 35.6, "float32": 35.6}, _GEFORCE_AMPERE),
    (r"RTX 3060(?! ?(Ti|Laptop))", {"bfloat16": 25.5, "float16": 25.5, "tfloat32": 12.7, "float32": 12.7}, _GEFORCE_AMPERE),
    (r"\bMI300X\b", {"bfloat16": 1307.4, "float16": 1307.4, "tfloat32": 653.7, "float32": 163.4}, "AMD Instinct MI300X datasheet, dense"),
]  # fmt: skip


def datasheet_peak(device: str, dtype: str) -> tuple[float, str] | None:
    """(dense peak in FLOP/s, its source) of a device by name, or None where the table does not know it.

    A slice of a card (MIG) is unknown: its share of the peak is not in its name.

    Args:
        device: the driver's name for it, e.g. `NVIDIA GeForce RTX 4070 Ti`.
        dtype: `bfloat16`, `float16`, `tfloat32` or `float32`.
    """
    if re.search(r"\bMIG\b", device):
        return None
    for pattern, peaks, source in _PEAKS:
        if re.search(pattern, device, re.IGNORECASE):
            return (peaks[dtype] * 1e12, source) if dtype in peaks else None
    return None
