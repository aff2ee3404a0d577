# SPDX-License-Identifier: Apache-2.0
"""Who runs, and with which arguments, as far as evidence may hold it.

An actor id is a claim of the runner. Arguments lose everything that may be a secret: values of ``--vars`` and
``--args``, SQL text, credentials in URLs, values of secret-looking options and of dbt's secret variables.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence

from clyra.dbt import _schema_text

HIDDEN = "***"
_ARGV_BYTES = 32_768

_ACTORS = (
    "GITHUB_ACTOR",
    "GITLAB_USER_LOGIN",
    "BUILDKITE_BUILD_CREATOR_EMAIL",
    "CIRCLE_USERNAME",
    "BUILD_REQUESTEDFOREMAIL",
)
_DICTIONARIES = frozenset(("--vars", "--args"))
_TEXTS = frozenset(("--inline", "--inline-direct", "--warn-error-options", "--sqlparse"))
_SECRET_OPTION = re.compile(
    r"--?[\w-]*(?:password|passwd|secret|token|credential|api[-_]?key|private[-_]?key)[\w-]*", re.I
)
_URL_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s]+@")
_QUERY_SECRET = re.compile(r"((?:password|passwd|secret|token|sig|signature|key|pwd)=)[^&\s;]+", re.I)
_LOOKS_SECRET = re.compile(
    r"-----BEGIN [A-Z ]+-----.*|\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?|\bgh[pousr]_\w{16,}|\bgithub_pat_\w{16,}"
    r"|\bglpat-[\w-]{16,}|\bA[KS]IA[A-Z0-9]{16}\b|\bxox[abprs]-[\w-]{10,}|\bdapi[0-9a-f]{32}\b|\bdbt[cu]_[\w-]{16,}",
    re.DOTALL,
)


def actor_id(environ: Mapping[str, str]) -> str:
    """The first that is known: ``CLYRA_ACTOR_ID``, the CI service's user, the user of the operating system."""
    named = environ.get("CLYRA_ACTOR_ID", "")
    if _schema_text.is_tag(named):
        return named
    for variable in _ACTORS:
        if found := _schema_text.tag(environ.get(variable, "")):
            return found
    return _schema_text.tag(_system_user(environ)) or "unknown"


def scrub_argv(argv: Sequence[str], environ: Mapping[str, str], names: Mapping[str, Iterable[str]]) -> list[str]:
    """``argv`` without secrets.

    Args:
        argv: The arguments as they were given.
        environ: Environment variables; values of dbt's secret ones are hidden wherever they occur.
        names: Per option with a dictionary (``--vars``) the names in it, which are kept.
    """
    secrets = [value for name, value in environ.items() if name.startswith("DBT_ENV_SECRET") and len(value) > 3]
    scrubbed: list[str] = []
    option = ""
    for argument in argv:
        if option:
            scrubbed.append(_value(option, argument, secrets, names))
            option = ""
            continue
        head, equals, value = argument.partition("=")
        if _takes_hidden_value(head):
            scrubbed.append(f"{head}={_value(head, value, secrets, names)}" if equals else head)
            option = "" if equals else head
        else:
            scrubbed.append(_without_secrets(argument, secrets))
    return scrubbed


def shortened(argv: Sequence[str]) -> list[str]:
    """``argv`` as far as a journal's line holds it; orchestrators select thousands of models by name.

    What is left out is counted in a last element.
    """
    kept: list[str] = []
    left = _ARGV_BYTES
    for argument in argv:
        left -= len(json.dumps(argument, ensure_ascii=False).encode()) + 1
        if left < 0:
            return [*kept, f"... {len(argv) - len(kept)} more arguments"]
        kept.append(argument)
    return kept


def _takes_hidden_value(option: str) -> bool:
    return option in _DICTIONARIES or option in _TEXTS or _SECRET_OPTION.fullmatch(option) is not None


def _value(option: str, value: str, secrets: Sequence[str], names: Mapping[str, Iterable[str]]) -> str:
    if option not in _DICTIONARIES:
        return HIDDEN
    kept = ", ".join(f"{_without_secrets(str(name), secrets)}: {HIDDEN}" for name in names.get(option, ()))
    return f"{{{kept}}}" if kept else HIDDEN


def _without_secrets(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    text = _URL_USER.sub(rf"\1{HIDDEN}@", text)
    text = _QUERY_SECRET.sub(rf"\1{HIDDEN}", text)
    return _schema_text.free_text(_LOOKS_SECRET.sub(HIDDEN, text))


def _system_user(environ: Mapping[str, str]) -> str:
    for variable in ("LOGNAME", "USER", "USERNAME"):
        if found := environ.get(variable, ""):
            return found
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return f"uid:{os.getuid()}" if hasattr(os, "getuid") else ""
