"""`gpt-cockpit export`: which checkpoint it takes, curves that agree with the log, and refusals that write nothing."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from cockpit import cli, curves
from cockpit.curves import COLUMNS, kept_events, rows
from cockpit.export import export
from cockpit.reducer import reduce_all
from cockpit.runs import Run
from cockpit.state import RunState
from gpt import checkpoint
from gpt import events as ev
from gpt.errors import CheckpointError, RunError, UserError


def step(number: int, loss: float | None = 2.0, **more: Any) -> ev.StepDone:
    return ev.StepDone(
        time=1000.0 + number, step=number, loss=loss, lr=1e-3, grad_norm=0.5, ms=10.0, tokens=64 * number,
        tokens_per_s=6400.0, **more,
    )  # fmt: skip


def evaluated(number: int, loss: float, **more: Any) -> ev.EvalDone:
    return ev.EvalDone(
        time=1000.5 + number, step=number, train_loss=loss - 0.1, val_loss=loss, val_stderr=0.01, bpb=loss / 0.7,
        seconds=0.1, best=True, **more,
    )  # fmt: skip


LOG = [
    evaluated(0, 5.0), step(1, 4.9), step(2, None, applied=False), evaluated(2, 4.0), step(3, 3.0), step(4, 2.9),
    ev.Resumed(time=1010, step=2, exact=False),  # steps 3 and 4 are void
    step(3, 2.5), evaluated(3, 2.4), step(4, 2.2), evaluated(4, 2.1), step(5, 2.0),
    ev.Resumed(time=1020, step=3, exact=True),  # and now 4 and 5; step 3 stays that of the second way
    step(4, 1.9), evaluated(4, 1.8), evaluated(4, 9.9, aside=True), step(5, 1.7),
]  # fmt: skip
"""A run that went back twice."""


@pytest.fixture
def run_of(tmp_path: Path) -> Callable[[Iterable[ev.Event]], Run]:
    """A run of some events, without checkpoints."""

    def make(events: Iterable[ev.Event]) -> Run:
        run = Run.create(tmp_path / "runs", "heron", "demo")
        run.write_facts({"created": 1.0})
        run.events_path.write_bytes(b"".join(map(ev.encode, events)))
        return run

    return make


def losses(table: Iterable[dict[str, Any]]) -> list[tuple[int, float | None, float | None]]:
    return [(row["step"], row["loss"], row["eval_val_loss"]) for row in table]


# -- curves ------------------------------------------------------------------------------------------------------------


def test_steps_that_a_later_resume_made_void_are_left_out(run_of: Callable[..., Run]) -> None:
    assert losses(rows(kept_events(run_of(LOG)))) == [
        (0, None, 5.0), (1, 4.9, None), (2, None, 4.0), (3, 2.5, 2.4), (4, 1.9, 1.8), (5, 1.7, None),
    ]  # fmt: skip


def test_what_is_kept_is_what_the_screen_shows(run_of: Callable[..., Run]) -> None:
    state, table = reduce_all(RunState(), LOG), list(rows(kept_events(run_of(LOG))))
    steps = [row for row in table if row["tokens"] is not None]
    assert [row["step"] for row in steps] == state.loss.x.tolist()
    assert [row["lr"] for row in steps] == state.lr.y.tolist()
    assert [row["eval_val_loss"] for row in table if row["eval_val_loss"] is not None] == state.val_loss.y.tolist()


def test_a_run_that_goes_back_further_the_second_time_keeps_nothing_of_either_way(run_of: Callable[..., Run]) -> None:
    back = [ev.Resumed(step=number, exact=True) for number in (3, 1)]
    log = [step(1), step(2, 9.0), step(3, 9.0), step(4, 9.0), back[0], step(4, 9.0), back[1], step(2, 1.0)]
    assert losses(rows(kept_events(run_of(log)))) == [(1, 2.0, None), (2, 1.0, None)]


def test_a_log_that_grows_meanwhile_is_told_as_far_as_it_was(run_of: Callable[..., Run]) -> None:
    run = run_of([step(1), step(2)])
    events = kept_events(run)
    first = next(events)
    with run.events_path.open("ab") as log:
        log.write(ev.encode(ev.Resumed(step=0, exact=True)) + ev.encode(step(1)))
    assert [event.step for event in (first, *events)] == [1, 2]  # type: ignore[attr-defined]


def test_csv_holds_every_figure_in_full(run_of: Callable[..., Run], tmp_path: Path) -> None:
    loss = 2.1234567890123457
    run = run_of([step(1, loss, mfu=0.1), evaluated(1, 2.5), step(2, None, applied=False)])
    assert export("heron", "csv", tmp_path / "c.csv", runs_dir=run.path.parent).rows == 2
    with (tmp_path / "c.csv").open(newline="") as file:
        first, second = csv.DictReader(file)
    assert list(first) == list(COLUMNS)
    assert float(first["loss"]) == loss and float(first["eval_bpb"]) == 2.5 / 0.7 and first["applied"] == "true"
    assert (second["step"], second["loss"], second["applied"], second["eval_val_loss"]) == ("2", "", "false", "")


def test_parquet_holds_the_same_rows(
    run_of: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(curves, "_ROWS_AT_ONCE", 4)  # two groups
    run = run_of(LOG)
    assert export("heron", "parquet", tmp_path / "c.parquet", runs_dir=run.path.parent).rows == 6
    table = parquet.read_table(tmp_path / "c.parquet")
    assert table.to_pylist() == list(rows(kept_events(run)))
    assert {field.name: str(field.type).replace("double", "float64") for field in table.schema} == COLUMNS


def test_tensorboard_reads_the_points_that_count(run_of: Callable[..., Run], tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = run_of(LOG)
    assert export("heron", "tensorboard", tmp_path / "tb", runs_dir=run.path.parent).rows == 6
    board = EventAccumulator(str(tmp_path / "tb")).Reload()
    points = [(p.step, p.wall_time, round(p.value, 4)) for p in board.Scalars("train/loss")]
    assert points == [(1, 1001.0, 4.9), (3, 1003.0, 2.5), (4, 1004.0, 1.9), (5, 1005.0, 1.7)]
    assert [round(p.value, 4) for p in board.Scalars("eval/val_loss")] == [5.0, 4.0, 2.4, 1.8]


# -- checkpoints and the command ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run `fox` trained for real, with checkpoints of steps 2 (the best) and 4."""
    import msgspec

    from gpt.config import decode
    from gpt.trainer import Trainer

    folder = tmp_path_factory.mktemp("exported")
    (folder / "text.txt").write_text("".join(f"{a} + {b} = {a + b}\n" for a in range(30) for b in range(20)))
    profile = decode({
        "name": "sums | `x`", "model": {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 8},
        "data": {"input": str(folder / "text.txt")},
        "train": {"max_steps": 4, "micro_batch_size": 2, "eval_interval": 0, "eval_steps": 1, "device": "cpu",
                  "threads": 1},
        "checkpoint": {"interval": 2, "keep": 5, "best": False}, "device": {"peak_tflops": 1.0},
    })  # fmt: skip
    run = Run.create(folder / "runs", "fox", "sums")
    run.write_facts({"created": 1_700_000_000.0, "profile_sha256": "ab" * 32, "git": {"commit": "c0ffee"}})
    log: list[ev.Event] = []
    Trainer(profile, run.path, log.append).run()
    run.events_path.write_bytes(b"".join(map(ev.encode, log)))
    checkpoint.point(run.checkpoints_path, "best", 2)
    assert msgspec.to_builtins(profile)["name"] == profile.name
    return folder / "runs"


@pytest.mark.parametrize(
    ("source", "choice", "expected"),
    [("fox", {}, 4), ("fox", {"best": True}, 2), ("fox", {"step": 2}, 2), ("path", {}, 4), ("checkpoint", {}, 2)],
)
def test_the_newest_checkpoint_is_taken_or_the_one_asked_for(
    runs: Path, tmp_path: Path, source: str, choice: dict[str, Any], expected: int
) -> None:
    place = runs / "fox"
    source = {"path": str(place), "checkpoint": str(place / "checkpoints" / "step-00000002")}.get(source, source)
    exported = export(source, "safetensors", tmp_path / "out", runs_dir=runs, **choice)
    assert (exported.step, exported.source) == (expected, "fox")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["step"] == expected


def test_a_card_tells_the_runs_facts_and_formats_nothing_of_a_profiles_name(runs: Path, tmp_path: Path) -> None:
    export("fox", "hf", tmp_path / "hf", runs_dir=runs)
    card = (tmp_path / "hf" / "README.md").read_text()
    state = checkpoint.verify(runs / "fox" / "checkpoints" / "step-00000004")
    for fact in (
        f"| steps | 4 of 4 |\n| tokens seen | {state['tokens']} (16 a step) |",
        f"{state['evaluation']['val_loss']:.4f} nats/token at step 4",
        state["files"]["model.safetensors"], state["data_fingerprint"].replace("_", "\\_"), "ab" * 32, "c0ffee",
        "2023-11-14 22:13 UTC", "optim.learning_rate = 0.0006", "Id n is the byte n",
    ):  # fmt: skip
        assert fact in card
    assert "the profile `sums | 'x'`" in card


def test_json_lists_the_files_for_scripts(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main(["export", "fox", "--to", "hf", "--out", str(tmp_path / "x"), "--runs-dir", str(runs), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert not left.value.code
    assert (told["to"], told["step"], told["source"]) == ("hf", 4, "fox")
    assert {"README.md", "config.json", "generation_config.json", "model.safetensors"} <= set(told["files"])


@pytest.mark.parametrize(
    ("source", "to", "choice", "error", "said"),
    [
        ("owl", "hf", {}, RunError, "no run owl"),
        ("./owl", "hf", {}, RunError, "neither a run's folder nor a checkpoint's"),
        ("fox", "gguf", {}, RunError, "there are hf, nanogpt"),
        ("fox", "hf", {"step": 3}, CheckpointError, "no checkpoint of step 3; there are 2, 4"),
        ("fox", "hf", {"step": 2, "best": True}, RunError, "keep one"),
        ("fox", "csv", {"best": True}, RunError, "leave them out"),
    ],
)
def test_what_cannot_be_is_one_line_and_writes_nothing(
    runs: Path, tmp_path: Path, source: str, to: str, choice: dict[str, Any], error: type[UserError], said: str
) -> None:
    with pytest.raises(error, match=said) as caught:
        export(source, to, tmp_path / "out", runs_dir=runs, **choice)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_run_exported_to_nanogpt_and_imported_again_has_the_same_weights_and_moments(
    runs: Path, tmp_path: Path
) -> None:
    import numpy as np
    import torch

    from cockpit.importing import import_nanogpt

    export("fox", "nanogpt", tmp_path / "data", runs_dir=runs)  # meta.pkl lies where the data will
    for split in ("train", "val"):
        np.arange(100, dtype=np.uint16).tofile(tmp_path / "data" / f"{split}.bin")
    import_nanogpt(tmp_path / "data" / "ckpt.pt", tmp_path / "data", "back", tmp_path / "runs")
    there, here = (folder / "checkpoints" / "step-00000004" for folder in (runs / "fox", tmp_path / "runs" / "back"))
    for kind in ("model", "optimizer"):
        ours, back = checkpoint.load_tensors(there, kind), checkpoint.load_tensors(here, kind)
        names = [name for name in ours if not name.startswith("generator")]
        assert names and all(torch.equal(ours[name], back[name]) for name in names)


def test_what_is_there_already_is_not_overwritten(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(RunError, match="there already"):
        export("fox", "csv", tmp_path / "out", runs_dir=runs)
    assert (tmp_path / "out").read_text() == "mine"


def test_a_run_without_a_step_has_no_curves(run_of: Callable[..., Run], tmp_path: Path) -> None:
    run = run_of([ev.StateChanged(state="starting")])
    with pytest.raises(RunError, match="no step"):
        export("heron", "csv", tmp_path / "c.csv", runs_dir=run.path.parent)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_disk_that_refuses_is_one_line_and_leaves_nothing(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(curves, "write_csv", full)
    with pytest.raises(RunError, match="No space left on device"):
        export("fox", "csv", tmp_path / "c.csv", runs_dir=runs)
    assert not list(tmp_path.iterdir())


def test_without_pyarrow_the_line_names_the_extra(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(RunError, match=r"pip install 'gpt-cockpit\[data\]'"):
        export("fox", "parquet", tmp_path / "c.parquet", runs_dir=runs)
    assert not list(tmp_path.iterdir())
