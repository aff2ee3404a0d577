# SPDX-License-Identifier: Apache-2.0
"""Names of relations, folded as the warehouse folds them, so that equal names are equal texts."""

from __future__ import annotations

import re
import string
from typing import Literal

Folding = Literal["lower", "upper", "all_lower", "none"]

_FOLDING: dict[str, Folding] = {
    "postgres": "lower",
    "redshift": "all_lower",
    "snowflake": "upper",
    "databricks": "all_lower",
    "spark": "all_lower",
    "duckdb": "all_lower",
}
_PART = re.compile(r'"((?:[^"]|"")*)"|`((?:[^`]|``)*)`|([^."`]+)')
_PLAIN = re.compile(r'[^."`\s]+')
# Servers fold letters of ASCII; what they do with others depends on their encoding.
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)


def fold_name(system: str, name: str) -> str:
    """``name`` in the one form that every spelling of it has on ``system``, dbt's name of an adapter.

    Postgres lowers and Snowflake raises what is not quoted; Databricks, Spark, DuckDB and Redshift do not tell cases
    apart at all. Quotes stay where a part could be read in two ways without. On another system, and where quotes do
    not close, nothing is folded.
    """
    parts = _parts(name)
    if parts is None:
        return name
    folding = _FOLDING.get(system, "none")
    return ".".join(_quoted(_folded(part, folding, is_quoted=is_quoted)) for part, is_quoted in parts)


def _parts(name: str) -> list[tuple[str, bool]] | None:
    parts = []
    at = 0
    while found := _PART.match(name, at):
        quoted, ticked, plain = found.groups()
        if plain is not None:
            parts.append((plain.strip(), False))
        else:
            parts.append((ticked.replace("``", "`") if quoted is None else quoted.replace('""', '"'), True))
        at = found.end()
        if at == len(name):
            return parts
        if name[at] != ".":
            return None
        at += 1
    return None


def _folded(part: str, folding: Folding, *, is_quoted: bool) -> str:
    if folding == "none" or (is_quoted and folding != "all_lower"):
        return part
    return part.translate(_UPPER if folding == "upper" else _LOWER)


def _quoted(part: str) -> str:
    return part if _PLAIN.fullmatch(part) else '"' + part.replace('"', '""') + '"'
