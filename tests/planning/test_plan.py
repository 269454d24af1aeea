"""Plans: figures that are known from elsewhere, what fits, and what would."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from cockpit.cli import main
from cockpit.planning.devices import CARDS, find_card
from cockpit.planning.plan import (
    DAY,
    GPT2_SIZES,
    Machine,
    Plan,
    best_for,
    machine_of,
    make_plan,
    parameters_by_part,
    shape_of,
)
from cockpit.planning.report import as_json, lines
from cockpit.planning.scaling import AS_PRINTED, LAW, budget_flops, chinchilla_tokens, training_flops
from gpt.config import DataConfig, ModelConfig, Profile, replace
from gpt.errors import ProfileError
from gpt.flops import flops_per_token, parameter_count
from gpt.memory import MARGIN, estimate

ROWS = 50304
GPT2 = replace(
    Profile(name="gpt2", data=DataConfig(name="python-stdlib")),
    {"train.tokens_per_step": 524288, "train.grad_accum_steps": None, "train.micro_batch_size": 8, "model.bias": False},
)
"""124M with half a million tokens a step."""


def plan_on(card: str, profile: Profile = GPT2, **asked: float) -> Plan:
    return make_plan(profile, ROWS, machine_of(find_card(card), profile, 0.4), **asked)  # pyright: ignore


def test_a_4070_ti_at_90_per_cent_does_1_14e21_flops_in_a_year() -> None:
    """`Can one 4070 Ti train GPT-2 in a year`: 40.1 TFLOP/s (NVIDIA Ada whitepaper, FP32) · 0.9 · 365 · 86,400."""
    peak = find_card("4070 Ti").peak("float32")
    assert peak == 40.1e12
    assert budget_flops(peak, 0.9, 365 * DAY) == pytest.approx(1.14e21, rel=0.005)


def test_gpt2_xl_on_ten_billion_tokens_takes_9e19_flops() -> None:
    """6·1.5e9·10e9 (Kaplan et al. 2020, section 2.1)."""
    assert training_flops(1.5e9, 10e9) == 9e19


def test_40_million_parameters_want_0_8_billion_tokens() -> None:
    """20 a parameter (Hoffmann et al. 2022, table 3)."""
    assert chinchilla_tokens(40e6) == 0.8e9


def test_14500_steps_of_half_a_million_tokens_are_9_5_times_what_40_million_parameters_want() -> None:
    """n_embd 384 taken for 768: 40.56M parameters as nanoGPT counts, 7.6 B tokens."""
    narrow = replace(GPT2, {"model.n_embd": 384, "train.max_steps": 14_500})
    made = plan_on("4070", narrow)
    assert made.parameters_without_positions == pytest.approx(40.56e6, rel=1e-3)
    assert made.tokens_total == pytest.approx(7.6e9, rel=1e-3)
    assert made.tokens_total / chinchilla_tokens(40e6) == pytest.approx(9.5, abs=0.05)
    assert any("9.3 times" in more for _, _, more in lines(made)), "40.95M with its positions"


def test_gpt2_xl_does_not_train_in_12_gb_and_the_plan_says_what_does() -> None:
    """16 bytes a parameter before a single activation: 1.56e9 · 16 = 25 GB."""
    layers, heads, width = GPT2_SIZES["GPT-2 1558M"]
    changes = {"model.n_layer": layers, "model.n_head": heads, "model.n_embd": width, "train.dtype": "float32"}
    made = plan_on("4070 Ti", replace(GPT2, changes))
    assert made.fits is False and made.micro_batch_size is None
    assert made.memory.parts["weights"] + made.memory.parts["optimizer"] > 12 * 2**30
    assert made.way_out.remedy is None
    assert made.way_out.largest_size == "GPT-2 350M"
    assert made.way_out.larger_card == "NVIDIA GeForce RTX 5090"
    told = dict((label, more) for label, _, more in lines(made))["fits"]
    assert "GPT-2 350M trains here" in told and "RTX 5090" in told


def test_where_only_the_activations_are_too_many_the_plan_says_which_switch_saves_them() -> None:
    made = plan_on("3060", replace(GPT2, {"model.block_size": 32768, "train.tokens_per_step": 524288}))
    assert made.fits is False and made.way_out.remedy is not None
    lighter = replace(GPT2, {"model.block_size": 32768, **made.way_out.remedy.changes})
    assert plan_on("3060", lighter).micro_batch_size == made.way_out.remedy.micro_batch_size


def test_124m_on_12_gb_keeps_half_a_million_tokens_a_step() -> None:
    made = plan_on("4070")
    assert (made.micro_batch_size, made.grad_accum_steps) == (8, 64)
    assert 8 * 64 * 1024 == made.tokens_per_step == 524288
    assert made.memory.peak <= 12 * 2**30 * MARGIN
    assert estimate(GPT2, ROWS, dtype="bfloat16", micro_batch_size=16).peak > 12 * 2**30 * MARGIN
    too_many = plan_on("4070", replace(GPT2, {"train.micro_batch_size": 32}))
    assert too_many.asked_fits is False and too_many.micro_batch_size == 8


def test_parts_add_up_to_the_model_whatever_its_switches() -> None:
    for model in (
        ModelConfig(),
        ModelConfig(bias=False, tie_weights=False, positions="rotary", norm="rmsnorm", activation="swiglu"),
        ModelConfig(n_kv_head=4, qk_norm=True),
    ):
        parts = parameters_by_part(model, ROWS)
        assert sum(parts.values()) == parameter_count(model, ROWS)[0]
        width = model.n_embd
        gate = 2 if model.activation == "swiglu" else 1
        biases = (gate * model.mlp_width + width) * model.bias
        assert parts["MLPs"] == model.n_layer * ((gate + 1) * model.mlp_width * width + biases)


def test_time_energy_and_cost_follow_from_peak_share_and_price() -> None:
    made = plan_on("H200", price_per_hour=3.0, tokens=10_000_000_000)
    per_token = flops_per_token(GPT2.model, vocab_size=ROWS)
    assert made.seconds == pytest.approx(made.tokens_total * per_token / (0.4 * 989.4e12))
    assert made.tokens_total - 10e9 < made.tokens_per_step, "whole steps"
    hours = (made.seconds or 0) / 3600
    assert made.energy_kwh == pytest.approx(0.7 * hours)
    assert made.cost == pytest.approx(3 * hours)
    assert made.checkpoint_bytes == 12 * made.parameters


def test_a_measured_speed_replaces_the_assumed_share() -> None:
    machine = Machine("here", "float32", None, None, tokens_per_s=1000.0)
    made = make_plan(GPT2, ROWS, machine, tokens=524288)
    assert made.seconds == pytest.approx(524.288)
    assert make_plan(GPT2, ROWS, Machine("here", "float32", None, None)).seconds is None


def test_the_law_is_least_where_it_says_and_near_20_tokens_a_parameter() -> None:
    for law in (LAW, AS_PRINTED):
        for flops in (1e18, 1e21, 1e24):
            parameters, tokens = law.best(flops)
            assert 6 * parameters * tokens == pytest.approx(flops)
            here = law.loss(parameters, tokens)
            for other in (0.9, 1.1):
                assert law.loss(parameters * other, tokens / other) > here
    parameters, tokens = LAW.best(5.76e23)  # Gopher's budget, for which Chinchilla was made
    assert 15 < tokens / parameters < 30


def test_the_best_size_for_some_days_beats_the_profiles_own() -> None:
    machine = machine_of(find_card("4070 Ti"), GPT2, 0.4)
    best = best_for(machine, 30, ROWS, parameters=124_000_000)
    assert best is not None and best.loss_gain is not None and best.loss_gain > 0
    layers, heads, width = best.shape
    assert width == 64 * heads
    size = parameter_count(ModelConfig(n_layer=layers, n_head=heads, n_embd=width), ROWS)[0]
    assert size == pytest.approx(best.parameters, rel=0.15)
    assert best_for(Machine("unknown", "float32", None, None), 30, ROWS) is None
    assert shape_of(124e6, ROWS) == (12, 12, 768)


@pytest.mark.parametrize(
    ("asked", "found"),
    [("4070 ti", "RTX 4070 Ti"), ("RTX 4070", "RTX 4070"), ("h200", "H200"), ("a100 80gb", "A100-SXM4-80GB")],
)
def test_a_card_is_found_by_part_of_its_name(asked: str, found: str) -> None:
    assert find_card(asked).name.endswith(found)


@pytest.mark.parametrize(
    ("asked", "told"), [("H100", "PCIe or NVIDIA H100 80GB"), ("gtx 1080", "give --peak"), ("", "not known")]
)
def test_a_card_that_is_not_clear_is_asked_for_again(asked: str, told: str) -> None:
    with pytest.raises(ProfileError, match=told):
        find_card(asked)


def test_every_card_has_a_peak_that_the_engine_knows() -> None:
    for card in CARDS:
        assert card.peak(card.dtype()), card.name


def test_the_command_prints_the_keys_that_scripts_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    asked = ["plan", "profiles/fineweb_124m.toml", "--device", "4070 Ti", "--device", "h200"]
    with pytest.raises(SystemExit) as ended:
        main([*asked, "--days", "30", "--price", "2", "--tokens", "10B", "--runs-dir", str(tmp_path), "--json"])
    assert ended.value.code == 0
    said = json.loads(capsys.readouterr().out)
    wanted = (
        "parameters parameters_without_positions flops_per_token flops_total tokens_total chinchilla_tokens "
        "tokens_per_step micro_batch_size grad_accum_steps memory_bytes fits seconds cost energy_kwh"
    )
    assert said.keys() >= set(wanted.split())
    assert said["fits"] is True and said["best"]["tokens"] > 0
    assert [other["device"] for other in said["devices"]] == ["NVIDIA GeForce RTX 4070 Ti", "NVIDIA H200"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--device", "h100"], "--device h100 may be"),
        (["--tokens", "many"], "--tokens"),
        (["--mfu", "3"], "mfu"),
        (["--peak", "-1"], "peak"),
    ],
)
def test_a_mistake_gets_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", "profiles/fineweb_124m.toml", *arguments])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1


def test_json_holds_no_object_that_is_not_json() -> None:
    assert json.loads(json.dumps(as_json(plan_on("4070"))))["grad_accum_steps"] == 64


@pytest.mark.parametrize(("data", "rows"), [
    ('input = "here.txt"\ntokenizer = "char"', 5), ('input = "elsewhere.txt"\ntokenizer = "char"', 128),
    ('input = "here.txt"', 256), ('dir = "characters"', 3), ('dir = "elsewhere"', 50257),
])  # fmt: skip
def test_the_vocabulary_is_that_of_the_data_where_they_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], data: str, rows: int
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("here.txt").write_text("abcde" * 20)
    Path("characters").mkdir()
    meta = {"vocab_size": 3, "itos": dict(enumerate("xyz")), "stoi": {c: i for i, c in enumerate("xyz")}}
    Path("characters/meta.pkl").write_bytes(pickle.dumps(meta))
    Path("p.toml").write_text(f"[model]\nn_layer = 1\nn_head = 1\nn_embd = 8\nblock_size = 4\n[data]\n{data}\n")
    with pytest.raises(SystemExit) as ended:
        main(["plan", "p.toml", "--json"])
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["parameters_by_part"]["token embedding"] == 8 * rows
