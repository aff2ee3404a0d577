# SPDX-License-Identifier: Apache-2.0
"""Parts of a run are numbered from 1, each once, by however many invocations share it."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from clyra.dbt._identity import claim_part


def test_parts_count_up_per_run(tmp_path: Path) -> None:
    assert [claim_part(tmp_path, "nightly") for _ in range(3)] == [1, 2, 3]
    assert claim_part(tmp_path, "other/../run:é") == 1


def test_parallel_processes_get_a_part_each(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(partial(claim_part, tmp_path), ["nightly"] * 400, chunksize=10))
    assert sorted(parts) == list(range(1, 401))
