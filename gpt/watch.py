"""What is made of each finished step's figures beside reporting them: is it sound, and how noisy is its gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpt.config import Profile
from gpt.events import Event, LogLine, SpikeDetected
from gpt.guard import Guard, Limits
from gpt.noise import NoiseScale
from gpt.probe import part_of_step, why_none
from gpt.stepclock import StepResult
from gpt.stepper import Stepper


class Watch:
    """The two watchers of one run: gpt.guard and gpt.noise.

    Args:
        emit: takes each event; must not block.
    """

    def __init__(self, stepper: Stepper, emit: Callable[[Event], None]) -> None:
        self.guard, self.noise = Guard(), NoiseScale()
        self._stepper, self._emit = stepper, emit
        self._has_said_why_not = False

    @property
    def _part(self) -> int | None:
        return part_of_step(self._stepper)  # its portions may change

    @property
    def is_calm(self) -> bool:
        """False while steps are being left out: what is saved then has not proved itself."""
        return self.guard.in_a_row == 0

    def limits(self, profile: Profile) -> Limits | None:
        """What the next step's update must keep to."""
        return self.guard.limits(profile.guard)

    def measures_noise(self, step: int, profile: Profile) -> bool:
        """Whether this step's part is to be measured: a function of its number, so that resuming changes nothing.

        Where it should be and cannot, says why, once.
        """
        interval = profile.train.noise_scale_interval
        is_due = interval > 0 and step % interval == 0
        why_not = why_none(self._stepper) if is_due else None
        if why_not and not self._has_said_why_not:
            self._has_said_why_not = True
            self._emit(LogLine(level="info", text=f"the gradient noise scale stays unknown: {why_not}"))
        return is_due and not why_not

    def take_in(self, result: StepResult, profile: Profile) -> None:
        """Says what is wrong with a finished step, and what it tells of the noise."""
        fault = self.guard.judge(
            result.step, result.loss, result.grad_norm, profile.guard,
            applied=result.applied, scaled=self._stepper.scaler is not None,
        )  # fmt: skip
        if fault:
            self._emit(fault)
        if result.part_norm is None or self._part is None:
            return
        whole = self._stepper.micro_batch_size * self._stepper.accum
        if self.noise.add(result.part_norm, result.grad_norm, self._part, whole):
            self._emit(self.noise.event(result.step, profile))

    def take_demand(self) -> SpikeDetected | None:
        """The fault after which more is to be done than leaving out its update; asked for once."""
        demand, self.guard.demand = self.guard.demand, None
        return demand

    def facts(self) -> dict[str, Any]:
        """JSON values for a checkpoint."""
        return {"guard": self.guard.facts(), "noise": self.noise.facts()}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a checkpoint's state.json; from one written before there were watchers, anew."""
        if "guard" in state:
            self.guard.restore(state["guard"])
            self.noise.restore(state["noise"])
        else:
            self.guard.calm_step = state["step"]
