# SPDX-License-Identifier: Apache-2.0
"""Carry the repository's ``spec/`` in the wheel and sdist as ``clyra/spec/data``.

Building from a checkout takes ``../../spec``; building from an unpacked sdist finds the copy that the sdist
already holds under ``src/``. An editable install copies nothing: ``clyra.spec`` then reads the checkout.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PREFIX = {"wheel": "", "sdist": "src/"}


class SpecDataHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds ``spec/`` to what the build includes."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Register the folder, or fail where neither the checkout's nor a packed copy exists."""
        if version == "editable":
            return
        package = Path(self.root)
        checkout = package.parent.parent / "spec"
        if (package.parent.parent / "tox.ini").is_file() and checkout.is_dir():
            build_data["force_include"][str(checkout)] = f"{PREFIX[self.target_name]}clyra/spec/data"
        elif not (package / "src/clyra/spec/data").is_dir():
            raise FileNotFoundError(f"neither {checkout} nor a packed copy under src/clyra/spec/data exists")
