"""What comes and goes is told over a minute: a neighbour's load, a card's clock held down."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cockpit import telemetry
from cockpit.telemetry import ENOUGH, Telemetry, throttle_of
from gpt.events import TelemetrySampled

POWER, SLOWDOWN, SOFT_HEAT, HARD_HEAT, BRAKE, IDLE = 0x4, 0x8, 0x20, 0x40, 0x80, 0x1


class FakeNvml(SimpleNamespace):
    """NVML's names and bits, with a card whose other meters do not answer."""

    class NVMLError(Exception):
        pass

    nvmlClocksEventReasonSwPowerCap = POWER
    nvmlClocksEventReasonHwSlowdown = SLOWDOWN
    nvmlClocksEventReasonSwThermalSlowdown = SOFT_HEAT
    nvmlClocksEventReasonHwThermalSlowdown = HARD_HEAT
    nvmlClocksEventReasonHwPowerBrakeSlowdown = BRAKE
    NVML_TEMPERATURE_GPU = 0
    reasons: int | None = 0

    def nvmlDeviceGetCurrentClocksEventReasons(self, gpu: Any) -> int:
        if self.reasons is None:
            raise self.NVMLError
        return self.reasons

    def __getattr__(self, name: str) -> Any:
        def refuse(*args: Any) -> Any:
            raise self.NVMLError

        return refuse


def read(meters: Telemetry, times: int) -> TelemetrySampled:
    for _ in range(times - 1):
        meters.sample()
    return meters.sample()


@pytest.fixture
def card() -> tuple[Telemetry, FakeNvml]:
    meters, nvml = Telemetry(), FakeNvml()
    meters._nvml, meters._gpu = nvml, object()
    return meters, nvml


@pytest.mark.parametrize(
    ("reasons", "word"),
    [
        (0, ""), (IDLE, ""), (POWER, "power cap"), (POWER | SOFT_HEAT, "heat"), (SLOWDOWN | HARD_HEAT, "heat"),
        (SLOWDOWN, "hardware slowdown"), (SLOWDOWN | BRAKE, "power brake"),
    ],
)  # fmt: skip
def test_the_worst_of_nvmls_reasons_is_the_word(reasons: int, word: str) -> None:
    assert throttle_of(FakeNvml(), reasons) == word


def test_a_held_clock_is_told_once_it_was_so_in_most_readings(card: tuple[Telemetry, FakeNvml]) -> None:
    meters, nvml = card
    nvml.reasons = POWER
    assert read(meters, ENOUGH - 1).gpu_throttle is None
    assert read(meters, 1).gpu_throttle == "power cap"
    nvml.reasons = 0
    assert read(meters, ENOUGH + 1).gpu_throttle == ""


def test_a_clock_held_down_now_and_then_is_not_told(card: tuple[Telemetry, FakeNvml]) -> None:
    """By its power in 10 of 26 readings, by something else in 12."""
    meters, nvml = card
    for reasons, times in ((POWER, 5), (0, 4), (BRAKE, 3), (POWER, 5), (SOFT_HEAT, 4), (SLOWDOWN, 5)):
        nvml.reasons = reasons
        last = read(meters, times)
    assert last.gpu_throttle == ""


def test_a_card_that_does_not_say_leaves_it_unknown(card: tuple[Telemetry, FakeNvml]) -> None:
    meters, nvml = card
    nvml.reasons = None
    assert read(meters, ENOUGH + 5).gpu_throttle is None


def test_others_load_is_all_load_without_this_processs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """75 % of the 4 cores it may run on, of which it has one and a half itself; the others do not count."""
    meters = Telemetry()
    meters._cores = [2, 3, 4, 5]
    loads = [100.0, 100.0, 100.0, 80.0, 60.0, 60.0]
    monkeypatch.setattr(telemetry.psutil, "cpu_percent", lambda percpu=False: loads if percpu else 83.3)
    monkeypatch.setattr(meters._process, "cpu_percent", lambda: 150.0)
    assert read(meters, ENOUGH - 1).others_cpu_percent is None
    assert read(meters, 1).others_cpu_percent == pytest.approx(37.5)


def test_what_an_older_library_does_not_know_leaves_the_other_meters(card: tuple[Telemetry, FakeNvml]) -> None:
    meters, nvml = card
    nvml.nvmlDeviceGetPowerUsage = lambda gpu: 250_000

    def unknown(gpu: Any) -> int:
        raise AttributeError("nvmlDeviceGetCurrentClocksEventReasons")

    nvml.nvmlDeviceGetCurrentClocksEventReasons = unknown
    assert meters.sample().gpu_watts == 250.0


def test_a_process_has_never_held_less_than_it_holds_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux brings the peak up to date now and then only: 447.5 MiB were held with a peak of 447.4."""
    monkeypatch.setattr(telemetry, "_rss_peak", lambda: 1)
    meters = Telemetry().sample()
    assert meters.rss_peak == meters.rss > 1
