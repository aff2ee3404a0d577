# SPDX-License-Identifier: Apache-2.0
"""HTML and SVG that cannot be broken out of: text is escaped unless it is markup made here."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from clyra.evidence.page.wording import visible

_VOID = frozenset(("br", "hr", "meta"))


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def text(value: object) -> Markup:
    """The markup that shows ``value`` as it is: escaped, with characters that hide or reorder made visible."""
    return value if isinstance(value, Markup) else Markup(escape(visible(str(value)), quote=True))


def element(tag: str, *children: object, **attributes: object) -> Markup:
    """An element; children that are not markup are escaped, None is left out.

    Args:
        tag: Name of the element.
        children: Markup, or anything that is shown as text.
        attributes: By name; ``class_`` is ``class``, other underscores are hyphens, None is left out, True is empty.
    """
    start = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{"" if value is True else text(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Markup(f"<{tag}{start}>")
    return Markup(f"<{tag}{start}>{join(children)}</{tag}>")


def join(children: Iterable[object]) -> Markup:
    """The markup of ``children``, one after the other."""
    return Markup("".join(text(child) for child in children if child is not None))
