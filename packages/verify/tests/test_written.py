# SPDX-License-Identifier: Apache-2.0
"""What the writer makes is what the verifier accepts: two implementations of one text that share no code."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clyra.evidence import ProjectLog, SealedBundle, Signer
from clyra.evidence.signer import ephemeral_signer
from clyra.testing.sample_bundle import SampleRun, layered_project, seal_sample
from clyra.verify import verify_bundle, verify_log
from clyra.verify._tiles import tile_name

Change = Callable[[Path], None]


def trust_file(**signers: Signer) -> bytes:
    keys = [
        {
            "keyid": signer.keyid,
            "public_key": base64.b64encode(signer.public_key).decode(),
            "alg": signer.alg,
            "role": role,
            "valid_from": "2025-01-01T00:00:00.000000Z",
        }
        for role, signer in signers.items()
    ]
    return json.dumps({"version": 1, "keys": keys, "require": ["log"] if "log" in signers else []}).encode()


def leaf(bundle: SealedBundle, manifest_sha256: str | None) -> dict[str, object]:
    run: Any = bundle.manifest["run"]
    return {
        "tenant": bundle.manifest["tenant"],
        "run_id": run["run_id"],
        "part": run["part"],
        "bundle_id": bundle.bundle_id,
        "manifest_sha256": manifest_sha256,
    }


def other_leaf(number: int) -> dict[str, object]:
    bundle_id = f"019c1328-3fa0-7e01-8a10-{number:012x}"
    members = {"tenant": "default", "run_id": f"run-{number}", "part": 1, "bundle_id": bundle_id}
    return members | {"manifest_sha256": f"{number:064x}"}


@pytest.mark.parametrize(
    "run",
    [
        SampleRun(),
        SampleRun(adapter="duckdb"),
        SampleRun(statuses={"model.shop.fct_orders": "error", "model.shop.fct_revenue_daily": "skipped"}),
        SampleRun(parents=layered_project(150)),
        SampleRun(labels={"\ufb33": "\U0001f600", "a": "\x7f\u2028 e\u0301"}, argv=["dbt", "run", "--vars", "{é: 1}"]),
    ],
    ids=["shop", "duckdb", "failed", "large", "odd-text"],
)
def test_a_sealed_run_is_valid(run: SampleRun, tmp_path: Path) -> None:
    signer = ephemeral_signer()
    sealed = seal_sample(tmp_path / ".clyra", run, signer=signer)
    result = verify_bundle(sealed.path, trust=trust_file(bundle=signer), environ={}, cwd=tmp_path)
    assert (result.verdict, result.code, result.warnings) == ("valid", None, [])
    assert result.manifest_sha256 == sealed.manifest_sha256
    assert result.references.listed == 2


def test_a_sealed_run_is_in_its_log(tmp_path: Path) -> None:
    signer, log_signer = ephemeral_signer(), ephemeral_signer()
    sealed = seal_sample(tmp_path / ".clyra", signer=signer)
    trust = trust_file(bundle=signer, log=log_signer)
    log = ProjectLog(tmp_path / "log", project="shop", signer=log_signer)
    log.append(leaf(sealed, None))
    assert [warning.code for warning in verify_log(tmp_path / "log", trust=trust).warnings] == ["log_run_open"]
    missing = verify_bundle(sealed.path, trust=trust, environ={})
    assert missing.code == "attestation_missing"
    log.append(leaf(sealed, sealed.manifest_sha256))
    for number in range(3):
        log.append(other_leaf(number))
    assert verify_log(tmp_path / "log", trust=trust).verdict == "valid"
    result = verify_bundle(sealed.path, trust=trust, proof=log.prove(sealed.bundle_id), environ={})
    assert result.verdict == "valid"
    assert result.log is not None
    assert (result.log.position, result.log.size) == (1, 5)
    opened = verify_bundle(sealed.path, trust=trust, proof=log.prove(0), environ={})
    assert opened.code == "proof_root"


@pytest.fixture(scope="module")
def long_log(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, bytes]:
    """A log of 600 leaves, a checkpoint of when it had 260, a trust file."""
    signer = ephemeral_signer()
    folder = tmp_path_factory.mktemp("log")
    log = ProjectLog(folder, project="shop", signer=signer, durable=False)
    kept = b""
    for number in range(600):
        if number == 260:
            kept = log.checkpoint()
        log.append(other_leaf(number))
    return folder, kept, trust_file(log=signer)


def test_a_long_log_is_valid_and_continues_what_was_kept(long_log: tuple[Path, bytes, bytes]) -> None:
    folder, kept, trust = long_log
    assert verify_log(folder, trust=trust).verdict == "valid"
    assert verify_log(folder, trust=trust, since=kept).verdict == "valid"


def test_any_byte_of_a_tile_flipped_is_refused(long_log: tuple[Path, bytes, bytes], tmp_path: Path) -> None:
    folder, _, trust = long_log
    copy = tmp_path / "log"
    shutil.copytree(folder, copy)
    # Of the partial tiles only those of the checkpoint's size are part of the log.
    partial = {"tile/0/002.p/88", "tile/entries/002.p/88", "tile/1/000.p/2"}
    full = {f"tile/{level}/{index}" for level in ("0", "entries") for index in ("000", "001")}
    tiles = [copy / name for name in sorted(partial | full)]
    for tile in tiles:
        data = tile.read_bytes()
        for at in range(0, len(data), 997):
            tile.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            assert verify_log(copy, trust=trust).verdict == "invalid", (tile, at)
        tile.write_bytes(data[:-1])
        assert verify_log(copy, trust=trust).code == "log_tile"
        tile.write_bytes(data)
    assert verify_log(copy, trust=trust).verdict == "valid"


def test_a_log_cut_back_to_an_older_checkpoint_is_a_rollback(
    long_log: tuple[Path, bytes, bytes], tmp_path: Path
) -> None:
    folder, kept, trust = long_log
    copy = tmp_path / "log"
    shutil.copytree(folder, copy)
    newest = (copy / "checkpoint").read_bytes()
    # The checkpoint of 260 leaves needs the first 4 of a tile that is whole by now: a partial tile is not kept for it.
    (copy / "checkpoint").write_bytes(kept)
    assert verify_log(copy, trust=trust).verdict == "valid"
    assert verify_log(copy, trust=trust, since=newest).code == "log_rollback"


@pytest.mark.parametrize(
    ("level", "index", "width", "name"),
    [
        ("0", 0, 256, "tile/0/000"),
        ("entries", 5, 7, "tile/entries/005.p/7"),
        ("1", 1234067, 256, "tile/1/x001/x234/067"),
        ("0", 1000, 255, "tile/0/x001/000.p/255"),
    ],
)
def test_tiles_have_the_names_of_c2sp(level: str, index: int, width: int, name: str) -> None:
    assert tile_name(level, index, width) == name
