"""Known suites of tasks, run by lm-evaluation-harness on a model as Hugging Face's transformers reads it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt.errors import DataError
from gpt.interop.hftokenizer import tokenizer_of
from gpt.interop.huggingface import local_folder, read_config
from gpt.interop.huggingface_out import write_huggingface
from gpt.interop.trained import read_trained

if TYPE_CHECKING:
    from collections.abc import Iterator

TASKS = {"hellaswag": "hellaswag", "lambada": "lambada_openai", "wikitext": "wikitext"}
"""The harness's task for each suite."""

BATCH_SIZE = 8
"""Texts read together."""


def run_suites(place: str, name: str, suites: Sequence[str], *, device: str | None = None) -> list[dict[str, Any]]:
    """What the harness finds: `source, suite, metric, value, stderr` for each metric, stderr None where it gives none.

    Args:
        place: as gpt.source.load takes it.
        suites: keys of TASKS.
        device: as [train] device; None: the harness's choice.

    Raises DataError where the harness is not installed, or where it fails: its tasks are downloaded. Raises
    CheckpointError where a checkpoint is no GPT-2.
    """
    try:
        from lm_eval import simple_evaluate  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise DataError(
            "--suite needs the package lm-eval (lm-evaluation-harness); pip install 'gpt-cockpit[eval]'"
        ) from None
    with huggingface_folder(place) as folder:
        try:
            found = simple_evaluate(
                model="hf", model_args=_arguments(folder), tasks=[TASKS[suite] for suite in suites],
                batch_size=BATCH_SIZE, device=None if device == "auto" else device, log_samples=False,
            )  # fmt: skip
        except Exception as error:  # its network libraries' errors have no common base
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"lm-evaluation-harness could not run {', '.join(suites)} on {name} ({reason}); "
                "where its texts could not be downloaded from huggingface.co, try again with a network"
            ) from None
    return [
        {"source": name, "suite": suite, "metric": metric, "value": value, "stderr": stderr}
        for suite in suites
        for metric, value, stderr in _metrics(found["results"][TASKS[suite]])
    ]


@contextmanager
def huggingface_folder(place: str) -> Iterator[Path]:
    """A Hugging Face folder of the model at a place: its own, or one made for as long as the block runs."""
    if not (Path(place).expanduser() / "state.json").is_file():
        yield local_folder(place)
        return
    with tempfile.TemporaryDirectory(prefix="gpt-cockpit-") as folder:
        write_huggingface(read_trained(Path(place).expanduser()), Path(folder))
        yield Path(folder)


def _arguments(folder: Path) -> dict[str, Any]:
    """What the harness's `hf` model is made of. It puts the end of a text before each; where there is none, a line end
    is what a text begins after."""
    arguments: dict[str, Any] = {"pretrained": str(folder)}
    tokenizer = tokenizer_of(folder, read_config(folder)["vocab_size"])
    if getattr(tokenizer, "end_of_text", None) is None:
        arguments["prefix_token_id"] = int(tokenizer.encode("\n", errors="replace")[0])
    return arguments


def _metrics(results: dict[str, Any]) -> list[tuple[str, float, float | None]]:
    """(metric, value, standard error) of one task. Its keys are `acc,none` and `acc_stderr,none`, filter last."""
    numbers = {key: value for key, value in results.items() if isinstance(value, int | float) and "," in key}
    found = []
    for key, value in numbers.items():
        metric, _, chosen = key.partition(",")
        if not metric.endswith("_stderr"):
            found.append((metric, float(value), numbers.get(f"{metric}_stderr,{chosen}")))
    return found
