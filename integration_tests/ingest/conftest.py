# SPDX-License-Identifier: Apache-2.0
"""A dbt project on DuckDB that runs without the plugin, and the command that seals what it leaves."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from clyra.evidence import load_signer
from clyra.verify import Verification, verify_bundle

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent

Role = Literal["bundle", "log"]


@dataclass(frozen=True)
class Opened:
    """A bundle, read with the standard library alone."""

    path: Path

    def read(self, name: str) -> bytes:
        with zipfile.ZipFile(self.path) as container:
            return container.read(name)

    @property
    def all_bytes(self) -> bytes:
        with zipfile.ZipFile(self.path) as container:
            return b"\n".join(container.read(name) for name in container.namelist())

    @property
    def run(self) -> dict[str, Any]:
        members: dict[str, Any] = json.loads(self.read("manifest.json"))["run"]
        return members

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.read("journal.ndjson").splitlines()]
        return [event for event in lines if event["type"] == kind]


@dataclass
class Harbour:
    """One copy of the project and the environment that programs run it in."""

    path: Path
    environment: dict[str, str] = field(repr=False)

    def dbt(self, *arguments: str, code: int = 0, recorded: bool = False) -> None:
        """Run dbt, without the plugin unless ``recorded``."""
        switch = {} if recorded else {"CLYRA_DISABLED": "1"}
        self._run(("dbt", *arguments), switch, code)

    def clyra(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run ``clyra dbt``."""
        return self._run(("clyra", "dbt", *arguments), {}, code)

    def seal(self, *arguments: str) -> Opened:
        """Seal the artifacts that are there; the bundle."""
        return Opened(Path(self.clyra("seal", *arguments).stdout.strip()))

    def bundles(self) -> list[Opened]:
        """What was sealed, oldest first."""
        return [Opened(path) for path in sorted(self.path.glob(".clyra/evidence/*/*/*.def.zip"))]

    def verify(self, bundle: Opened) -> Verification:
        """Verify against a trust file with this machine's keys, the log's proof required."""
        roles: tuple[Role, ...] = ("bundle", "log")
        trust = {"version": 1, "keys": [self._trusted(role) for role in roles], "require": ["log"]}
        artifacts = self.path / ".clyra" / "artifacts"
        return verify_bundle(bundle.path, trust=json.dumps(trust).encode(), artifacts=artifacts, environ={})

    def _trusted(self, role: Role) -> dict[str, Any]:
        signer = load_signer(role, self.environment, create=False)
        return {
            "keyid": signer.keyid,
            "public_key": base64.b64encode(signer.public_key).decode(),
            "alg": signer.alg,
            "role": role,
            "valid_from": "2020-01-01T00:00:00.000000Z",
            "valid_to": "2100-01-01T00:00:00.000000Z",
            **({"captures": ["recorded", "ingested"]} if role == "bundle" else {}),
        }

    def _run(self, words: tuple[str, ...], more: dict[str, str], code: int) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            (str(BIN / words[0]), *words[1:]),
            cwd=self.path,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done


def environment_of(home: Path) -> dict[str, str]:
    """The environment without anybody's dbt, Clyra, CI or git settings, and an empty home."""
    foreign = ("CLYRA_", "DBT_", "GIT", "CI", "BUILDKITE", "XDG_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    switches = {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "GIT_CONFIG_GLOBAL": os.devnull, "CLYRA_ACTOR_ID": "harbour"}
    return {**kept, **switches, "HOME": str(home)}


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after a ``dbt build`` that nobody recorded, one test of it failed."""
    folder = tmp_path_factory.mktemp("harbour")
    project = folder / "project"
    shutil.copytree(HERE / "project", project)
    words = ("build", "--vars", '{fail: true, word: "Sturmflut-1962 and more"}')
    Harbour(project, environment_of(folder)).dbt(*words, code=1)
    return project


@pytest.fixture
def harbour(built: Path, tmp_path: Path) -> Harbour:
    """A copy of the project that was built."""
    path = tmp_path / "project"
    shutil.copytree(built, path)
    return Harbour(path, environment_of(tmp_path))
