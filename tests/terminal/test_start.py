"""What a person sees first."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from harness import ROOT, Cockpit


def test_the_first_frame_is_drawn_before_torch_is_imported(start: Callable[..., Cockpit], desk: Path) -> None:
    """The import of torch is held up until the frame has been seen: were it needed for the frame, none would come."""
    (desk / "sitecustomize.py").write_text(
        "import sys, time, importlib.abc, pathlib\n"
        "class Gate(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'torch':\n"
        f"            pathlib.Path({str(desk)!r}, 'asked').touch()\n"
        f"            while not pathlib.Path({str(desk)!r}, 'go').exists(): time.sleep(0.01)\n"
        "sys.meta_path.insert(0, Gate())\n"
    )
    cockpit = start(env={"PYTHONPATH": f"{desk}{os.pathsep}{ROOT}"})
    cockpit.wait_for("STARTING", "loss", "quit")
    cockpit.wait_until((desk / "asked").exists, "torch is asked for")
    (desk / "go").touch()
    cockpit.wait_for("RUNNING")
