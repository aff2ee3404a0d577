# SPDX-License-Identifier: Apache-2.0
"""A stamp names the commit and every file; in an image it shows what is no longer as it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from clyra.dbt._build import STAMP, BuildProbe, read_stamp
from clyra.dbt._clock import SystemClock
from clyra.dbt._stamp import Stamped, check_stamp, write_stamp
from clyra.evidence import Signer, canonicalize, load_signer
from clyra.spec import ConfigurationError, FormatError, UnavailableError

pytestmark = pytest.mark.usefixtures("tmp_clyra_home")


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(("git", *identity, *arguments), cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A dbt project in a folder of a repository, committed."""
    folder = tmp_path / "repository" / "shop"
    (folder / "models").mkdir(parents=True)
    (folder / "dbt_project.yml").write_text("name: shop\n")
    (folder / "models" / "a.sql").write_text("select 1\n")
    (folder / "models" / "größe.sql").write_text("select 2\n")
    (folder / ".gitignore").write_text(f"target\n{STAMP}\n")
    (folder.parent / "README.md").write_text("beside the project\n")
    git(folder.parent, "init", "-q")
    git(folder.parent, "add", ".")
    git(folder.parent, "commit", "-q", "-m", "first")
    return folder


def key() -> Signer:
    return load_signer("bundle", os.environ)


def stamp(project: Path, *, allow_dirty: bool = False, signer: Signer | None = None) -> Stamped:
    return write_stamp(project, signer or key(), os.environ, SystemClock(), allow_dirty=allow_dirty)


def image_of(project: Path, tmp_path: Path) -> Path:
    """The project as an image holds it: copied, without git."""
    image = tmp_path / "image"
    shutil.copytree(project, image)
    return image


def test_a_stamp_names_commit_tree_and_every_file(project: Path) -> None:
    members = stamp(project).members
    assert members["commit"] == git(project, "rev-parse", "HEAD")
    assert members["tree"] == git(project, "rev-parse", "HEAD:./")
    assert (members["branch"], members["dirty"]) == ("main", False)
    assert members["files"] == {
        name: sha256((project / name).read_bytes()).hexdigest()
        for name in (".gitignore", "dbt_project.yml", "models/a.sql", "models/größe.sql")
    }


def test_a_stamp_holds_in_the_image_and_the_plugin_names_the_commit(project: Path, tmp_path: Path) -> None:
    members = stamp(project).members
    image = image_of(project, tmp_path)
    found = check_stamp(image, None)
    assert found.holds
    assert (found.keyid, found.key, found.was_dirty) == (key().keyid, "not_evaluated", False)
    build = BuildProbe(image, {"PATH": os.environ["PATH"]}).build(["models"])
    assert (build.source, build.commit, build.tree) == ("image", members["commit"], members["tree"])
    assert (build.branch, build.dirty) == ("main", False)


def test_every_way_to_differ_is_found_by_the_check_and_by_the_plugin(project: Path, tmp_path: Path) -> None:
    stamp(project)
    image = image_of(project, tmp_path)
    (image / "models" / "a.sql").write_text("select 3\n")
    (image / "models" / "größe.sql").unlink()
    (image / "models" / "deep").mkdir()
    (image / "models" / "deep" / "extra.sql").write_text("select 4\n")
    (image / "packages.yml").write_text("packages: []\n")
    found = check_stamp(image, None)
    assert not found.holds
    assert found.signature_holds
    assert found.differences.changed == ("models/a.sql",)
    assert found.differences.missing == ("models/größe.sql",)
    assert found.differences.added == ("models/deep/extra.sql", "packages.yml")


@pytest.mark.parametrize("name", ["models/new.sql", "packages.yml"])
def test_code_that_came_in_beside_makes_an_image_dirty(project: Path, tmp_path: Path, name: str) -> None:
    stamp(project)
    image = image_of(project, tmp_path)
    (image / name).write_text("x\n")
    build = read_stamp(image)
    assert build is not None
    assert build.dirty is True


def test_what_dbt_writes_and_what_is_no_code_makes_no_image_dirty(project: Path, tmp_path: Path) -> None:
    (project / "dbt_packages").mkdir()
    (project / "dbt_packages" / "kept.yml").write_text("x: 1\n")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "one file where dbt installs others")
    stamp(project)
    image = image_of(project, tmp_path)
    for name in ("target/run.sql", "dbt_packages/x/macros/m.sql", "logs/dbt.log", "models/notes.txt"):
        (image / name).parent.mkdir(parents=True, exist_ok=True)
        (image / name).write_text("x\n")
    assert check_stamp(image, None).holds


def test_a_dirty_tree_is_refused(project: Path) -> None:
    (project / "models" / "new.sql").write_text("select 5\n")
    with pytest.raises(ConfigurationError, match="--allow-dirty"):
        stamp(project)
    assert not (project / STAMP).exists()
    (project / "models" / "new.sql").unlink()
    (project / "models" / "a.sql").write_text("select 6\n")
    with pytest.raises(ConfigurationError, match="--allow-dirty"):
        stamp(project)


def test_a_dirty_tree_that_is_allowed_stays_dirty_in_the_image(project: Path, tmp_path: Path) -> None:
    (project / "models" / "a.sql").write_text("select 7\n")
    (project / "models" / "größe.sql").unlink()
    members = stamp(project, allow_dirty=True).members
    assert members["dirty"] is True
    image = image_of(project, tmp_path)
    found = check_stamp(image, None)
    assert (found.holds, found.was_dirty) == (True, True)
    build = read_stamp(image)
    assert build is not None
    assert build.dirty is True


def test_changes_outside_of_the_project_do_not_matter(project: Path) -> None:
    (project.parent / "README.md").write_text("other\n")
    assert stamp(project).members["dirty"] is False


def test_a_folder_without_commit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="git shows no commit"):
        stamp(tmp_path)
    git(tmp_path, "init", "-q")
    with pytest.raises(ConfigurationError, match="git shows no commit"):
        stamp(tmp_path)


def test_without_git_the_reason_is_told(project: Path) -> None:
    with pytest.raises(ConfigurationError, match="git cannot be run"):
        write_stamp(project, key(), {"PATH": "/nowhere"}, SystemClock(), allow_dirty=False)


def test_links_and_submodules_are_named_as_not_covered(project: Path) -> None:
    (project / "linked").symlink_to("models")
    (project / "alias.sql").symlink_to("models/a.sql")
    git(project, "add", "linked", "alias.sql")
    git(project, "update-index", "--add", "--cacheinfo", f"160000,{git(project, 'rev-parse', 'HEAD')},shop/vendored")
    git(project, "commit", "-q", "-m", "links")
    (project / "vendored").mkdir()
    stamped = stamp(project)
    assert set(stamped.left_out) == {"linked", "vendored"}
    files: Any = stamped.members["files"]
    assert files["alias.sql"] == files["models/a.sql"]


def test_a_stamp_that_is_itself_committed_is_not_part_of_itself(project: Path) -> None:
    (project / ".gitignore").write_text("")
    (project / STAMP).write_text("{}")
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", "stamp")
    assert STAMP not in str(stamp(project).members["files"])


@pytest.mark.parametrize(
    "change",
    [
        {"commit": "0" * 40},
        {"files": {}},
        {"dirty": True},
        {"stamped_at": "2020-01-01T00:00:00.000000Z"},
        {"more": 1},
        {"signature": "AAAA"},
        {"signature": "no base64"},
        {"keyid": "0" * 64},
        {"alg": "ecdsa-p256-sha256"},
        {"alg": "none"},
        {"public_key": b64encode(b"no key").decode()},
        {"more": 0.5},
    ],
)
def test_an_edited_stamp_has_no_signature(project: Path, change: dict[str, Any]) -> None:
    path = stamp(project).path
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    found = check_stamp(project, None)
    assert not found.signature_holds
    assert not found.holds


def test_a_key_id_of_somebody_else_does_not_cover_a_good_signature(project: Path, tmp_path: Path) -> None:
    path = stamp(project).path
    thief = ec.generate_private_key(ec.SECP256R1())
    members = json.loads(
        stamp(project, signer=load_signer("bundle", {"CLYRA_SIGNING_KEY": pem_of(thief)})).path.read_text()
    )
    del members["signature"]
    members["keyid"] = key().keyid
    signature = thief.sign(canonicalize(members), ec.ECDSA(hashes.SHA256()))
    path.write_text(json.dumps({**members, "signature": b64encode(signature).decode()}))
    assert not check_stamp(project, trust_file(tmp_path, "bundle")).holds


def trust_file(folder: Path, role: str, **members: Any) -> Path:
    signer = key()
    path = folder / "clyra.trust.json"
    entry = {"keyid": signer.keyid, "public_key": b64encode(signer.public_key).decode(), "role": role, **members}
    path.write_text(json.dumps({"version": 1, "keys": [entry]}))
    return path


def test_a_trust_file_says_whose_the_key_is(project: Path, tmp_path: Path) -> None:
    stamp(project)
    assert check_stamp(project, trust_file(tmp_path, "bundle")).key == "trusted"


@pytest.mark.parametrize(("role", "members"), [("log", {}), ("bundle", {"revoked_at": "2026-01-01T00:00:00.000000Z"})])
def test_a_key_of_another_role_or_a_revoked_one_is_unknown(
    project: Path, tmp_path: Path, role: str, members: dict[str, Any]
) -> None:
    stamp(project)
    found = check_stamp(project, trust_file(tmp_path, role, **members))
    assert (found.key, found.holds, found.signature_holds) == ("unknown", False, True)


def pem_of(private: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    pkcs8 = serialization.PrivateFormat.PKCS8
    return private.private_bytes(serialization.Encoding.PEM, pkcs8, serialization.NoEncryption()).decode()


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_keys_of_key_services_sign_stamps_too(project: Path, kind: str) -> None:
    private = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
    stamp(project, signer=load_signer("bundle", {"CLYRA_SIGNING_KEY": pem_of(private)}))
    assert check_stamp(project, None).signature_holds


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"spec": "clyra.build/v1"}', b"[" * 100_000])
def test_what_is_no_stamp_is_refused_by_the_check_and_passed_over_by_the_plugin(project: Path, data: bytes) -> None:
    (project / STAMP).write_bytes(data)
    with pytest.raises(FormatError, match=STAMP):
        check_stamp(project, None)
    assert read_stamp(project) is None


def test_a_missing_stamp_says_how_to_get_one(project: Path) -> None:
    with pytest.raises(FormatError, match="run clyra dbt stamp"):
        check_stamp(project, None)


def test_paths_out_of_the_project_and_impossible_ones_are_only_differences(project: Path) -> None:
    path = stamp(project).path
    members = json.loads(path.read_text())
    members["files"] = {"../../../etc/hostname": "0" * 64, "a\x00b": "0" * 64, "": "0" * 64}
    path.write_text(json.dumps(members))
    assert len(check_stamp(project, None).differences.missing + check_stamp(project, None).differences.changed) == 3
    assert read_stamp(project) is not None


def test_a_stamp_that_cannot_be_written_leaves_nothing(project: Path) -> None:
    (project / STAMP).mkdir()
    with pytest.raises(UnavailableError) as caught:
        stamp(project)
    assert caught.value.code == "evidence_unavailable"
    assert not list(project.glob(".clyra.build*"))
