# SPDX-License-Identifier: Apache-2.0
"""The exceptions that may leave a callback of dbt's, where a run must not go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dbt_common.exceptions import DbtRuntimeError

from clyra.spec import ClyraError

if TYPE_CHECKING:
    from clyra.dbt._refusal import RunBlocked


class RunStopped(DbtRuntimeError):
    """A run that Clyra does not let go on; ``code`` is a word of ``spec/errors.md``."""

    CODE = 10900
    MESSAGE = "Clyra"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def type(self) -> str:
        """dbt's heading for the message."""
        return "Clyra"


class RecorderStop(RunStopped):
    """The run cannot be recorded, and the user wants no run without a record (``on_recorder_failure: stop``)."""

    @classmethod
    def before_the_run(cls, cause: ClyraError) -> RecorderStop:
        """The refusal at the run gate: nothing was sent to the warehouse."""
        return cls(
            f"the run is refused before its first statement, as on_recorder_failure is stop\n"
            f"  {cause.message} [{cause.code}]",
            cause.code,
        )

    @classmethod
    def after_the_run(cls, cause: ClyraError) -> RecorderStop:
        """The failure to seal: the run went on to its end, and its evidence is not complete."""
        return cls(f"the run ended and its evidence is not sealed\n  {cause.message} [{cause.code}]", cause.code)


class RunRefused(RunStopped):
    """The run gate is closed: the policy refuses the run, or wants an approval that is not there."""

    @classmethod
    def by(cls, blocked: RunBlocked) -> RunRefused:
        """The refusal as dbt prints it."""
        return cls(blocked.refusal.text(), blocked.code)


class PlanOnly(RunStopped):
    """The run gate was asked what it would say (``CLYRA_PLAN_ONLY``), and has said it."""
