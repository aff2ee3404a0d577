# SPDX-License-Identifier: Apache-2.0
"""What recording costs: CPU time of whole dbt processes with the plugin on and off, one after the other.

    python packages/dbt/benchmarks/bench_overhead.py --models 1 --models 100 [--target pg] [--rounds 7] [--dbt-ol]
        [--gated]

Off is ``CLYRA_DISABLED=1``: dbt with the plugin installed and switched off. CPU is user plus system time of the dbt
process and of the processes it waited for (git). On and off alternate, so a machine that slows down slows both. The
projects come from integration_tests/generate_project.py; target ``pg`` starts an embedded Postgres. Prints one JSON
object per size: per variant the median of all values in seconds, the ratio of the medians and of the minima, median
and spread of the ratios of neighbours, and the plugin's own account (``metrics.recorder_us``) of its runs.

``--gated`` adds a variant under an enforcing policy of 40 rules, half of them on nodes, none of which holds anything.

Budget: one model at most 1.03 times plain dbt recording and 1.05 gated, 100 models and more at most 1.02.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from clyra.postgres import EmbeddedPostgres

DBT = Path(sys.executable).with_name("dbt")
GENERATOR = Path(__file__).parents[3] / "integration_tests" / "generate_project.py"


def gating_policy(target: str) -> str:
    """A policy that enforces 40 rules on the target and holds nothing; no condition is false before the last one."""
    run = ("{field: env.name, op: eq, value: live}", "{field: change.models, op: ge, value: 1}")
    node = ("{field: dbt.resource_type, op: eq, value: model}", "{field: dbt.tags, op: lacks, value: pii}")
    rules = []
    for number in range(40):
        first, second = node if number % 2 else run
        last = (
            f"{{field: dbt.package, op: eq, value: p{number}}}"
            if number % 2
            else "{field: dbt.defer, op: eq, value: true}"
        )
        rules.append(f"    - {{id: x_rule_{number}, effect: block, mode: enforce, when: [{first}, {second}, {last}]}}")
    environment = f"{{live: {{targets: [{target}], mode: enforce, production: true}}}}"
    head = f"version: 1\nname: bench\nenvironments: {environment}\ndata_platform:\n  rules:\n"
    return head + "\n".join(rules) + "\n"


def cpu_seconds(command: list[str], folder: Path, environment: Mapping[str, str]) -> float:
    """User plus system time of one process and its children; it must succeed."""
    log_path = folder.parent / "bench.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{log_path.read_text()[-2000:]}")
    return usage.ru_utime + usage.ru_stime


def recorder_seconds(evidence: Path) -> list[float]:
    """What the plugin says it took, per bundle, oldest first."""
    found = []
    for path in sorted(evidence.glob("evidence/*/*/*.def.zip")):
        with zipfile.ZipFile(path) as container:
            found.append(json.loads(container.read("manifest.json"))["metrics"]["recorder_us"] / 1e6)
    return found


def generated(models: int, scratch: Path) -> Path:
    """A project of that many models, seeded and parsed by the first run that warms up."""
    folder = scratch / f"models_{models}"
    subprocess.run([sys.executable, GENERATOR, "--models", str(models), "--out", folder], check=True)
    return folder


def measure(
    project: Path, target: str, rounds: int, environment: Mapping[str, str], *, dbt_ol: bool, gated: bool
) -> dict[str, object]:
    """Alternate the variants for the given number of rounds, after one that warms up and does not count."""
    evidence = project.parent / f"{project.name}_evidence"
    tail = ["run", "--target", target]
    off = {**environment, "CLYRA_DISABLED": "1"}
    variants = {
        "off": ([str(DBT), *tail], off),
        "on": ([str(DBT), *tail], {**environment, "CLYRA_EVIDENCE_DIR": str(evidence)}),
    }
    if gated:
        policy = project.parent / "bench.policy.yaml"
        policy.write_text(gating_policy(target))
        under = {"CLYRA_POLICY": str(policy), "CLYRA_EVIDENCE_DIR": f"{evidence}_gated"}
        variants["gated"] = ([str(DBT), *tail], {**environment, **under})
    if dbt_ol:
        file_transport = {"TYPE": "file", "LOG_FILE_PATH": str(project.parent / "openlineage.json")}
        path = {"PATH": f"{DBT.parent}{os.pathsep}{environment.get('PATH', '')}"}
        transport = {f"OPENLINEAGE__TRANSPORT__{name}": value for name, value in file_transport.items()}
        variants["dbt_ol"] = ([str(DBT.with_name("dbt-ol")), *tail], {**off, **path, **transport})
    cpu_seconds([str(DBT), "seed", "--target", target], project, off)
    values: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds + 1):
        for name, (command, variables) in variants.items():
            values[name].append(cpu_seconds(command, project, variables))
    accounts = {"own_account": recorder_seconds(evidence)[1:]}
    if gated:
        accounts["gated_account"] = recorder_seconds(Path(f"{evidence}_gated"))[1:]
    return report({name: found[1:] for name, found in values.items()}, accounts)


def report(counted: Mapping[str, list[float]], accounts: Mapping[str, list[float]]) -> dict[str, object]:
    """The figures of all variants against ``off``."""
    off = counted["off"]
    plain = statistics.median(off)
    result: dict[str, object] = {"off": {"median_s": round(plain, 3), "min_s": round(min(off), 3)}}
    for name in [name for name in counted if name != "off"]:
        pairs = sorted(one / other for one, other in zip(counted[name], off, strict=True))
        result[name] = {
            "median_s": round(statistics.median(counted[name]), 3),
            "ratio_of_medians": round(statistics.median(counted[name]) / plain, 4),
            "ratio_of_minima": round(min(counted[name]) / min(off), 4),
            "median_of_ratios": round(statistics.median(pairs), 4),
            "ratios_from_to": [round(pairs[0], 4), round(pairs[-1], 4)],
        }
    for name, accounted in accounts.items():
        own = statistics.median(accounted)
        result[name] = {"median_s": round(own, 4), "share_of_off": round(own / plain, 4)}
    return result


def main() -> None:
    """Parse arguments, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", type=int, action="append", help="size of a project; may be repeated [1, 100]")
    parser.add_argument("--target", choices=["dev", "pg"], default="dev", help="dev is DuckDB, pg is Postgres")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dbt-ol", action="store_true", help="openlineage-dbt's dbt-ol as a third variant")
    parser.add_argument("--gated", action="store_true", help="an enforcing policy of 40 rules as another variant")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="clyra-bench-")))
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("CLYRA_", "PG"))}
        environment |= {"HOME": str(scratch), "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
        if arguments.target == "pg":
            server = stack.enter_context(EmbeddedPostgres(None, fast=True))
            environment |= {"PGHOST": server.host, "PGPORT": str(server.port), "PGUSER": server.user}
            environment |= {"PGPASSWORD": server.password, "PGDATABASE": server.dbname}
        for models in arguments.models or [1, 100]:
            project = generated(models, scratch)
            found = measure(
                project,
                arguments.target,
                arguments.rounds,
                environment,
                dbt_ol=arguments.dbt_ol,
                gated=arguments.gated,
            )
            print(json.dumps({"models": models, "target": arguments.target, **found}), flush=True)


if __name__ == "__main__":
    main()
