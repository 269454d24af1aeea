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
def read(name):
    try: return pathlib.Path(name).read_text()
    except OSError: return None
def held(real, phase=""):
    def call(*arguments, **options):
        while (where := read("hold")) is not None and phase in (where or phase): time.sleep(0.02)
        return real(*arguments, **options)
    return call
def paced(real):
    def call(*arguments, **options):
        time.sleep(float(read("pace") or 0))
        return real(*arguments, **options)
    return call
"""
"""Where a run stands still for as long as there is a file `hold` in its folder; one that names a phase holds it in that
alone. A file `pace` holds the seconds that each step is to take longer."""
HOLDS = {
    "running": {"gpt.trainer": HOLD + "learning_rate = held(learning_rate)"},
    "evaluating": {"gpt.evaluate": HOLD + "estimate_loss = held(estimate_loss, 'evaluating')"},
    "sampling": {"gpt.beside": HOLD + "draw_samples = held(draw_samples, 'sampling')"},
    "saving": {"gpt.checkpoint": HOLD + "write = held(write, 'saving')"},
}
ANYWHERE = {
    "gpt.trainer": HOLD + "learning_rate = paced(learning_rate)",
    **HOLDS["evaluating"], **HOLDS["sampling"], **HOLDS["saving"],
}  # fmt: skip
"""Held in whichever of these phases `hold` names, and paced."""
