# SPDX-License-Identifier: Apache-2.0
"""The result of a verification (``common/schemas/verification.schema.json``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from clyra.verify._refusal import Refusal, error_for
from clyra.verify.approval import Approval
from clyra.verify.files import Supplied
from clyra.verify.log_proof import LogEntry
from clyra.verify.signers import SignatureTime, Signed
from clyra.verify.trust import Source, Trust

Verdict = Literal["valid", "warning", "invalid"]
EXIT_CODES: Mapping[Verdict, int] = {"valid": 0, "invalid": 1, "warning": 2}

BUNDLE_STAGES = (
    "input", "container", "envelope", "signature", "statement", "manifest", "time", "trust", "files", "journal", "log",
    "semantics",
)  # fmt: skip

# The text of spec/verification.md, "Result".
NON_CLAIMS = (
    "A signature shows which key signed, not who used it, and not that the recorder was honest.",
    "Edits are detectable after sealing, not before; a bundle says what its recorder saw.",
    "That no run is missing is shown only by the log, to someone who kept a checkpoint, and by comparing with the"
    " warehouse's own history.",
    "`closed_at` and the times in the journal are the writer's clock, unless a timestamp is present.",
    "The git commit, the actor and the run id are claims of the machine that ran.",
)


_NOTHING = Supplied(0, 0)


class Warn(NamedTuple):
    """Something that a valid bundle leaves open."""

    code: str
    stage: str
    message: str


@dataclass(slots=True)
class Verification:
    """What was found; complete when a function of this package returns it.

    ``manifest`` is the manifest of a bundle, set only once it is known to be the signed one.
    """

    stages: Sequence[str] = BUNDLE_STAGES
    code: str | None = None
    stage: str | None = None
    pointer: str | None = None
    message: str | None = None
    warnings: list[Warn] = field(default_factory=list)
    checks: dict[str, str] = field(default_factory=dict)
    trust: Trust | None = None
    trust_source: Source = "none"
    trust_path: str | None = None
    manifest: Mapping[str, Any] | None = None
    manifest_sha256: str | None = None
    claimed_keyids: tuple[str, ...] = ()
    signers: list[tuple[Signed, SignatureTime]] = field(default_factory=list)
    externals: Supplied = _NOTHING
    references: Supplied = _NOTHING
    log: LogEntry | None = None
    approvals: list[Approval] = field(default_factory=list)
    """What certificates prove; empty without a trust file. Of an invalid bundle nothing is told."""

    @property
    def verdict(self) -> Verdict:
        """``invalid``, ``warning`` (nothing is wrong, something is open) or ``valid``."""
        if self.code is not None:
            return "invalid"
        return "warning" if self.warnings else "valid"

    @property
    def exit_code(self) -> int:
        """0 valid, 1 invalid, 2 valid with warnings."""
        return EXIT_CODES[self.verdict]

    def warn(self, code: str, stage: str, message: str) -> None:
        """Add a warning."""
        self.warnings.append(Warn(code, stage, message))

    @contextmanager
    def checking(self, stage: str) -> Iterator[None]:
        """Run the checks of a stage: note that it passed, or what failed; the refusal goes on upward."""
        try:
            yield
        except Refusal as exc:
            self.code, self.message, self.pointer = exc.code, exc.message, exc.pointer
            self.stage = exc.stage or stage
            self.checks[self.stage] = "fail"
            raise
        self.checks.setdefault(stage, "pass")

    def raise_for_verdict(self) -> None:
        """Return quietly unless the verdict is ``invalid``.

        Raises:
            FormatError: or another class of ``clyra.spec.errors``, the one that ``spec/errors.md`` names for the code.
        """
        if self.code is not None:
            raise error_for(self.code, self.message or self.code, self.pointer)

    def as_dict(self) -> dict[str, Any]:
        """The result as the schema ``verification`` has it, made of plain JSON types."""
        return {
            "verdict": self.verdict,
            "code": self.code,
            "stage": self.stage,
            "pointer": self.pointer,
            "message": self.message,
            "warnings": [warning._asdict() for warning in self.warnings],
            "checks": [{"stage": stage, "status": self.checks.get(stage, "skipped")} for stage in self.stages],
            "trust": {
                "source": self.trust_source,
                "version": self.trust.version if self.trust else None,
                "sha256": self.trust.sha256 if self.trust else None,
            },
            "bundle": self._bundle(),
            "signers": [
                {"keyid": signed.key.keyid, "alg": signed.key.alg, "role": signed.key.role, "time": time._asdict()}
                for signed, time in self.signers
            ],
            "capture": self.manifest["run"]["capture"] if self.manifest else None,
            "approvals": [approval.as_dict() for approval in self.approvals if self.code is None],
            "externals": self.externals._asdict(),
            "references": self.references._asdict(),
            "log": self._log(),
            "risk": self._risk(),
            "non_claims": list(NON_CLAIMS),
        }

    def _bundle(self) -> dict[str, Any] | None:
        if self.manifest is None:
            return None
        run = self.manifest["run"]
        own = {name: self.manifest[name] for name in ("bundle_id", "spec", "tenant", "created_at", "closed_at")}
        return own | {"run_id": run["run_id"], "part": run["part"], "manifest_sha256": self.manifest_sha256}

    def _log(self) -> dict[str, Any] | None:
        if self.log is None:
            return None
        return {"origin": self.log.origin, "index": self.log.position, "size": self.log.size}

    def _risk(self) -> dict[str, Any] | None:
        risk = self.manifest["risk"] if self.manifest else None
        if risk is None:
            return None
        marked = {
            mark: [factor["factor"] for factor in risk["factors"] if factor.get(mark)]
            for mark in ("asserted", "unknown")
        }
        return {"score": risk["score"], "band": risk["band"], **marked}

    def _repr_html_(self) -> str:
        from clyra.verify._html import to_html

        return to_html(self)
