"""Real text all the way round: prepared, trained on, measured, taken to Hugging Face, measured there, brought back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cockpit.cli import main

WIKITEXT = Path(__file__).parents[3] / "shared" / "data" / "wikitext-2"
PROFILE = """
[model]
n_layer = 1
n_head = 2
n_embd = 16
block_size = 32
[data]
dir = "tokens"
[train]
max_steps = 20
micro_batch_size = 4
eval_interval = 0
eval_steps = 1
threads = 1
device = "cpu"
[optim]
learning_rate = 3e-3
[device]
peak_tflops = 1.0
"""


@pytest.mark.skipif(not WIKITEXT.is_dir(), reason="needs ../shared/data")
def test_wikitext_goes_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "wiki.txt").write_text((WIKITEXT / "valid.txt").read_text(encoding="utf-8")[:150_000], encoding="utf-8")
    (tmp_path / "short.txt").write_text((tmp_path / "wiki.txt").read_text(encoding="utf-8")[:20_000], encoding="utf-8")
    (tmp_path / "wiki.toml").write_text(PROFILE)

    def call(*arguments: str) -> Any:
        with pytest.raises(SystemExit) as ended:
            main([*arguments])
        said = capsys.readouterr()
        assert ended.value.code == 0, said.err
        return said.out

    call("data", "prepare", "wiki.txt", "--out", "tokens", "--val", "0.2")
    told = json.loads((tmp_path / "tokens" / "dataset.json").read_text())
    assert told["tokenizer"]["name"] == "gpt2" and told["splits"]["train"]["tokens"] > 20_000

    call("wiki.toml", "--run", "wiki", "--headless")
    (ours,) = json.loads(call("eval", "wiki", "--json"))
    assert 5 < ours["loss"] < 10.8  # below ln 50257: it has learned something
    assert ours["perplexity"] == pytest.approx(torch.tensor(ours["loss"]).exp().item(), rel=1e-4)

    call("export", "wiki", "--to", "hf", "--out", "there")
    both = json.loads(call("eval", "wiki", "--against", "there", "--text", "short.txt", "--json"))
    assert both[0]["tokens"] == both[1]["tokens"]
    for key in ("loss", "bpb"):
        assert both[0][key] == pytest.approx(both[1][key], abs=1e-5)

    from transformers import AutoTokenizer, GPT2LMHeadModel

    from gpt.source import load

    theirs = GPT2LMHeadModel.from_pretrained(tmp_path / "there").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "there")
    ids = tokenizer("The game began development in", return_tensors="pt")["input_ids"]
    source = load(str(tmp_path / "runs" / "wiki" / "checkpoints" / "latest"))
    assert source.tokenizer.encode("The game began development in").tolist() == ids[0].tolist()
    with torch.no_grad():
        expected = theirs(ids).logits[0]
        logits = source.model.eval()(ids)[0][0]
    torch.testing.assert_close(logits[:, : expected.shape[1]], expected, atol=1e-4, rtol=0)

    back = ["--set", "model.init_from=there", "--set", "train.max_steps=1"]
    call("wiki.toml", "--run", "back", "--headless", *back, "--set", "optim.learning_rate=1e-9")
    (again,) = json.loads(call("eval", "back", "--json"))
    assert again["loss"] == pytest.approx(ours["loss"], abs=1e-3)
