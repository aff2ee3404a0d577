# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a policy file, and where: one problem per fault, each fit to be fixed without other help."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clyra.spec import PolicyError

if TYPE_CHECKING:
    from clyra.policy.first_pass import FirstPass

ProblemSeverity = Literal["error", "warning", "note"]

POLICY_FILE = "clyra.policy.yaml"


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a policy file.

    ``code`` is a word of ``spec/errors.md``. ``line`` and ``column`` count from 1, columns in characters, and are
    those of the offending key or value; both are 0 where the policy was not read from text. ``pointer`` is a JSON
    pointer (RFC 6901) into the file as it is written.
    """

    code: str
    message: str
    line: int
    column: int
    pointer: str
    severity: ProblemSeverity = "error"
    file: str = POLICY_FILE

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.severity} {self.code}: {self.message}"


class PolicyInvalid(PolicyError):
    """A policy cannot be used; the code is ``policy_invalid``, or ``policy_requires`` where the engine does not fit.

    ``first_pass`` is what could be read of it all the same, so that a gate knows whether it must refuse; None where
    the policy was not read from text.
    """

    def __init__(
        self, message: str, *, problems: Iterable[Problem], first_pass: FirstPass | None, code: str = "policy_invalid"
    ) -> None:
        super().__init__(message, code=code)
        self.problems = tuple(problems)
        self.first_pass = first_pass
