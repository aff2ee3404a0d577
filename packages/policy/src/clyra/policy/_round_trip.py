# SPDX-License-Identifier: Apache-2.0
"""The one place that edits YAML with its comments; needs ``ruamel.yaml``, the extra ``edit``."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from io import StringIO
from typing import Any

from clyra.spec import UnavailableError

_LONGEST_LINE = 4096


def rewrite(text: str, change: Callable[[MutableMapping[str, Any]], object]) -> str:
    """``text`` after ``change`` was made to its document; comments, order, indentation and line ends stay.

    Raises:
        UnavailableError: ``ruamel.yaml`` is not installed (``extra_missing``).
    """
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.util import load_yaml_guess_indent
    except ImportError as exc:
        message = "editing a policy needs ruamel.yaml; run pip install 'clyra[edit]'"
        raise UnavailableError(message, code="extra_missing") from exc
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = _LONGEST_LINE
    plain = text.replace("\r\n", "\n")
    _, indent, offset = load_yaml_guess_indent(plain)
    editor.indent(mapping=2, sequence=indent or 2, offset=offset or 0)
    document = editor.load(plain)
    change(document)
    written = StringIO()
    editor.dump(document, written)
    return written.getvalue().replace("\n", "\r\n") if "\r\n" in text else written.getvalue()
