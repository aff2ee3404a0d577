# SPDX-License-Identifier: Apache-2.0
"""Who runs, and arguments without secrets."""

from __future__ import annotations

import json

import pytest

from clyra.dbt._actor import actor_id, scrub_argv, shortened

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbmEifQ.c2lnbmF0dXJl"
KEY = "-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("run --select tag:nightly+ --threads 4", "run --select tag:nightly+ --threads 4"),
        ("run --profiles-dir /srv/dbt --target prod", "run --profiles-dir /srv/dbt --target prod"),
        ("run --state https://ana:hunter2@host/state?x=1", "run --state https://***@host/state?x=1"),
        ("run --state s3://b/k?X-Token=abc&y=2", "run --state s3://b/k?X-Token=***&y=2"),
        ("run --state postgresql://u:p@ss@host/db", "run --state postgresql://***@host/db"),
        ("x --password hunter2 y", "x --password *** y"),
        ("x --db-password=hunter2", "x --db-password=***"),
        ("x --api-key abc --access-token=def", "x --api-key *** --access-token=***"),
        (f"x {JWT}", "x ***"),
        ("x ghp_0123456789abcdefghij", "x ***"),
        ("x AKIAIOSFODNN7EXAMPLE", "x ***"),
        ("show --inline select-secret", "show --inline ***"),
        ("x --vars=whatever", "x --vars=***"),
        (
            "deps --add git+https://token:x-oauth-basic@github.com/org/pkg.git",
            "deps --add git+https://***@github.com/org/pkg.git",
        ),
    ],
)
def test_arguments_keep_what_is_no_secret(given: str, kept: str) -> None:
    assert scrub_argv(given.split(), {}, {}) == kept.split()


def test_variables_keep_their_names_only() -> None:
    names = {"--vars": ["start", "api_key"], "--args": []}
    given = ["run", "--vars", "{start: 2024-01-01, api_key: hunter2}", "--args", "{name: red}"]
    assert scrub_argv(given, {}, names) == ["run", "--vars", "{start: ***, api_key: ***}", "--args", "***"]


def test_key_in_an_argument_is_hidden_over_its_lines() -> None:
    assert scrub_argv(["x", KEY], {}, {}) == ["x", "***"]


def test_secret_variables_of_dbt_are_hidden_wherever_they_stand() -> None:
    environ = {"DBT_ENV_SECRET_PAT": "s3cr3t-value", "DBT_ENV_SECRET_SHORT": "ab"}
    assert scrub_argv(["--select", "s3cr3t-value+", "ab"], environ, {}) == ["--select", "***+", "ab"]


def test_option_at_the_end_without_its_value_is_kept() -> None:
    assert scrub_argv(["run", "--vars"], {}, {}) == ["run", "--vars"]


def test_arguments_beyond_what_a_line_holds_are_counted() -> None:
    few = ["dbt", "run", "--select", *("model_é" for _ in range(100))]
    assert shortened(few) == few
    many = ["dbt", "run", "--select", *("m\n" * 10 for _ in range(20_000))]
    kept = shortened(many)
    assert kept[:-1] == many[: len(kept) - 1]
    assert kept[-1] == f"... {len(many) - len(kept) + 1} more arguments"
    assert len(json.dumps(kept)) < 40_000


def test_argument_that_utf8_cannot_hold_is_kept_readable() -> None:
    assert scrub_argv(["a\0b\udcff"], {}, {}) == ["a b?"]


@pytest.mark.parametrize(
    ("environ", "actor"),
    [
        ({"CLYRA_ACTOR_ID": "ana@harbour.example", "GITHUB_ACTOR": "bot"}, "ana@harbour.example"),
        ({"CLYRA_ACTOR_ID": "not an id", "GITHUB_ACTOR": "deploy-bot"}, "deploy-bot"),
        ({"GITLAB_USER_LOGIN": "ana", "USER": "runner"}, "ana"),
        ({"USER": "Ana María"}, "Ana_Mar_a"),
        ({"LOGNAME": "x" * 200}, "x" * 128),
    ],
    ids=["named", "malformed", "ci", "foreign_characters", "long"],
)
def test_actor_is_the_first_that_is_known(environ: dict[str, str], actor: str) -> None:
    assert actor_id(environ) == actor


def test_actor_without_any_variable_is_the_system_user() -> None:
    assert actor_id({}) != ""
