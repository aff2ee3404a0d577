# SPDX-License-Identifier: Apache-2.0
"""SIGTERM and environment variables are taken for the time of a run and given back."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from clyra.dbt._process import EnvironmentChange, Termination


@pytest.fixture(autouse=True)
def default_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_sigterm_becomes_keyboard_interrupt_until_restored() -> None:
    termination = Termination()
    termination.install()
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"):
        os.kill(os.getpid(), signal.SIGTERM)
    termination.restore()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_further_sigterm_is_passed_over_while_sealing() -> None:
    termination = Termination()
    termination.install()
    termination.ignore()
    os.kill(os.getpid(), signal.SIGTERM)
    termination.restore()


def test_handler_of_the_host_stays() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    termination = Termination()
    termination.install()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    termination.restore()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_handler_that_the_host_set_meanwhile_stays() -> None:
    termination = Termination()
    termination.install()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    termination.restore()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_other_threads_take_nothing_over() -> None:
    termination = Termination()
    thread = threading.Thread(target=termination.install)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_environment_is_put_back() -> None:
    environ = {"PGOPTIONS": "-c a=1"}
    change = EnvironmentChange(environ)
    change.set({"PGOPTIONS": "-c a=1 -c b=2", "NEW": "x"})
    change.set({"NEW": "y"})
    assert environ == {"PGOPTIONS": "-c a=1 -c b=2", "NEW": "y"}
    change.restore()
    assert environ == {"PGOPTIONS": "-c a=1"}


def test_variable_that_somebody_else_changed_since_is_theirs() -> None:
    environ: dict[str, str] = {}
    change = EnvironmentChange(environ)
    change.set({"PGOPTIONS": "ours"})
    environ["PGOPTIONS"] = "theirs"
    change.restore()
    assert environ == {"PGOPTIONS": "theirs"}
