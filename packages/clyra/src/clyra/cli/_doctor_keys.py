# SPDX-License-Identifier: Apache-2.0
"""Checks of the keys that sign here: where each comes from, who can read it, whether the trust file has it.

Of a key only its id and its source are shown.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from clyra.evidence.signer import SETTINGS, KeyRole, Signer, load_signer, user_key_path
from clyra.policy.health import Check, CheckContext
from clyra.spec import ClyraError

if TYPE_CHECKING:
    from clyra.cli._doctor_trust import TrustFile
    from clyra.verify.trust import TrustKey

_REQUIRED: tuple[KeyRole, ...] = ("bundle", "log")
_SOON = timedelta(days=30)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:")


def checks(context: CheckContext) -> Iterator[Check]:
    """The checks of the group ``keys``."""
    from clyra.cli._doctor_trust import find_trust

    found = find_trust(context)
    for role in SETTINGS:
        source = key_source(role, context.environ)
        exposed = _exposed(role, source)
        if exposed is not None:
            yield exposed
            continue
        try:
            signer = load_signer(role, context.environ, create=False)
        except ClyraError as exc:
            yield Check(f"keys.{role}", "fail", exc.message)
            continue
        yield _described(role, signer, source)
        if signer.origin != "ephemeral":
            yield enrolled(role, signer, found, context.now)


def key_source(role: KeyRole, environ: Mapping[str, str]) -> str:
    """Where the key of ``role`` comes from: a variable with PEM text, a file, an address; never the key."""
    configured = environ.get(SETTINGS[role], "").strip()
    if "-----BEGIN" in configured:
        return SETTINGS[role]
    return configured or str(user_key_path(role, environ) or "")


def _exposed(role: KeyRole, source: str) -> Check | None:
    path = Path(re.sub(r"^file:(//)?", "", source))
    if os.name != "posix" or not source or not path.is_file() or source == SETTINGS[role]:
        return None
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & 0o077:
        return None
    name = shlex.quote(str(path))
    told = f"the key file {path} is open to others: mode {mode:04o}, expected 0600"
    return Check(f"keys.{role}", "fail", told, f"chmod 600 {name}", undo=f"chmod {mode:03o} {name}")


def _described(role: KeyRole, signer: Signer, source: str) -> Check:
    if signer.origin != "ephemeral":
        shown = f"{_SCHEME.match(source)[0]}..." if _is_address(source) else source  # type: ignore[index]
        return Check(f"keys.{role}", "ok", f"{signer.alg} key {signer.keyid[:16]} from {shown}")
    if role in _REQUIRED:
        told = "there is no key yet: the first run makes one, or signs with one that dies with it"
        return Check(f"keys.{role}", "warn", told, "clyra keys init")
    return Check(f"keys.{role}", "skip", f"no {role} key here")


def _is_address(source: str) -> bool:
    # Two letters at least: a single one is a Windows drive. An address may hold a password.
    return _SCHEME.match(source) is not None and not source.startswith("file:")


def enrolled(role: KeyRole, signer: Signer, found: TrustFile | None, now: datetime) -> Check:
    """Whether the trust file lets the key of ``role`` sign, and for how much longer."""
    name = f"keys.{role}_trust"
    if found is None or found.trust is None:
        return Check(name, "skip", "there is no trust file that could have the key")
    path, key = found.path, found.trust.keys.get(signer.keyid)
    if key is None or key.role != role:
        listed = "has it not" if key is None else f"has it as {key.role} key"
        return Check(name, "warn", f"{path} {listed}; whoever keeps it has to add it", _enrol(role, path, key))
    if key.revoked_at is not None:
        return Check(name, "fail", f"{path} revoked the key at {key.revoked_at}; sign with another one")
    return _period(name, key, now)


def _enrol(role: KeyRole, path: Path, listed: TrustKey | None) -> str | None:
    if listed is not None or os.name != "posix":
        return None
    add = f"clyra keys trust /dev/stdin --role {role} --trust-file {shlex.quote(str(path))}"
    return f"clyra keys export --role {role} | {add}"


def _period(name: str, key: TrustKey, now: datetime) -> Check:
    begin = datetime.fromisoformat(key.valid_from)
    if now < begin:
        return Check(name, "warn", f"the key counts only from {key.valid_from} on")
    if key.valid_to is None:
        return Check(name, "ok", "in the trust file, without an end")
    left = datetime.fromisoformat(key.valid_to) - now
    if left <= timedelta(0):
        return Check(name, "fail", f"the key expired at {key.valid_to}; make a new one and have it trusted")
    if left <= _SOON:
        return Check(name, "warn", f"the key expires in {left.days} days, at {key.valid_to}; make the next one now")
    return Check(name, "ok", f"in the trust file until {key.valid_to[:10]}")
