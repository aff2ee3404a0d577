# SPDX-License-Identifier: Apache-2.0
"""The one exception that may leave a callback of dbt's."""

from __future__ import annotations

from dbt_common.exceptions import DbtRuntimeError

from clyra.spec import ClyraError


class RecorderStop(DbtRuntimeError):
    """The run cannot be recorded, and the user wants no run without a record (``on_recorder_failure: stop``)."""

    CODE = 10900
    MESSAGE = "Clyra"

    @property
    def type(self) -> str:
        """dbt's heading for the message."""
        return "Clyra"

    @classmethod
    def before_the_run(cls, cause: ClyraError) -> RecorderStop:
        """The refusal at the run gate: nothing was sent to the warehouse."""
        return cls(
            f"the run is refused before its first statement, as on_recorder_failure is stop\n"
            f"  {cause.message} [{cause.code}]"
        )

    @classmethod
    def after_the_run(cls, cause: ClyraError) -> RecorderStop:
        """The failure to seal: the run went on to its end, and its evidence is not complete."""
        return cls(f"the run ended and its evidence is not sealed\n  {cause.message} [{cause.code}]")
