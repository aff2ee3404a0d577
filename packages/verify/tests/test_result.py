# SPDX-License-Identifier: Apache-2.0
"""Codes, classes and results against the tables and schemas of the specification."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from clyra import spec
from clyra.spec import schema, spec_folder
from clyra.verify import Verification, verify_bundle, verify_log
from clyra.verify._refusal import error_for
from clyra.verify.conformance import load_vector, vector_files
from clyra.verify.result import BUNDLE_STAGES, NON_CLAIMS

ROW = re.compile(r"\| `([a-z0-9_]+)` \| ([a-z0-9_ ]+) \| (\w+Error) \|")
WARNING_ROW = re.compile(r"\| `([a-z0-9_]+)` \| ([a-z ]+) \| [^|]+ \|")


def table() -> dict[str, tuple[set[str], str]]:
    text = (spec_folder() / "errors.md").read_text().partition("## Verification: warnings")[0]
    return {code: (set(stages.split()), error) for code, stages, error in ROW.findall(text)}


def warnings_table() -> dict[str, set[str]]:
    text = (spec_folder() / "errors.md").read_text().partition("## Verification: warnings")[2].partition("\n## ")[0]
    return {code: set(stages.split()) for code, stages in WARNING_ROW.findall(text)}


@pytest.mark.parametrize(("code", "error"), [(code, error) for code, (_, error) in table().items()])
def test_a_code_has_the_class_that_the_specification_names(code: str, error: str) -> None:
    found = error_for(code, "message", "/a")
    assert type(found) is getattr(spec, error)
    assert found.code == code


def test_the_table_was_found() -> None:
    assert len(table()) > 60
    assert len(warnings_table()) == 11


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    types: Resource[Any] = Resource.from_contents(schema("types"))
    registry: Registry[Any] = Registry().with_resource("https://clyra.io/spec/types.schema.json", types)
    return jsonschema.Draft202012Validator(schema("verification"), registry=registry)


@pytest.mark.parametrize("suite", ["valid", "zip", "manifest", "journal", "signature", "trust"])
def test_every_result_is_what_its_schema_says(suite: str, validator: jsonschema.Draft202012Validator) -> None:
    codes, warnings = table(), warnings_table()
    for path in vector_files(suite=suite):
        vector = load_vector(path)
        if vector.command != "verify-bundle" or len(vector.input) > 1_000_000:
            continue
        result = verify_bundle(vector.input, trust=vector.files.get("trust.json"), environ={}, cwd="/")
        document = result.as_dict()
        validator.validate(document)
        assert [check["stage"] for check in document["checks"]] == list(BUNDLE_STAGES)
        failed = [check["stage"] for check in document["checks"] if check["status"] == "fail"]
        assert failed == ([result.stage] if result.code else [])
        assert result.code is None or result.stage in codes[result.code][0]
        assert all(warning.stage in warnings[warning.code] for warning in result.warnings)


def test_what_is_not_proved_is_quoted_word_for_word() -> None:
    text = (spec_folder() / "verification.md").read_text()
    listed = text.partition("quotes what a valid bundle does not prove:")[2]
    assert tuple(line.removeprefix("- ") for line in listed.strip().splitlines()) == NON_CLAIMS


def test_an_invalid_result_raises_the_error_of_its_code() -> None:
    result = verify_bundle(b"", environ={}, cwd="/")
    assert result.exit_code == 1
    with pytest.raises(spec.FormatError) as caught:
        result.raise_for_verdict()
    assert caught.value.code == "zip_trailer"


def test_a_result_without_fault_raises_nothing() -> None:
    result = Verification()
    result.raise_for_verdict()
    assert (result.verdict, result.exit_code) == ("valid", 0)
    result.warn("time_claimed", "trust", "text")
    result.raise_for_verdict()
    assert (result.verdict, result.exit_code) == ("warning", 2)


def test_a_log_that_is_not_there_cannot_be_read(tmp_path: Any) -> None:
    with pytest.raises(spec.UnavailableError):
        verify_log(tmp_path / "absent", environ={}, cwd=tmp_path)


def test_an_empty_folder_is_no_log(tmp_path: Any, validator: jsonschema.Draft202012Validator) -> None:
    result = verify_log(tmp_path, environ={}, cwd=tmp_path)
    assert (result.code, result.stage) == ("checkpoint_invalid", "log")
    validator.validate(result.as_dict())
