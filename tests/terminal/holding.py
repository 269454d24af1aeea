"""Runs that stand still in one of their phases for as long as a test wants, and what is patched in for that."""

from __future__ import annotations

SETTINGS = [
    word for setting in (
        "train.max_steps=200", "train.eval_interval=100", "sample.interval=100", "sample.max_new_tokens=8",
        "checkpoint.interval=100",
    ) for word in ("--set", setting)
]  # fmt: skip
HOLD = """
import pathlib, time
def held(real):
    def call(*arguments, **options):
        while pathlib.Path("hold").exists(): time.sleep(0.02)
        return real(*arguments, **options)
    return call
"""
"""Where a run stands still for as long as there is a file `hold` in its folder."""
HOLDS = {
    "running": {"gpt.trainer": HOLD + "learning_rate = held(learning_rate)"},
    "evaluating": {"gpt.evaluate": HOLD + "to_device = held(to_device)"},
    "sampling": {"gpt.beside": HOLD + "draw_samples = held(draw_samples)"},
    "saving": {"gpt.checkpoint": HOLD + "write = held(write)"},
}
