"""gpt.bench times the real step, accounts for all of it, and does the work that the plain loop does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import plain_loop
import pytest
import torch

from gpt import bench
from gpt.config import Profile
from gpt.data import open_dataset
from gpt.device import choose
from gpt.ledger import TimeLedger
from gpt.snapshot import build
from gpt.stepper import Stepper

Tiny = Callable[..., Profile]


@pytest.fixture(autouse=True)
def brief_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peak is not measured: it would take a second each time."""
    monkeypatch.setattr("gpt.device.measure_matmul", lambda *args, **options: 1e11)


@pytest.mark.parametrize(
    "train", [{}, {"grad_accum_steps": 2}, {"threads": 2}], ids=["one pass", "two micro-steps", "two lanes"]
)
def test_ours_and_the_plain_loop_have_equal_losses(tiny: Tiny, tmp_path: Path, train: dict[str, int]) -> None:
    profile = tiny(**train)
    ours = bench.measure(profile, steps=8, warmup=2)
    plain_loop.prepare(profile, tmp_path)
    losses, seconds = plain_loop.train(profile, tmp_path, steps=8, warmup=2)
    assert ours["lanes"] == train.get("threads", 1)
    assert len(seconds) == len(losses) == len(ours["losses"]) == 10
    assert ours["losses"] == pytest.approx(losses, abs=2e-5)
    assert losses[-1] < losses[0] - 0.5, "they learn"


def test_the_figures_agree_with_each_other(tiny: Tiny) -> None:
    profile = tiny()
    result = bench.measure(profile, steps=9, warmup=1)
    assert result["tokens_per_s"] == pytest.approx(profile.tokens_per_step / result["ms_per_iter"] * 1e3)
    assert result["ms_per_iter_p05"] <= result["ms_per_iter"] <= result["ms_per_iter_p95"]
    assert result["ms_per_iter_wall"] * 9 >= result["ms_per_iter"] * 4, "half of the steps take the median or more"
    assert set(result["breakdown"]) == {"data", "forward", "backward", "optimizer", "other"}
    assert result["ms_per_iter_p05"] <= sum(result["breakdown"].values()) <= result["ms_per_iter_p95"] * 1.01
    assert result["mfu"] is None, "no datasheet knows this processor"
    assert 0 < result["mfu_measured_peak"] < 1
    assert 2**26 < result["peak_memory_bytes"] < 2**36
    assert (result["compiled"], result["compile_s"], result["steps"]) == (False, 0.0, 9)


def test_a_datasheet_or_the_profile_gives_the_first_mfu_and_the_machine_the_second(tiny: Tiny) -> None:
    import msgspec

    from gpt.config import DeviceConfig

    profile = msgspec.structs.replace(tiny(), device=DeviceConfig(peak_tflops=1.0))
    result = bench.measure(profile, steps=3, warmup=0)
    assert result["measured_peak_flops"] == 1e11
    assert result["mfu_measured_peak"] == pytest.approx(10 * result["mfu"])


@pytest.mark.parametrize("threads", [1, 2])
def test_the_stepper_tells_each_part_as_it_ends(tiny: Tiny, threads: int) -> None:
    profile = tiny(grad_accum_steps=2, threads=threads)
    device, told = choose(profile), []
    data = open_dataset(profile.data, profile.model)
    stepper = build(profile, device, data, TimeLedger("other")).stepper
    assert stepper.lane_count == threads
    stepper.on_part = told.append
    stepper.take(1, 0, lr=1e-3, weight_decay=0.1, grad_clip=1.0, between=lambda: True)
    assert told == ["data", "forward", "backward"] * 2 + ["optimizer"]


def test_the_host_waits_for_the_device_only_before_and_after_the_timed_steps(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a device that gives each result one step late, as a GPU does."""
    at_once = bench.measure(tiny(), steps=5, warmup=2)
    take, held, waits = Stepper.take, [], []

    def late_take(self: Stepper, *args: Any, **options: Any) -> Any:
        held.append(take(self, *args, **options))
        return held.pop(0) if len(held) > 1 else None

    def drain(self: Stepper) -> Any:
        waits.append(len(held))
        return held.pop() if held else None

    monkeypatch.setattr(Stepper, "take", late_take)
    monkeypatch.setattr(Stepper, "drain", drain)
    late = bench.measure(tiny(), steps=5, warmup=2)
    assert waits == [1, 1]
    assert late["losses"] == at_once["losses"]


class Event:
    """A stand-in for a GPU's event: recorded in order, read at the end."""

    recorded = 0

    def __init__(self) -> None:
        self.at: int | None = None

    def record(self) -> None:
        Event.recorded += 1
        self.at = Event.recorded**2

    def elapsed_time(self, later: Event) -> float:
        assert self.at is not None and later.at is not None
        return later.at - self.at


def test_the_parts_of_a_gpus_step_are_the_times_between_its_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Event, "recorded", 0)
    clock = bench.PartClock(lambda: bench.QueuedMoment(Event()))
    for _ in range(2):
        clock.step_begins()
        for part in ("data", "forward", "data", "forward"):
            clock.part_ended(part)
    first, second = clock.steps()
    assert first == pytest.approx({"data": (3 + 7) / 1e3, "forward": (5 + 9) / 1e3})
    assert second == pytest.approx({"data": (13 + 17) / 1e3, "forward": (15 + 19) / 1e3})


def test_the_breakdown_adds_up_to_the_middle_steps_and_leaves_outliers_out() -> None:
    seconds = [0.010, 0.012, 0.500, 0.014, 0.001, 0.012, 0.011, 0.013]
    parts = [{"data": 0.1 * s, "forward": 0.4 * s, "backward": 0.3 * s} for s in seconds]
    broken = bench.break_down(seconds, parts)
    assert list(broken) == ["data", "forward", "backward", "other"]
    assert sum(broken.values()) == pytest.approx((0.011 + 0.012 + 0.012 + 0.013) / 4 * 1e3)
    assert broken["other"] == pytest.approx(0.2 * 12.0)


@pytest.mark.parametrize(("share", "value"), [(0, 1), (0.5, 2.5), (0.05, 1.15), (1, 4)])
def test_percentile_lies_between_the_two_nearest(share: float, value: float) -> None:
    assert bench.percentile([4, 1, 3, 2], share) == pytest.approx(value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_parts_add_up_to_the_step(tiny: Tiny) -> None:
    result = bench.measure(tiny(device="cuda", dtype="bfloat16"), steps=40, warmup=10)
    assert len(result["losses"]) == 50
    assert result["ms_per_iter_p05"] <= sum(result["breakdown"].values()) <= result["ms_per_iter_p95"] * 1.05
    assert result["peak_memory_bytes"] < 2**30
