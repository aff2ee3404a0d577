# SPDX-License-Identifier: Apache-2.0
"""What belongs to the whole process: the signal that ends it, and its environment. The one edge module for both."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping, MutableMapping
from types import FrameType


class Termination:
    """Makes SIGTERM what Ctrl-C is, so that dbt cancels its queries and ends in an orderly way.

    Without it dbt dies at once and the query runs on in the server. Only the main thread may set a handler, and only
    the default is replaced: a host that handles SIGTERM itself keeps its handler.
    """

    def __init__(self) -> None:
        self._installed = False
        self._ignored = False

    def install(self) -> None:
        """Take SIGTERM over where nobody else handles it."""
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._interrupt)
            self._installed = True

    def ignore(self) -> None:
        """Pass over further SIGTERMs: the run is ending and the bundle is being sealed."""
        self._ignored = True

    def restore(self) -> None:
        """Give SIGTERM back if it is still ours."""
        if self._installed and signal.getsignal(signal.SIGTERM) == self._interrupt:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._installed = False

    def _interrupt(self, _signum: int, _frame: FrameType | None) -> None:
        if not self._ignored:
            raise KeyboardInterrupt("SIGTERM")


class EnvironmentChange:
    """Variables that are set for a while.

    Args:
        environ: The environment that is changed, ``os.environ`` outside of tests.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._environ = environ
        self._before: dict[str, str | None] = {}
        self._ours: dict[str, str] = {}

    def set(self, values: Mapping[str, str]) -> None:
        """Set ``values``; what was there is remembered."""
        for name, value in values.items():
            self._before.setdefault(name, self._environ.get(name))
            self._environ[name] = self._ours[name] = value

    def restore(self) -> None:
        """Put back what was there, except where somebody else has changed it since."""
        for name, before in self._before.items():
            if self._environ.get(name) != self._ours[name]:
                continue
            if before is None:
                del self._environ[name]
            else:
                self._environ[name] = before
        self._before.clear()
