# SPDX-License-Identifier: Apache-2.0
"""How an approval is refused."""

from __future__ import annotations

from typing import NoReturn

from clyra.spec import BlockedError


class ApprovalRefused(BlockedError):
    """A token, or what stands behind it, was refused; ``.code`` is ``approval_`` and one word of the fixed order."""

    default_code = "approval_claims"


def refuse(word: str, message: str) -> NoReturn:
    """Raise the refusal ``approval_<word>``."""
    raise ApprovalRefused(message, code=f"approval_{word}")
