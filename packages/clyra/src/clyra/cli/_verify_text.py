# SPDX-License-Identifier: Apache-2.0
"""The result of ``clyra verify`` as text for people: the verdict first, then why, and what to do next.

Texts of a bundle are shown only after the manifest has been checked, and never raw: a terminal obeys control
characters, and right-to-left marks reorder a line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clyra.cli.output import bad, doubtful, faint, good

if TYPE_CHECKING:
    from clyra.spec import ClyraError
    from clyra.verify import Verification

_VERDICTS = {"valid": good("VALID"), "warning": doubtful("VALID WITH WARNINGS"), "invalid": bad("INVALID")}
_TESTS = ("passed", "failed", "warned", "not_run")
_ALTERED = "the file is not the one that was sealed: ask its sender for it again, and treat this copy as evidence"
_ENROL = "ask the signer for their public key over another channel, then: clyra keys trust FILE --role bundle"

_NEXT = {
    "trust_not_evaluated": "name a trust file with --trust; to make one: clyra keys trust FILE --role bundle",
    "key_unknown": f"{_ENROL}; a machine that signs with a key in memory needs CLYRA_SIGNING_KEY first",
    "key_role": "sign bundles with a key of the role bundle, or enrol this one for it",
    "key_scope": "the trust file limits this key to other tenants or formats: sign with the right key, or widen it",
    "key_expired": "renew the key: enrol the new one with its own valid_from; old bundles stay under the old one",
    "key_revoked": "nothing that this key signed can be trusted without a timestamp from before its revocation",
    "threshold_not_met": "have the missing signers sign, or lower the threshold in the trust file on purpose",
    "trust_invalid": "mend the trust file, or take it again from where your team keeps it",
    "trust_pin": "take the trust file that the digest was made for, or update the digest after a review",
    "policy_not_pinned": "run again with a policy that is pinned for this environment, or pin this one after a review",
    "spec_unsupported": "install a newer clyra-verify",
    "limit_exceeded": "no bundle of ours is that large: find out who made this one",
    "time_claimed": "a timestamp made before the key expired would settle it",
    "capture_not_observed": "such bundles rest on another kind of knowledge: accept it in the key's captures, or not",
    "external_missing": "give the folder that has them: --artifacts FOLDER",
    "log_pending": "the proof comes with the next run of the log; verify again then, or pass --proof FILE",
    "policy_digest": "the policy in this bundle is not the one that it ran under: ask its sender, and keep this copy",
    "risk_mismatch": "the score was not computed from this run: judge by the journal, and ask its sender",
    "approval_unproven": "take the change for one that nobody approved, until its sender shows what is missing",
    "approval_unchecked": "ask the identity provider who approved, or have approvers sign with keys of their own",
    "break_glass_unreviewed": "have another person review it: clyra approval review FILE; then verify again",
    "anchor_unavailable": "compare with the warehouse's own history by the run id",
    "attestation_missing": "the trust file requires it: ask the sender for the missing part",
    "log_fork": "two histories exist: keep both files and find out which machine wrote them",
}


def full_text(path: str, result: Verification) -> str:
    """Everything about one bundle."""
    lines = [f"{_VERDICTS[result.verdict]}  {plain(path)}", ""]
    if result.code is not None:
        lines += [f"  {bad(result.code)} at stage {result.stage}: {plain(result.message or '')}"]
        lines += [f"  {_arrow(_next_step(result.code))}", ""]
    if result.manifest is not None:
        lines += [f"  {name:<10} {text}" for name, text in _facts(result, result.manifest)]
    elif result.claimed_keyids:
        lines += [f"  {'key ids':<10} {', '.join(map(plain, result.claimed_keyids))}, named by the bundle itself"]
    lines += [f"  {'checked':<10} {_checked(result)}"]
    if result.warnings:
        lines += ["", "  Warnings"]
        for warning in result.warnings:
            lines += [
                f"    {doubtful(warning.code)}: {plain(warning.message)}",
                f"      {_arrow(_next_step(warning.code))}",
            ]
    if result.code is None:
        from clyra.verify.result import NON_CLAIMS

        lines += ["", "  " + faint("Not proved by a valid bundle")]
        lines += [f"    {faint('- ' + text)}" for text in NON_CLAIMS]
    return "\n".join(lines)


def one_line(path: str, result: Verification) -> str:
    """The verdict on one of many bundles."""
    if result.code is not None:
        return f"{bad('INVALID')}  {plain(path)}  {result.code} at {result.stage}: {plain(result.message or '')}"
    if result.warnings:
        codes = sorted({warning.code for warning in result.warnings})
        return f"{doubtful('WARNING')}  {plain(path)}  {', '.join(codes)}"
    keys = ", ".join(signed.key.keyid[:16] for signed, _ in result.signers)
    return f"{good('VALID')}    {plain(path)}  signed by {keys}"


def unreadable_line(path: str, error: ClyraError) -> str:
    """What is said of a file that cannot be read."""
    return f"{bad('NO FILE')}  {plain(path)}  {plain(error.message)} [{error.code}]"


def summary(codes: Sequence[int]) -> str:
    """How many bundles got which verdict, by exit codes."""
    words = {0: "valid", 2: "valid with warnings", 1: "invalid", 69: "not readable"}
    counted = [f"{codes.count(code)} {word}" for code, word in words.items() if code in codes]
    return f"\n{len(codes)} bundles: {', '.join(counted)}" + faint("; one alone shows its details: clyra verify FILE")


def plain(text: str) -> str:
    """The text with everything that a terminal would obey instead of show made visible."""
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)


def _facts(result: Verification, manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    run = manifest["run"]
    where = f"{run['adapter']}, target {run['target']}" if run["adapter"] else "no warehouse"
    yield "run", plain(f"{run['run_id']} part {run['part']}: dbt {run['command']} of {run['project']} on {where}")
    yield "outcome", f"{run['status']}, {run['capture']}"
    yield "closed at", f"{manifest['closed_at']}, by the writer's clock"
    yield from _signatures(result, manifest)
    counts = run["counts"]
    tests = ", ".join(f"{counts[f'tests_{how}']} {how.replace('_', ' ')}" for how in _TESTS)
    statements = f"{counts['statements']} statements ({counts['writes']} write)"
    yield "ran", f"{statements}, {counts['nodes']} nodes ({counts['failed_nodes']} failed); tests: {tests}"
    external = f"external: {result.externals.checked} of {result.externals.listed} checked"
    references = f"references: {result.references.checked} of {result.references.listed} checked"
    yield "files", f"{len(manifest['files'])} listed; {external}; {references}"
    if result.log is not None:
        yield "log", plain(f"entry {result.log.position} of {result.log.size} in {result.log.origin}")
    yield from _proved(result)


def _proved(result: Verification) -> Iterator[tuple[str, str]]:
    """What verified certificates and the recounted score say; nothing of a bundle that is not sound."""
    document = result.as_dict()
    for approval in document["approvals"]:
        yield from (("approved", plain(text)) for text in _approved(approval))
    risk = document["risk"]
    if risk is not None and result.code is None:
        marks = [f"{mark}: {', '.join(risk[mark])}" for mark in ("asserted", "unknown") if risk[mark]]
        yield "risk", "; ".join([f"{risk['score']} of 100, {risk['band']}", *marks])


def _approved(approval: Mapping[str, Any]) -> Iterator[str]:
    """One line for each person."""
    rules = ", ".join(approval["rules"])
    scope = f"standing to {approval['standing']['valid_until']}" if "standing" in approval else "for this run"
    how = "by emergency (break-glass) of" if approval["break_glass"] else "by"
    for person in approval["approvals"]:
        role = f"{person['role']}, the identity provider's word" if person["method"] == "oidc" else person["role"]
        yield f"{how} {person['principal']} ({role}) on {person['approved_at']} for rules {rules}, {scope}"


def _signatures(result: Verification, manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for signed, time in result.signers:
        since = "claimed" if time.source == "claimed" else "timestamped"
        yield "signed by", f"{signed.key.keyid} ({signed.key.alg}), {since} {time.value}"
    if not result.signers:
        origin = {"ephemeral": "a key that lived in memory", "user": "a user's key", "configured": "a configured key"}
        keys = ", ".join(map(plain, result.claimed_keyids))
        yield "signed by", f"not known; the bundle names {keys}, {origin[manifest['producer']['signer']]}"
    if result.trust is not None:
        path = "given as bytes" if result.trust_path is None else plain(result.trust_path)
        places = {"argument": "--trust", "environment": "CLYRA_TRUST", "project": "your project", "none": ""}
        yield "trust", f"{path} version {result.trust.version}, from {places[result.trust_source]}"
        yield "", faint(f"sha256 {result.trust.sha256}")


def _checked(result: Verification) -> str:
    words = []
    for stage in result.stages:
        status = result.checks.get(stage, "skipped")
        if status == "pass":
            words.append(stage)
        elif status == "fail":
            words.append(bad(f"{stage} failed"))
        elif status == "not_evaluated":
            words.append(doubtful(f"{stage} not evaluated"))
    return ", ".join(words)


def _next_step(code: str) -> str:
    return _NEXT.get(code, _ALTERED)


def _arrow(text: str) -> str:
    return faint("->") + f" {text}"
