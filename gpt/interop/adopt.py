"""Makes a run's first checkpoint of what another program has trained, by the trainer's own means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gpt.errors import CheckpointError
from gpt.events import Event
from gpt.interop.nanogpt_checkpoint import Imported
from gpt.trainer import Trainer


class Adopter(Trainer):
    """Writes one checkpoint and trains nothing.

    Args:
        imported: what was read; its profile is the run's, so its data must be at hand.
        run_dir, emit: as the trainer's.
    """

    def __init__(self, imported: Imported, run_dir: Path, emit: Callable[[Event], None]) -> None:
        super().__init__(imported.profile, run_dir, emit)
        self._imported = imported

    def adopt(self) -> None:
        """Writes the checkpoint. Raises a UserError where the data or the disk will not do."""
        imported = self._imported
        try:
            self._set_up()
            state = {
                "optimizer_groups": self.snapshot.facts()["optimizer_groups"], "scaler": None,
                "sequences": imported.step * imported.profile.sequences_per_step,
            }  # fmt: skip
            self.snapshot.put(imported.weights, imported.moments, state, imported.source)
            self.step = imported.step
            if not self.record.save("imported"):
                raise CheckpointError(
                    f"the checkpoint could not be written ({self.record.saver.refusal}); nothing is imported"
                )
            self.record.saver.wait()
            self.state("stopped")
        finally:
            self._threads.close()
