# SPDX-License-Identifier: Apache-2.0
"""Private keys that stand in the environment as PEM text: out of it while project code runs, back when dbt is done.

``env_var()`` in a model would otherwise print the key that signs bundles. A key that is named by its file stays: Jinja
reads no files.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import ClassVar

from clyra.dbt._dbt_environ import forget

# Those of `clyra.evidence.signer.SETTINGS`, which a command that leaves no evidence does not import.
NAMES = ("CLYRA_SIGNING_KEY", "CLYRA_LOG_KEY", "CLYRA_APPROVER_KEY", "CLYRA_ISSUER_KEY")
"""Variables that may hold a private key."""


class _Taken:
    texts: ClassVar[dict[str, str]] = {}


def take_keys(environ: MutableMapping[str, str]) -> None:
    """Take every key in PEM out of ``environ`` and out of dbt's copy of it."""
    for name in NAMES:
        if "-----BEGIN" in environ.get(name, ""):
            _Taken.texts[name] = environ.pop(name)
    forget(NAMES)


def give_back_keys(environ: MutableMapping[str, str]) -> None:
    """Put what was taken back, for what comes in this process after dbt."""
    while _Taken.texts:
        name, text = _Taken.texts.popitem()
        environ.setdefault(name, text)


def with_keys(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment as it was given, for whoever signs."""
    return {**environ, **_Taken.texts} if _Taken.texts else environ
