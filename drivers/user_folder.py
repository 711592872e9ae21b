"""Where the program keeps what belongs to its user."""

from __future__ import annotations

import os
from pathlib import Path


def user_folder() -> Path:
    """User data folder of the program: `HIL_HOME`, or the platform's place."""
    override = os.environ.get("HIL_HOME")
    if override:
        return Path(override)
    import platformdirs

    return Path(platformdirs.user_data_dir("hil", appauthor=False))
