# SPDX-License-Identifier: Apache-2.0
"""The second half of ``clyra quickstart``: a change of production is refused, approved by a second key, let through.

Three people, three folders of keys: a developer, whose changes these are; a colleague, who approves; the runner, which
mints. Nobody can approve what is their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from clyra.cli._quickstart_shell import Shell
from clyra.cli.output import bad, good
from clyra.spec import UnavailableError


class Approval:
    """An approval, step by step.

    Args:
        shell: Where commands run.
        environ: Of the developer and of the runner.
        target: The dbt target that stands for production.
    """

    def __init__(self, shell: Shell, environ: Mapping[str, str], target: str) -> None:
        self._shell = shell
        self._target = target
        self._environ = {**environ, "DBT_TARGET": target}
        self._colleague = {**environ, "CLYRA_CONFIG_DIR": str(shell.folder / "colleague")}
        self._change = ["build", "--full-refresh", "--target", target]

    def show_all(self) -> Path:
        """Carry out every step; gives the bundle of the run that was approved."""
        shell = self._shell
        shell.title("A policy: some changes of production need a second person")
        self._prepare()
        shell.title("Such a change, which nobody approved")
        request = self._refused()
        shell.title("A colleague reads what would change, and approves")
        self._approve(request)
        shell.title("Let through, once")
        return self._let_through(request)

    def _prepare(self) -> None:
        shell = self._shell
        if (shell.project / "clyra.policy.yaml").exists():
            shell.say("clyra.policy.yaml is there already")
            return
        approver = self._enrol("approver", self._colleague)
        self._enrol("issuer", self._environ)
        wizard = ["policy", "wizard", "--yes", "--production", self._target, "--mode", "enforce"]
        shell.clyra(self._environ, [*wizard, "--approver", f"key:{approver}"])
        shell.git(self._environ, "add", "-A")
        shell.git(self._environ, "commit", "-qm", "A policy, and who may approve")
        shell.say("clyra.policy.yaml enforces in production; two more public keys are in the trust file")

    def _enrol(self, role: str, environ: Mapping[str, str]) -> str:
        shell = self._shell
        made = json.loads(shell.clyra(environ, ["keys", "init", "--role", role, "--json"], show=False))
        key = shell.folder / f"{role}.key.json"
        key.write_text(shell.clyra(environ, ["keys", "export", "--role", role], show=False), encoding="utf-8")
        shell.clyra(self._environ, ["keys", "trust", str(key), "--role", role])
        return str(made["keys"][0]["keyid"])

    def _refused(self) -> str:
        shell = self._shell
        before = shell.bundles()
        out = shell.dbt(self._environ, self._change, expect=(2,))
        self._quote(out)
        bundle = shell.newest_of(before)
        code, status = self._held(bundle)
        if (code, status) != ("require_approval", "refused"):
            raise UnavailableError(f"the run was {status}, its gate decided {code}", code="internal_error")
        requests = json.loads(shell.clyra(self._environ, ["approve", "--list", "--json"], show=False))["requests"]
        shell.result["refused"] = str(bundle)
        shell.say(bad("REFUSED") + "  no statement reached the database; the refusal has a bundle of its own")
        return str(requests[0]["request_sha256"])

    def _approve(self, request: str) -> None:
        words = ["approve", request[:12], "--yes"]
        for line in self._shell.clyra(self._colleague, words).splitlines():
            self._shell.say(line)

    def _let_through(self, request: str) -> Path:
        shell = self._shell
        token = shell.folder / "token"
        token.unlink(missing_ok=True)
        mint = ["approval", "mint", "--target", self._target, "--request", request[:12], "--out", str(token), "--json"]
        minted = json.loads(shell.clyra(self._environ, mint))
        allowed = {**self._environ, "CLYRA_APPROVAL_TOKEN_FILE": str(token), "CLYRA_RUN_ID": str(minted["run_id"])}
        before = shell.bundles()
        shell.dbt(allowed, self._change)
        bundle = shell.newest_of(before)
        verdict = shell.verdict(self._environ, bundle)
        shell.result.update(approved=verdict["verdict"], approvals=verdict["approvals"])
        if verdict["verdict"] != "valid" or not verdict["approvals"]:
            raise UnavailableError(f"the approval is not proved: {verdict['code'] or verdict['verdict']}")
        shell.say(good("VALID") + "  the approval is proved by the colleague's signature, from the bundle alone")
        again = {**self._environ, "CLYRA_APPROVAL_TOKEN_FILE": str(token), "CLYRA_RUN_ID": "another-run"}
        out = shell.dbt(again, self._change, expect=(2,))
        self._quote(out)
        shell.say(bad("REFUSED") + "  the same token in another run")
        return bundle

    def _held(self, bundle: Path) -> tuple[str, str]:
        from clyra.evidence import open_bundle

        manifest = open_bundle(bundle).manifest
        decided = [effect for effect in ("block", "require_approval") if manifest["decisions"][effect]]
        return (decided or ["allow"])[0], str(manifest["run"]["status"])

    def _quote(self, out: str) -> None:
        """What dbt printed of the refusal."""
        lines = [line.split("  ", 1)[-1] for line in out.splitlines()]
        start = next((number for number, line in enumerate(lines) if "Clyra" in line), 0)
        for line in lines[start : start + 12]:
            self._shell.say(line)
