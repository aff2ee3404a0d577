# SPDX-License-Identifier: Apache-2.0
"""What Clyra needs from any warehouse: anchors and session settings."""

from clyra.warehouse.anchor import Anchor, no_anchor
from clyra.warehouse.anchor_check import AnchorCheck, AnchorFinding, AnchorVerdict
from clyra.warehouse.protocol import Mark, Query, Warehouse
from clyra.warehouse.registry import load_warehouse
from clyra.warehouse.session_tags import SessionSettings, SessionTags

__all__ = [
    "Anchor",
    "AnchorCheck",
    "AnchorFinding",
    "AnchorVerdict",
    "Mark",
    "Query",
    "SessionSettings",
    "SessionTags",
    "Warehouse",
    "load_warehouse",
    "no_anchor",
]
