# SPDX-License-Identifier: Apache-2.0
"""Carry folders of the repository's root in the wheel and the sdist of a package.

``[tool.hatch.build.hooks.custom.data]`` names them: ``"spec" = "clyra/spec/data"`` packs ``spec/`` into that folder
of the import package. Building from a checkout takes the folder at the root, the only copy; building from an unpacked
sdist finds what the sdist already holds below ``src/``. An editable install copies nothing: the code then reads the
checkout. Names in ``left-out`` stay out. Each package that packs data has this same file, because an sdist holds only
what is below its own folder.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PREFIX = {"wheel": "", "sdist": "src/"}
# What working in a folder leaves there.
LEFT_OUT = {".clyra", ".git", ".duckdb", ".user.yml", "__pycache__", "dbt_packages", "logs", "target"}


class RepositoryDataHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the configured folders to what the build includes."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Register each folder, or fail where neither the checkout's nor a packed copy exists."""
        if version == "editable":
            return
        left_out = LEFT_OUT.union(self.config.get("left-out", ()))
        package = Path(self.root)
        repository = package.parent.parent
        for source, target in self.config["data"].items():
            folder = repository / source
            if (repository / "tox.ini").is_file() and folder.is_dir():
                for path in sorted(folder.rglob("*")):
                    inside = path.relative_to(folder)
                    if path.is_file() and not left_out.intersection((inside.as_posix(), *inside.parts, path.suffix)):
                        name = f"{PREFIX[self.target_name]}{target}/{inside.as_posix()}"
                        build_data["force_include"][str(path)] = name
            elif not (package / "src" / target).is_dir():
                raise FileNotFoundError(f"neither {folder} nor a packed copy in src/{target} exists")
