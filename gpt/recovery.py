"""What is done where too many steps in a row went wrong: back to a good checkpoint, or a question to the pilot."""

from __future__ import annotations

from gpt import events as ev
from gpt.errors import DivergedError
from gpt.guard import describe
from gpt.run import Run


class Recovery:
    """Does what one run's guard asks for.

    Args:
        attended: whether somebody watches, and can be asked what to do.
    """

    def __init__(self, run: Run, *, attended: bool) -> None:
        self._run, self._attended = run, attended
        self._asking: ev.SpikeDetected | None = None  # what it stands paused for

    def heed_guard(self) -> None:
        """Where too many steps in a row were left out: goes back, or asks the pilot."""
        fault = self._run.watch.take_demand()
        if fault and not (fault.action == "rewind" and self._run.way_back.for_guard(fault)):
            self._ask(fault)

    def forgive(self) -> None:
        """Begins to judge anew where the pilot has decided what he was asked."""
        if self._asking:
            self._asking = None
            self._run.watch.guard.forgive()

    def be_left(self) -> None:
        """Notes that nobody watches any more. Raises DivergedError where it stands paused to ask."""
        self._attended = False
        if self._asking:
            self._give_up(self._asking)

    def _ask(self, fault: ev.SpikeDetected) -> None:
        """Pauses until the pilot has decided; ends the run where there is none."""
        self._asking = fault
        if not self._run.ranks.agree(self._attended):  # of several ranks only the first knows
            self._give_up(fault)
        self._run.helm.pause()

    def _give_up(self, fault: ev.SpikeDetected) -> None:
        self._run.drain()
        self.forgive()  # whoever resumes has decided to go on
        raise DivergedError(
            f"step {fault.step:,}: {describe(fault)}, and nobody is there to ask; "
            "resume with a lower optim.learning_rate"
        )
