"""Parameter counts, FLOPs, MFU and the table of device peaks."""

from __future__ import annotations

import pytest

from gpt.config import ModelConfig
from gpt.flops import _PEAKS, datasheet_peak, flops_per_token, mfu, parameter_count

SHAKESPEARE = ModelConfig(n_layer=6, n_head=6, n_embd=384, block_size=256, bias=False)


@pytest.mark.parametrize(
    ("layers", "heads", "width", "vocab_size", "printed"),
    [
        (6, 6, 384, 65, "10.65M"),  # nanoGPT's Shakespeare characters
        (6, 6, 384, 50304, "29.94M"),
        (12, 12, 384, 50304, "40.56M"),  # often taken for 125M
        (12, 12, 768, 50304, "123.59M"),
    ],
)
def test_counts_without_positions_are_what_nanogpt_prints(
    layers: int, heads: int, width: int, vocab_size: int, printed: str
):
    config = ModelConfig(n_layer=layers, n_head=heads, n_embd=width, bias=False)
    assert f"{parameter_count(config, vocab_size)[1] / 1e6:.2f}M" == printed


def test_gpt2_small_has_124_439_808_parameters():
    assert parameter_count(ModelConfig(), 50257)[0] == 124_439_808


def test_mfu_of_nanogpts_shakespeare_run_on_an_a100():
    value = mfu(flops_per_token(SHAKESPEARE, vocab_size=65), tokens=64 * 256, seconds=33.22e-3, peak_flops=312e12)
    assert value is not None
    assert round(100 * value, 1) == 11.2


def test_mfu_is_unknown_where_the_peak_is():
    assert mfu(1e9, 1000, 1.0, None) is None
    assert mfu(1e9, 1000, 0.0, 1e12) is None


def test_flops_are_six_per_parameter_and_twelve_per_attention_pair():
    config = ModelConfig(n_layer=2, n_head=4, n_embd=32, block_size=10)
    parameters = parameter_count(config, 1000)[1]
    assert flops_per_token(config, vocab_size=1000) == 6 * parameters + 12 * 2 * 32 * 10


def test_a_token_embedding_that_is_only_looked_up_costs_parameters_and_no_flops():
    tied, untied = ModelConfig(), ModelConfig(tie_weights=False)
    assert parameter_count(untied, 50304)[0] - parameter_count(tied, 50304)[0] == 50304 * 768
    assert flops_per_token(untied, vocab_size=50304) == flops_per_token(tied, vocab_size=50304)


@pytest.mark.parametrize(
    ("name", "dtype", "tflops"),
    [
        ("NVIDIA B200", "bfloat16", 2250),
        ("NVIDIA H200", "bfloat16", 989.4),
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989.4),
        ("NVIDIA H100 80GB HBM3", "tfloat32", 494.7),
        ("NVIDIA H100 PCIe", "bfloat16", 756),
        ("NVIDIA A100-SXM4-80GB", "bfloat16", 312),
        ("NVIDIA A100-SXM4-40GB", "float32", 19.5),
        ("NVIDIA A100 80GB PCIe", "float16", 312),
        ("Tesla V100-SXM2-16GB", "float16", 125),
        ("Tesla V100-PCIE-16GB", "float16", 112),
        ("NVIDIA L4", "bfloat16", 121),
        ("Tesla T4", "float16", 65),
        ("NVIDIA GeForce RTX 5090", "bfloat16", 209.5),
        ("NVIDIA GeForce RTX 4090", "bfloat16", 165.2),
        ("NVIDIA GeForce RTX 4080", "bfloat16", 97.5),
        ("NVIDIA GeForce RTX 4070 Ti", "bfloat16", 80.2),
        ("NVIDIA GeForce RTX 4070", "bfloat16", 58.3),
        ("NVIDIA GeForce RTX 3090", "bfloat16", 71),
        ("NVIDIA GeForce RTX 3060", "float16", 25.5),
        ("AMD Instinct MI300X", "bfloat16", 1307.4),
    ],
)
def test_a_driver_name_finds_its_card(name: str, dtype: str, tflops: float):
    peak = datasheet_peak(name, dtype)
    assert peak is not None
    assert peak[0] == pytest.approx(tflops * 1e12)
    assert peak[1]


@pytest.mark.parametrize(
    "name",
    [
        "NVIDIA GeForce RTX 4070 Ti SUPER",
        "NVIDIA GeForce RTX 4070 SUPER",
        "NVIDIA GeForce RTX 4070 Laptop GPU",
        "NVIDIA GeForce RTX 4080 SUPER",
        "NVIDIA GeForce RTX 4080 Laptop GPU",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 5090 D",
        "NVIDIA GeForce RTX 5090 D v2",
        "NVIDIA GeForce RTX 5090 Laptop GPU",
        "NVIDIA GeForce RTX 3090 Ti",
        "NVIDIA GeForce RTX 3060 Ti",
        "NVIDIA GeForce RTX 3060 Laptop GPU",
        "NVIDIA GeForce RTX 5070 Ti",
        "NVIDIA L40S",
        "NVIDIA T400",
        "NVIDIA GH200 480GB",
        "NVIDIA GB200",
        "NVIDIA H100 NVL",
        "NVIDIA H200 NVL",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "Tesla V100S-PCIE-32GB",
        "AMD Instinct MI300A",
        "AMD Radeon RX 7900 XTX",
        "Apple M3 Max",
        "",
    ],
)
def test_a_card_of_another_speed_is_unknown_rather_than_guessed(name: str):
    assert datasheet_peak(name, "float16") is None


@pytest.mark.parametrize("name", ["Tesla T4", "Tesla V100-SXM2-16GB"])
def test_a_card_without_bfloat16_has_no_peak_for_it(name: str):
    assert datasheet_peak(name, "bfloat16") is None


@pytest.mark.parametrize(
    ("name", "multiprocessors", "boost_ghz"),
    [
        ("NVIDIA GeForce RTX 5090", 170, 2.407),
        ("NVIDIA GeForce RTX 4090", 128, 2.52),
        ("NVIDIA GeForce RTX 4080", 76, 2.505),
        ("NVIDIA GeForce RTX 4070 Ti", 60, 2.61),
        ("NVIDIA GeForce RTX 4070", 46, 2.475),
        ("NVIDIA GeForce RTX 3090", 82, 1.695),
        ("NVIDIA GeForce RTX 3060", 28, 1.777),
    ],
)
def test_geforce_peaks_follow_from_their_multiprocessors_and_clock(name: str, multiprocessors: int, boost_ghz: float):
    """512 FLOP per multiprocessor and clock with FP32 accumulation, half of that for float32 and TF32."""
    for dtype, flop in (("bfloat16", 512), ("float16", 512), ("tfloat32", 256), ("float32", 256)):
        peak = datasheet_peak(name, dtype)
        assert peak is not None
        assert peak[0] == pytest.approx(multiprocessors * flop * boost_ghz * 1e9, rel=5e-3)


def test_every_row_of_the_table_names_its_source():
    for _, peaks, source in _PEAKS:
        assert source and all(value > 0 for value in peaks.values())
        assert peaks.keys() <= {"bfloat16", "float16", "tfloat32", "float32"}
