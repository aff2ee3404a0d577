# SPDX-License-Identifier: Apache-2.0
"""dbt's own copy of the environment, from which ``env_var()`` in Jinja reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, MutableMapping


def dbt_environ() -> Mapping[str, str]:
    """The copy; empty outside of an invocation."""
    from dbt_common.context import try_get_invocation_context

    context = try_get_invocation_context()
    # The property `env` gives the mapping itself, so what is removed there is gone for Jinja.
    return {} if context is None else context.env


def forget(names: Iterable[str]) -> None:
    """Remove variables from the copy."""
    copy, wanted = dbt_environ(), {name.upper() for name in names}
    # On Windows dbt keeps the names folded in a mapping of its own.
    inner = getattr(copy, "_env", copy)
    if isinstance(inner, MutableMapping):
        for name in [name for name in inner if name.upper() in wanted]:
            del inner[name]
