# SPDX-License-Identifier: Apache-2.0
"""Tokens leave the environment before project code can read it, and stay with their run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from dbt_common.context import get_invocation_context, set_invocation_context

from clyra.dbt._token import NAMES, Tokens, exposing_names, take_tokens
from clyra.spec import ConfigurationError

TOKEN = "eyJ-not-a-real-token"


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """An environment with a token, of which dbt has made its copy."""
    given = {"HOME": "here", NAMES[1]: TOKEN}
    set_invocation_context(given)
    yield given
    take_tokens({})
    set_invocation_context(os.environ)


def test_token_is_gone_from_the_environment_and_from_the_copy_that_dbt_reads(environ: dict[str, str]) -> None:
    tokens = take_tokens(environ)
    assert environ == {"HOME": "here"}
    assert dict(get_invocation_context().env) == {"HOME": "here"}
    assert (tokens.approval(), tokens.has_approval, tokens.resume()) == (TOKEN.encode(), True, b"")
    assert exposing_names() == ()


def test_later_invocation_of_the_same_run_gets_the_token_again(environ: dict[str, str]) -> None:
    environ["CLYRA_RUN_ID"] = "run-1"
    first = take_tokens(environ)
    assert take_tokens(environ) == first
    assert take_tokens({"CLYRA_RUN_ID": "run-2"}) == Tokens()
    assert take_tokens(environ) == Tokens()


def test_run_without_an_id_keeps_no_token(environ: dict[str, str]) -> None:
    take_tokens(environ)
    assert take_tokens(environ) == Tokens()


def test_new_token_of_a_run_replaces_the_one_before(environ: dict[str, str]) -> None:
    environ["CLYRA_RUN_ID"] = "run-1"
    take_tokens(environ)
    environ[NAMES[1]] = "another"
    assert take_tokens(environ).approval() == b"another"
    assert take_tokens(environ).approval() == b"another"


def test_file_is_preferred_and_read_anew_each_time(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    tokens = Tokens(approval_file=str(path), approval_text="older")
    assert tokens.approval() == TOKEN.encode()
    path.write_text("renewed")
    assert tokens.approval() == b"renewed"


def test_file_that_is_too_large_is_not_cut_to_a_token(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"x" * 20_000)
    assert len(Tokens(approval_file=str(path)).approval()) > 8_192


def test_file_that_is_not_there_is_named_by_its_variable(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="CLYRA_APPROVAL_TOKEN_FILE"):
        Tokens(approval_file=str(tmp_path / "none")).approval()
    with pytest.raises(ConfigurationError, match="CLYRA_RESUME_TOKEN_FILE"):
        Tokens(resume_file=str(tmp_path / "none")).resume()


def test_project_that_names_the_variable_exposes_it(environ: dict[str, str]) -> None:
    take_tokens(environ)
    assert exposing_names(["HOME"], ["Clyra_Approval_Token"]) == (NAMES[1],)


def test_copy_that_still_holds_a_token_is_found(environ: dict[str, str]) -> None:
    assert exposing_names() == (NAMES[1],)
