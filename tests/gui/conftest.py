"""Windows of the tests are drawn off the screen; tests that need a display start one of their own."""

from __future__ import annotations

import os

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
