# SPDX-License-Identifier: Apache-2.0
"""One name for objects of dbt's, whose Python interface promises no types."""

from __future__ import annotations

from typing import Any, TypeAlias

DbtObject: TypeAlias = Any
