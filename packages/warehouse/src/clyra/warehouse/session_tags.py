# SPDX-License-Identifier: Apache-2.0
"""Session tags: which run, actor and tenant a warehouse session says it works for.

Any session can set them, so they are claims and prove nothing. They are refused outside a small alphabet, which is
what makes it safe to put them into options and statements without quoting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from clyra.spec.errors import FormatError

_TAG = re.compile(r"[A-Za-z0-9_.@:-]{1,128}")


@dataclass(frozen=True, slots=True)
class SessionTags:
    """The three tags, each of 1 to 128 characters out of ``A-Za-z0-9_.@:-``.

    Raises:
        FormatError: ``session_tag_invalid``, a tag has other characters or another length.
    """

    run_id: str
    actor_id: str
    tenant_id: str

    def __post_init__(self) -> None:
        for tag in fields(self):
            if not _TAG.fullmatch(getattr(self, tag.name)):
                # The value is not repeated: it may be anything, a token pasted by mistake included.
                raise FormatError(
                    f"{tag.name} is not a session tag: use 1 to 128 characters out of A-Za-z0-9_.@:-",
                    code="session_tag_invalid",
                    pointer=f"/{tag.name}",
                )


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What makes new sessions carry the tags.

    Attributes:
        appended: Per environment variable the text to add after what the user has there.
        statements: SQL that does the same in a session that is already open.
    """

    appended: Mapping[str, str] = field(default_factory=dict)
    statements: tuple[str, ...] = ()

    def merged(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The variables to set while connections open: the user's own text first, then ours.

        Args:
            environ: The environment as it is. Only variables of ``appended`` are read.
        """
        return {name: _joined(environ.get(name, ""), text) for name, text in self.appended.items()}


def _joined(own: str, text: str) -> str:
    # libpq drops a lone backslash at the end; before our text it would swallow the space that separates the two.
    dangling = (len(own) - len(own.rstrip("\\"))) % 2
    own = own[: len(own) - dangling]
    return f"{own} {text}" if own.strip() else text
