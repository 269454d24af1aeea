"""lm-evaluation-harness itself, where it is installed: a task of this machine's own texts on an exported checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gpt import checkpoint, source, suites
from gpt.config import Profile
from gpt.scoring import raw_text, score

lm_eval = pytest.importorskip("lm_eval")
pytest.importorskip("transformers")

TEXT = "".join(f"{a} + {b} = {a + b}\n" for a in range(12) for b in range(12))


def test_the_harness_finds_the_bits_per_byte_that_we_find(
    tiny: Callable[..., Profile], run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.tasks import TaskManager

    run(tiny(train__max_steps=12))
    path, _, _ = checkpoint.newest(tmp_path / "run" / "checkpoints")
    texts = tmp_path / "texts.jsonl"
    texts.write_text(json.dumps({"page": TEXT}) + "\n")
    task = {
        "task": "sums", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(texts)}},
        "test_split": "test", "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{page}}",
        "metric_list": [{"metric": "bits_per_byte"}], "metadata": {"version": 1.0},
    }  # fmt: skip
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "sums.yaml").write_text(json.dumps(task))  # which YAML takes
    manager = TaskManager(include_path=str(tmp_path / "tasks"))
    monkeypatch.setattr(lm_eval, "simple_evaluate", partial(lm_eval.simple_evaluate, task_manager=manager))
    monkeypatch.setitem(suites.TASKS, "sums", "sums")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))

    (row,) = suites.run_suites(str(path), "tiny", ["sums"], device="cpu")
    assert (row["source"], row["suite"], row["metric"]) == ("tiny", "sums", "bits_per_byte")
    (tmp_path / "text.txt").write_text(TEXT)
    ours = score(source.load(str(path), device="cpu"), raw_text([str(tmp_path / "text.txt")]))
    assert ours.bpb is not None and ours.bpb < math.log2(256)
    assert row["value"] == pytest.approx(ours.bpb, rel=0.02)  # the first byte, and each window's own context, differ
