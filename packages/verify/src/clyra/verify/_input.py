# SPDX-License-Identifier: Apache-2.0
"""The edge to the file system: what a verification reads, and how it says that it cannot."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping
from typing import BinaryIO

from clyra.spec import UnavailableError
from clyra.verify._refusal import Refusal
from clyra.verify.trust import (
    MAX_TRUST_BYTES,
    Source,
    Trust,
    find_trust_file,
    parse_trust,
    refuse_test_keys,
)

PathLike = str | os.PathLike[str]
_BUFFER_BYTES = 256 * 1024


def open_file(source: PathLike | bytes) -> BinaryIO:
    """The bytes, or the regular file of this path, open for reading.

    Raises:
        UnavailableError: It cannot be read, or is a folder, pipe or device.
    """
    if isinstance(source, bytes):
        return io.BytesIO(source)
    try:
        if not stat.S_ISREG(os.stat(source).st_mode):
            raise UnavailableError(f"cannot read {os.fspath(source)}: not a file", code="bundle_unreadable")
        return open(source, "rb", buffering=_BUFFER_BYTES)
    except OSError as exc:
        raise unreadable(exc) from exc


def read_file(source: PathLike | bytes, limit: int) -> bytes:
    """At most the first ``limit`` bytes.

    Raises:
        UnavailableError: The file cannot be read.
    """
    with open_file(source) as file:
        try:
            return file.read(limit)
        except OSError as exc:
            raise unreadable(exc) from exc


def unreadable(error: OSError) -> UnavailableError:
    """The error for a file that the operating system does not let us read."""
    reason = error.strerror or type(error).__name__
    return UnavailableError(f"cannot read {error.filename or 'a file'}: {reason.lower()}", code="bundle_unreadable")


def read_trust(
    trust: PathLike | bytes | None, environ: Mapping[str, str], cwd: PathLike | None, *, beside: str | None
) -> tuple[bytes | None, Source, str | None]:
    """The bytes of the trust file in force, where it comes from, and its path if it has one.

    Raises:
        UnavailableError: It cannot be read.
    """
    source: Source = "argument"
    if trust is None:
        trust, source = find_trust_file(environ, os.getcwd() if cwd is None else cwd, beside=beside)
    if trust is None:
        return None, "none", None
    path = None if isinstance(trust, bytes) else os.fspath(trust)
    return read_file(trust, MAX_TRUST_BYTES + 1), source, path


def check_trust(data: bytes | None, pin: str | None, source: Source) -> Trust | None:
    """The trust file in these bytes, checked against the pin; None where there is none.

    Raises:
        Refusal: ``limit_exceeded``, ``trust_invalid``, ``key_weak`` or ``trust_pin``.
    """
    trust = None if data is None else parse_trust(data)
    if trust is not None and source != "argument":
        refuse_test_keys(trust)
    if pin is not None and (trust is None or trust.sha256 != pin):
        found = "there is no trust file" if trust is None else f"the trust file is {trust.sha256}"
        raise Refusal("trust_pin", f"{found}, expected {pin}")
    return trust
