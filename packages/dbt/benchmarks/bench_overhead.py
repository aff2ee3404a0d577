# SPDX-License-Identifier: Apache-2.0
"""What recording costs: CPU time of whole dbt processes with the plugin on and off, one after the other.

    python packages/dbt/benchmarks/bench_overhead.py PROJECT --profiles-dir DIR [--target NAME] [--rounds 7] [--dbt-ol]

Off is ``CLYRA_DISABLED=1``: dbt with the plugin installed and switched off. CPU is user plus system time of the dbt
process and of the processes it waited for (git). On and off alternate, so a machine that slows down slows both. Prints
one JSON object: per variant the median and all values in seconds, the ratio of the medians, the median and spread of
the ratios of neighbours, and the plugin's own account (``metrics.recorder_us``) of its runs.

Budget: one model at most 1.03 times plain dbt, 100 models and more at most 1.02.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import zipfile
from pathlib import Path

BUDGET_ONE_MODEL = 1.03
BUDGET_MANY_MODELS = 1.02


def cpu_seconds(command: list[str], folder: Path, environment: dict[str, str]) -> float:
    """User plus system time of one process and its children; it must succeed."""
    with (folder / "bench.log").open("wb") as log:
        pid = os.posix_spawn(
            command[0],
            command,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
            ],
        )
        _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"{' '.join(command)} failed:\n{(folder / 'bench.log').read_text()[-2000:]}")
    return usage.ru_utime + usage.ru_stime


def recorder_seconds(evidence: Path) -> list[float]:
    """What the plugin says it took, per bundle."""
    found = []
    for path in sorted(evidence.glob("evidence/*/*/*.def.zip")):
        with zipfile.ZipFile(path) as container:
            found.append(json.loads(container.read("manifest.json"))["metrics"]["recorder_us"] / 1e6)
    return found


def measure(arguments: argparse.Namespace, scratch: Path) -> dict[str, object]:
    """Alternate the variants for the given number of rounds; the first round warms up and does not count."""
    dbt = str(Path(sys.executable).with_name("dbt"))
    base = {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "false", "DBT_PROFILES_DIR": str(arguments.profiles_dir)}
    target = ["--target", arguments.target] if arguments.target else []
    tail = [arguments.command, "--quiet", "--project-dir", str(arguments.project), *target]
    variants = {
        "off": ([dbt, *tail], {**base, "CLYRA_DISABLED": "1"}),
        "on": ([dbt, *tail], {**base, "CLYRA_EVIDENCE_DIR": str(scratch / "evidence"), "HOME": str(scratch)}),
    }
    if arguments.dbt_ol:
        openlineage = {"CLYRA_DISABLED": "1", "OPENLINEAGE_DISABLED": "false"}
        transport = {
            "OPENLINEAGE__TRANSPORT__TYPE": "file",
            "OPENLINEAGE__TRANSPORT__LOG_FILE_PATH": str(scratch / "ol"),
        }
        variants["dbt_ol"] = ([str(Path(dbt).with_name("dbt-ol")), *tail], {**base, **openlineage, **transport})
    values: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(arguments.rounds + 1):
        for name, (command, environment) in variants.items():
            values[name].append(cpu_seconds(command, scratch, environment))
    counted = {name: found[1:] for name, found in values.items()}
    return report(counted, recorder_seconds(scratch / "evidence")[1:])


def report(counted: dict[str, list[float]], accounted: list[float]) -> dict[str, object]:
    """The figures of all variants against ``off``."""
    medians = {name: statistics.median(found) for name, found in counted.items()}
    result: dict[str, object] = {"cpu_s": {n: [round(v, 3) for v in f] for n, f in counted.items()}}
    for name in [name for name in counted if name != "off"]:
        pairs = sorted(one / off for one, off in zip(counted[name], counted["off"], strict=True))
        result[name] = {
            "median_s": round(medians[name], 3),
            "ratio_of_medians": round(medians[name] / medians["off"], 4),
            "ratio_of_minima": round(min(counted[name]) / min(counted["off"]), 4),
            "median_of_ratios": round(statistics.median(pairs), 4),
            "ratios_from_to": [round(pairs[0], 4), round(pairs[-1], 4)],
        }
    result["off"] = {"median_s": round(medians["off"], 3)}
    own = statistics.median(accounted)
    result["own_account"] = {"median_s": round(own, 4), "share_of_off": round(own / medians["off"], 4)}
    return result


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("project", type=Path)
    parser.add_argument("--profiles-dir", type=Path, required=True)
    parser.add_argument("--target")
    parser.add_argument("--command", default="run")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dbt-ol", action="store_true", help="openlineage-dbt's dbt-ol as a third variant")
    with tempfile.TemporaryDirectory(prefix="clyra-bench-") as scratch:
        print(json.dumps(measure(parser.parse_args(), Path(scratch)), indent=2))


if __name__ == "__main__":
    main()
