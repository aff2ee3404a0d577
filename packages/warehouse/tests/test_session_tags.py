# SPDX-License-Identifier: Apache-2.0
"""Session tags are refused outside their alphabet, and settings keep what the user has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clyra.spec.errors import FormatError
from clyra.warehouse import SessionSettings, SessionTags

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.@:-"


@given(st.text(ALPHABET, min_size=1, max_size=128))
def test_every_tag_of_the_alphabet_is_taken(tag: str) -> None:
    assert SessionTags(tag, tag, tag).tenant_id == tag


@given(st.text().filter(lambda text: not (0 < len(text) <= 128 and set(text) <= set(ALPHABET))))
def test_every_other_tag_is_refused(tag: str) -> None:
    with pytest.raises(FormatError) as refusal:
        SessionTags("run", tag, "tenant")
    assert refusal.value.code == "session_tag_invalid"
    assert refusal.value.pointer == "/actor_id"


@pytest.mark.parametrize("tag", ["", "a" * 129, "a b", "a\\", "a'b", "run\n", "é", "a;b", "a=b"])
def test_tags_that_could_leave_their_place_are_refused(tag: str) -> None:
    with pytest.raises(FormatError, match="session tag"):
        SessionTags(tag, "actor", "tenant")


def test_refusal_does_not_repeat_the_value() -> None:
    with pytest.raises(FormatError) as refusal:
        SessionTags("run", "secret value", "tenant")
    assert "secret" not in refusal.value.message


@pytest.mark.parametrize(
    ("own", "merged"),
    [
        pytest.param(None, "-c a=1", id="nothing there"),
        pytest.param("  ", "-c a=1", id="only spaces there"),
        pytest.param("-c x=2", "-c x=2 -c a=1", id="the user's first"),
        pytest.param("-c x=a\\ b", "-c x=a\\ b -c a=1", id="an escaped space"),
        pytest.param("-c x=a\\", "-c x=a -c a=1", id="a lone backslash at the end"),
        pytest.param("-c x=a\\\\", "-c x=a\\\\ -c a=1", id="an escaped backslash at the end"),
    ],
)
def test_settings_are_added_after_the_users_own(own: str | None, merged: str) -> None:
    environ = {"HOME": "/home/me"} if own is None else {"PGOPTIONS": own}
    assert SessionSettings({"PGOPTIONS": "-c a=1"}).merged(environ) == {"PGOPTIONS": merged}
