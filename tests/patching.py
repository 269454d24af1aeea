"""The real program with a piece of it changed, so that a test can hold it up or break it where a user never could."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

HOOK = """\
import importlib.abc, sys
class Hook(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in PATCHES: return None
        spec = next(s for f in sys.meta_path if f is not self and (s := f.find_spec(name, path, target)))
        real = spec.loader.exec_module
        def exec_module(module):
            real(module)
            exec(PATCHES[name], vars(module))
        spec.loader.exec_module = exec_module
        return spec
sys.meta_path.insert(0, Hook())
"""


def patched(desk: Path, patches: dict[str, str]) -> dict[str, str]:
    """The environment in which the program started on `desk` runs a piece of code at the end of some of its modules.

    The program knows nothing of tests.
    """
    (desk / "sitecustomize.py").write_text(f"PATCHES = {patches!r}\n{HOOK}")
    return {"PYTHONPATH": f"{desk}{os.pathsep}{ROOT}"}
