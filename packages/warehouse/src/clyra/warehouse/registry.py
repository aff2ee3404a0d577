# SPDX-License-Identifier: Apache-2.0
"""Find the package that knows a warehouse, by entry point.

Only the package of the adapter in use is imported, so an installation may hold many.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from clyra.spec.errors import ConfigurationError
from clyra.warehouse.protocol import Warehouse

_GROUP = "clyra.warehouses"


def load_warehouse(adapter_type: str) -> Warehouse | None:
    """The warehouse that is installed for ``adapter_type``, or None where there is none.

    Args:
        adapter_type: dbt's name of the adapter, for instance ``postgres``.

    Raises:
        ConfigurationError: Two packages claim the adapter, or the one that does cannot be used.
    """
    claims = {entry.value: entry for entry in entry_points(group=_GROUP, name=adapter_type)}
    if len(claims) > 1:
        raise ConfigurationError(
            f"several packages serve {adapter_type}: {', '.join(sorted(claims))}; uninstall all but one"
        )
    return next((_created(entry) for entry in claims.values()), None)


def _created(entry: EntryPoint) -> Warehouse:
    broken = f"the package that serves {entry.name} ({entry.value}) cannot be used: "
    try:
        warehouse: object = entry.load()()
    except (ImportError, AttributeError, TypeError) as exc:
        raise ConfigurationError(f"{broken}{type(exc).__name__}; reinstall it") from exc
    if not isinstance(warehouse, Warehouse) or warehouse.adapter_type != entry.name:
        raise ConfigurationError(f"{broken}it is no warehouse of that name; upgrade it together with clyra")
    return warehouse
