# SPDX-License-Identifier: Apache-2.0
"""A private key in the environment is out of project code's reach, and there again when dbt is done."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dbt_common.context import get_invocation_context, set_invocation_context

from clyra.dbt._private_keys import NAMES, give_back_keys, take_keys, with_keys
from clyra.evidence.signer import SETTINGS

PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQ==\n-----END PRIVATE KEY-----\n"


@pytest.fixture
def environ() -> Iterator[dict[str, str]]:
    given = {"CLYRA_SIGNING_KEY": PEM, "CLYRA_LOG_KEY": "keys/log.pem", "HOME": "/home/ana"}
    set_invocation_context(given)
    yield given
    give_back_keys({})


def test_the_names_are_those_of_every_role() -> None:
    assert set(NAMES) == set(SETTINGS.values())


def test_a_key_is_taken_and_a_file_is_left(environ: dict[str, str]) -> None:
    take_keys(environ)
    assert environ == {"CLYRA_LOG_KEY": "keys/log.pem", "HOME": "/home/ana"}
    assert not set(NAMES) & set(get_invocation_context().env)
    assert with_keys(environ)["CLYRA_SIGNING_KEY"] == PEM


def test_what_was_taken_comes_back_once(environ: dict[str, str]) -> None:
    take_keys(environ)
    give_back_keys(environ)
    assert environ["CLYRA_SIGNING_KEY"] == PEM
    del environ["CLYRA_SIGNING_KEY"]
    give_back_keys(environ)
    assert "CLYRA_SIGNING_KEY" not in environ


def test_a_key_that_was_set_meanwhile_stays(environ: dict[str, str]) -> None:
    take_keys(environ)
    environ["CLYRA_SIGNING_KEY"] = "another"
    give_back_keys(environ)
    assert environ["CLYRA_SIGNING_KEY"] == "another"
