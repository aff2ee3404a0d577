# SPDX-License-Identifier: Apache-2.0
"""A bundle as a page for people: self-contained, without script, printable."""

from clyra.evidence.page._card import render_card
from clyra.evidence.page._document import render_page

__all__ = ["render_card", "render_page"]
