"""GPT-2 weights from Hugging Face folders, against transformers' own GPT-2."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from gpt.config import ModelConfig
from gpt.errors import CheckpointError
from gpt.interop.huggingface import load_gpt2, read_config
from gpt.model import GPT

transformers = pytest.importorskip("transformers")

SHAPE = {"n_layer": 3, "n_head": 4, "n_embd": 32, "n_positions": 24, "vocab_size": 61}
CONFIG = ModelConfig(n_layer=3, n_head=4, n_embd=32, block_size=24)


@pytest.fixture(scope="module")
def reference() -> Any:
    """A GPT-2 whose weights, biases and norms are all random, in eval mode."""
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**SHAPE)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(4).add_(torch.randn_like(parameter) * 0.05)
    return model


@pytest.fixture
def folder(reference: Any, tmp_path: Path) -> Path:
    reference.save_pretrained(tmp_path / "gpt2-random")
    return tmp_path / "gpt2-random"


def load(folder: Path, config: ModelConfig) -> GPT:
    weights, vocab_size = load_gpt2(str(folder), config)
    model = GPT(config, vocab_size).eval()
    model.load_state_dict(weights)
    return model


def batch(length: int) -> torch.Tensor:
    return torch.randint(61, (2, length), generator=torch.Generator().manual_seed(1))


def assert_same(model: GPT, reference: Any, length: int) -> None:
    ids = batch(length)
    with torch.no_grad():
        theirs = reference(ids, labels=ids)
        logits = model(ids)[0]
        loss = model(ids[:, :-1], ids[:, 1:])[1]
    torch.testing.assert_close(logits[..., :61], theirs.logits, rtol=0, atol=1e-4)
    torch.testing.assert_close(loss, theirs.loss, rtol=0, atol=1e-4)


def test_logits_and_loss_are_those_of_transformers(folder: Path, reference: Any):
    assert_same(load(folder, CONFIG), reference, 24)


def test_a_cropped_block_is_the_same_model_on_shorter_texts(folder: Path, reference: Any):
    config = ModelConfig(n_layer=3, n_head=4, n_embd=32, block_size=10)
    model = load(folder, config)
    assert model.transformer.wpe.weight.shape == (10, 32)
    assert_same(model, reference, 10)


def test_a_padded_vocabulary_leaves_real_tokens_their_logits(folder: Path, reference: Any):
    model = load(folder, ModelConfig(n_layer=3, n_head=4, n_embd=32, block_size=24, vocab_size=64))
    ids = batch(24)
    with torch.no_grad():
        ours, theirs = model(ids)[0], reference(ids).logits
    assert ours.shape[-1] == 64
    torch.testing.assert_close(ours[..., :61], theirs, rtol=0, atol=1e-4)
    assert torch.all(ours[..., 61:] == 0)


def test_shards_with_an_index_are_one_model(reference: Any, tmp_path: Path):
    reference.save_pretrained(tmp_path, max_shard_size="40KB")
    assert not (tmp_path / "model.safetensors").exists()
    assert_same(load(tmp_path, CONFIG), reference, 24)
    next(tmp_path.glob("model-00002*")).unlink()
    with pytest.raises(CheckpointError, match=r"model-00002.* is missing"):
        load_gpt2(str(tmp_path), CONFIG)


def test_names_without_prefix_and_old_mask_buffers_are_understood(reference: Any, folder: Path):
    """As OpenAI's own release has them on the Hub."""
    from safetensors.torch import save_file

    tensors = {name.removeprefix("transformer."): tensor for name, tensor in reference.state_dict().items()}
    del tensors["lm_head.weight"]
    tensors["h.0.attn.bias"] = torch.ones(24, 24)
    save_file(tensors, folder / "model.safetensors")
    assert_same(load(folder, CONFIG), reference, 24)


def test_half_precision_files_become_float32(reference: Any, tmp_path: Path):
    import copy

    copy.deepcopy(reference).half().save_pretrained(tmp_path)
    weights, _ = load_gpt2(str(tmp_path), CONFIG)
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}


# -- refusals ----------------------------------------------------------------------------------------------------------


def refusal(source: str | Path, config: ModelConfig = CONFIG) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_gpt2(str(source), config)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_another_shape_is_told_field_by_field(folder: Path):
    line = refusal(folder, ModelConfig(n_layer=2, n_head=8, n_embd=64, block_size=25, vocab_size=60, bias=False))
    for part in (
        "n_layer is 3 there and 2 in the profile",
        "n_head is 4 there and 8",
        "n_embd is 32 there and 64",
        "block_size is at most 24 there and 25",
        "vocab_size is at least 61 there and 60",
        "bias is true there and false",
    ):
        assert part in line


def test_equal_fields_are_not_complained_of(folder: Path):
    line = refusal(folder, ModelConfig(n_layer=2, n_head=4, n_embd=32, block_size=24))
    assert "n_layer" in line and "n_head" not in line and "block_size" not in line


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("positions", "rotary", "positions is learned there and rotary in the profile"),
        ("norm", "rmsnorm", "norm is layernorm there and rmsnorm"),
        ("activation", "swiglu", "activation is gelu there and swiglu"),
        ("qk_norm", True, "qk_norm is false there and true"),
        ("n_kv_head", 2, "n_kv_head is 4 there and 2"),
        ("tie_weights", False, "tie_weights is true there and false"),
        ("logit_softcap", 30.0, "logit_softcap is unset there and 30.0"),
        ("zero_init", True, "zero_init is false there and true"),
    ],
)
def test_another_architecture_than_gpt2s_is_refused_with_its_switch(folder: Path, key: str, value: Any, said: str):
    assert said in refusal(folder, msgspec.structs.replace(CONFIG, **{key: value}))


@pytest.mark.parametrize(
    "change",
    [
        {"activation_function": "gelu"},
        {"layer_norm_epsilon": 1e-6},
        {"scale_attn_by_inverse_layer_idx": True},
        {"tie_word_embeddings": False},
        {"n_inner": 100},
    ],
)
def test_a_variant_that_computes_something_else_is_refused(folder: Path, change: dict[str, Any]):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    key = next(iter(change))
    assert f"{key} = " in refusal(folder)


def test_a_folder_with_only_a_pickle_is_never_opened(folder: Path):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pytorch_model.bin, a pickle" in refusal(folder)


def test_a_folder_without_weights_says_so(folder: Path):
    (folder / "model.safetensors").unlink()
    assert "no model.safetensors" in refusal(folder)


def test_a_cut_off_file_is_refused(folder: Path):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    assert "not a whole safetensors file" in refusal(folder)


def test_a_missing_tensor_is_named(reference: Any, folder: Path):
    from safetensors.torch import save_file

    tensors = dict(reference.transformer.state_dict())
    del tensors["h.1.mlp.c_fc.weight"]
    save_file(tensors, folder / "model.safetensors")
    assert "h.1.mlp.c_fc.weight" in refusal(folder)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "is not JSON"),
        ("[]", "no GPT-2"),
        ('{"model_type": "llama"}', "'llama'"),
        ('{"model_type": "gpt2", "n_layer": "3"}', "n_layer is '3'"),
        ('{"n_layer": 3, "n_head": 4, "n_embd": 32}', "n_positions is None"),
    ],
)
def test_a_bad_config_json_is_one_line(folder: Path, text: str, part: str):
    (folder / "config.json").write_text(text)
    assert part in refusal(folder)


def test_a_folder_without_config_json_says_what_a_folder_holds(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read"):
        read_config(tmp_path)


def test_a_source_that_is_neither_folder_nor_name_lists_the_names():
    line = refusal("gpt3")
    assert "'gpt3'" in line and "gpt2-medium" in line


# -- the hub -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without a folder named gpt2."""
    monkeypatch.chdir(tmp_path)


def hub(monkeypatch: pytest.MonkeyPatch, download: Any) -> None:
    module = types.ModuleType("huggingface_hub")
    module.snapshot_download = download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)


def test_a_released_name_is_downloaded_without_pickles(
    folder: Path, reference: Any, monkeypatch: pytest.MonkeyPatch, elsewhere: None
):
    asked: list[tuple[str, list[str]]] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(folder)

    hub(monkeypatch, download)
    assert_same(load(Path("gpt2"), CONFIG), reference, 24)
    ((name, patterns),) = asked
    assert name == "openai-community/gpt2"
    assert "*.safetensors" in patterns and not any(pattern.endswith("bin") for pattern in patterns)


def test_a_folder_of_that_name_comes_first(folder: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: None):
    folder.rename("gpt2")
    hub(monkeypatch, lambda *_, **__: pytest.fail("nothing is to be downloaded"))
    load_gpt2("gpt2", CONFIG)


def test_without_the_package_the_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, elsewhere: None):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    line = refusal("gpt2")
    assert "pip install 'gpt-cockpit[hf]'" in line and "bring a folder" in line


def test_without_a_network_the_line_says_how_to_bring_a_folder(monkeypatch: pytest.MonkeyPatch, elsewhere: None):
    def download(*_: Any, **__: Any) -> str:
        raise ConnectionError("cannot reach the hub\nand a page of advice")

    hub(monkeypatch, download)
    line = refusal("gpt2-medium")
    assert "cannot reach the hub" in line and "bring a folder" in line
