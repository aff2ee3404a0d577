# SPDX-License-Identifier: Apache-2.0
"""Anchors: where the warehouse's own history recorded what a run did.

An anchor is a value. Adapters fill it in, the manifest's ``anchors[]`` carries it (spec/def/def_v0.md), and nothing
here talks to a warehouse or reads a clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

_LARGEST_JSON_INTEGER = 2**53 - 1
_REASONS = ("not_supported", "capture_failed")


@dataclass(frozen=True, slots=True)
class Anchor:
    """One entry of the manifest's ``anchors[]``.

    Attributes:
        system: The adapter type, as in ``run.adapter``.
        kind: What the value holds, a word of spec/anchors.json, or ``none``.
        object: What the anchor belongs to, for Postgres the database's name.
        value: The facts, each a number or one line of text.
        captured_at: When the last of them was read, aware.
        reason: Why there is no anchor: ``not_supported`` or ``capture_failed``; only with kind ``none``.
    """

    system: str
    kind: str
    object: str
    value: Mapping[str, str | int] = field(default_factory=dict)
    captured_at: datetime = field(kw_only=True)
    reason: str | None = None

    def __post_init__(self) -> None:
        if self.captured_at.tzinfo is None:
            raise ValueError("captured_at has no time zone; give an aware datetime")
        if (self.kind == "none") != (self.reason is not None):
            raise ValueError("a reason is given exactly when the kind is none")
        if self.reason is not None and self.reason not in _REASONS:
            raise ValueError(f"reason {self.reason!r} is none of {', '.join(_REASONS)}")

    def as_manifest(self) -> dict[str, str | dict[str, str | int]]:
        r"""The manifest's form: JSON values only, the instant in UTC with six digits.

        Integers beyond 2**53 - 1 become decimal strings (spec/canonical.md), control characters in text become
        ``\uXXXX`` escapes: the schema's texts are one line.
        """
        manifest: dict[str, str | dict[str, str | int]] = {
            "system": self.system,
            "kind": self.kind,
            "object": _one_line(self.object),
            "value": {name: _json_value(value) for name, value in self.value.items()},
            "captured_at": self.captured_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        if self.reason is not None:
            manifest["reason"] = self.reason
        return manifest


def no_anchor(adapter_type: str, reason: str, captured_at: datetime, *, detail: str = "") -> Anchor:
    """An anchor of kind ``none``, which says that there is none and why.

    Args:
        adapter_type: The adapter that was asked.
        reason: ``not_supported`` where the adapter has no anchors, ``capture_failed`` where reading one failed.
        captured_at: When that was found out, aware.
        detail: What was missing, in words without secrets or row values; kept as ``value.detail``.
    """
    value = {"detail": detail} if detail else {}
    return Anchor(adapter_type, "none", "", value, captured_at=captured_at, reason=reason)


def _json_value(value: str | int) -> str | int:
    if isinstance(value, str):
        return _one_line(value)
    return value if abs(value) <= _LARGEST_JSON_INTEGER else str(value)


def _one_line(text: str) -> str:
    return "".join(char if char >= " " and char != "\x7f" else f"\\u{ord(char):04x}" for char in text)
