"""Makes the modules beside the tests, and the runs made of events, importable."""

from __future__ import annotations

import sys
from pathlib import Path

for folder in (Path(__file__).parent, Path(__file__).parent.parent / "cockpit"):
    sys.path.insert(0, str(folder))
