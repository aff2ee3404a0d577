# SPDX-License-Identifier: Apache-2.0
"""The verb of a SQL statement, without parsing it.

The verb decides whether a statement counts as one that writes, so every doubt ends at a writing verb or at a word that
``spec/verbs.json`` does not list, which counts as writing too. One look at the first keyword serves nearly all
statements; only ``with``, ``explain`` and several statements in one string are scanned.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from clyra.spec import verb_writes

_LEADING = re.compile(r"(?:\s+|--[^\n]*(?:\n|\Z)|/\*.*?\*/|[(;])*([A-Za-z][A-Za-z0-9_]{0,63})?", re.DOTALL)
_LEADING_COMMENT = re.compile(r"\s*/\*.*?\*/\s*", re.DOTALL)
_LEXEME = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`"
    r"|\$(?P<tag>[A-Za-z_]*)\$.*?\$(?P=tag)\$|(?P<mark>[();])|(?P<word>[A-Za-z_][A-Za-z0-9_$]*)",
    re.DOTALL,
)
_AFTER_WITH = frozenset(("select", "insert", "update", "delete", "merge", "values", "table"))
_BEFORE_EXPRESSION = frozenset(("as", "materialized"))
_IN_WITH = ("delete", "update", "insert", "merge")
_EXECUTED = (*_IN_WITH, "create", "execute", "refresh")
# What a statement may stand behind in a string of several, scripting blocks included.
_OPENERS = frozenset((";", "begin", "then", "else", "loop", "do"))
_NO_VERB = "unknown"


def verb_of(sql: str) -> str:
    """The statement's verb, lower case; the first that writes where a string holds several statements."""
    found = _LEADING.match(sql)
    verb = (found[1] or "").lower() if found else ""
    if verb == "with":
        return _verb_after_with(sql)
    if verb == "explain":
        return _explained(sql)
    if verb == "pragma":
        return "pragma" if "=" in sql else "pragma_read"
    if verb == "select" and "into" in sql.lower() and _selects_into(sql):
        return "select_into"
    if verb and not verb_writes(verb) and ";" in sql and ";" in sql.rstrip().rstrip(";"):
        return _first_writing(sql, verb)
    return verb or _NO_VERB


def body_of(sql: str, comment: str | None) -> str:
    """``sql`` without dbt's query comment.

    Args:
        sql: The statement as it is sent.
        comment: The connection's query comment; None where it is not known, then a leading block comment goes.
    """
    if comment is None:
        found = _LEADING_COMMENT.match(sql)
        return sql[found.end() :] if found else sql
    if not comment:
        return sql
    block = f"/* {comment.strip()} */"
    if sql.startswith(block):
        return sql[len(block) :].removeprefix("\n")
    for end in (f"\n{block}", f"\n{block};"):
        if sql.endswith(end):
            return sql[: -len(end)]
    return sql


def _lexemes(sql: str) -> Iterator[str]:
    """Words in lower case and the marks ``( ) ;``, in order; strings, quoted names and comments are passed over."""
    for found in _LEXEME.finditer(sql):
        if found["word"]:
            yield found["word"].lower()
        elif found["mark"]:
            yield found["mark"]


def _verb_after_with(sql: str) -> str:
    """The verb behind the common table expressions, or the one of an expression that changes data."""
    depth = 0
    before, opener = "", ""
    main = ""
    for lexeme in _lexemes(sql):
        if lexeme == "(":
            depth += 1
            opener = before
        elif lexeme == ")":
            depth -= 1
        elif depth and before == "(" and lexeme in _IN_WITH:
            return lexeme
        elif depth == 1 and before == "(" and lexeme == "select" and opener not in _BEFORE_EXPRESSION and not main:
            # ``with a as (...) (select ...) union all (select ...)``: the query itself stands in parentheses.
            main = lexeme
        elif not depth and lexeme in _AFTER_WITH and not main:
            main = lexeme
        elif not depth and before == ";":
            # A second statement behind the first: judged as one that writes unless it is known not to.
            main = lexeme if verb_writes(lexeme) else main
        before = lexeme
    return main or _NO_VERB


def _explained(sql: str) -> str:
    """``explain``, or the statement it executes: ``explain analyze`` runs what it explains."""
    words = [lexeme for lexeme in _lexemes(sql) if lexeme not in "();"]
    if "analyze" not in words[1:12] and "analyse" not in words[1:12]:
        return "explain"
    return next((word for word in words[1:] if word in _EXECUTED and verb_writes(word)), "select")


def _selects_into(sql: str) -> bool:
    """True for ``select ... into t from ...``, which makes a table."""
    depth = 0
    for lexeme in _lexemes(sql):
        if lexeme in "()":
            depth += 1 if lexeme == "(" else -1
        elif lexeme == "into" and not depth:
            return True
    return False


def _first_writing(sql: str, first: str) -> str:
    before = ";"
    for lexeme in _lexemes(sql):
        if before in _OPENERS and lexeme not in _OPENERS and lexeme not in "()" and verb_writes(lexeme):
            return lexeme
        before = lexeme
    return first
