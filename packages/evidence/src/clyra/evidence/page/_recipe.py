# SPDX-License-Identifier: Apache-2.0
"""How to check a bundle without this software: shell commands with the digests of this very bundle."""

from __future__ import annotations

import re
import shlex

from clyra.evidence.summary import Listed, Summary

_MOST_FILES = 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Names that a bundle's entries may have: nothing for a shell, or for unzip, to expand.
_PLAIN = re.compile(r"[A-Za-z0-9_./=-]+")
_FIRST_SIGNATURE = r's/.*"signatures":\[{"keyid":"[^"]*","sig":"\([^"]*\)".*/\1/'
_VERIFY = {
    "ed25519": "openssl pkeyutl -verify -pubin -inkey signer.pem -rawin -in signed.bin -sigfile signature.bin",
    "ecdsa-p256-sha256": "openssl dgst -sha256 -verify signer.pem -signature signature.bin signed.bin",
    "rsa-pss-sha256": (
        "openssl dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 "
        "-verify signer.pem -signature signature.bin signed.bin"
    ),
}


def verify_command(file_name: str) -> str:
    """The command that verifies the bundle in ``file_name``."""
    return f"clyra verify {_quoted(file_name)} --trust clyra.trust.json"


def recipe(summary: Summary, file_name: str, alg: str = "ed25519") -> str:
    """Commands for a POSIX shell with unzip, openssl, base64 and sha256sum, up to the signature and every file.

    Args:
        summary: Of the bundle.
        file_name: Name of the bundle's file.
        alg: Algorithm of the first signature.
    """
    lines = [
        f"bundle={_quoted(file_name)}",
        "",
        "# 1. The manifest has this digest, and the signed statement names it.",
        'unzip -p "$bundle" manifest.json | sha256sum',
        f"#    {summary.manifest_sha256}",
        'unzip -p "$bundle" attestations/manifest.dsse.json > envelope.json',
        """sed 's/.*"payload":"\\([^"]*\\)".*/\\1/' envelope.json | base64 -d > statement.json""",
        f"grep -c {summary.manifest_sha256} statement.json   # 1",
        "",
        "# 2. The key signed that statement. signer.pem comes from whom you trust, never from the bundle.",
        f"sed '{_FIRST_SIGNATURE}' envelope.json | base64 -d > signature.bin",
        "printf 'DSSEv1 28 application/vnd.in-toto+json %d ' $(wc -c < statement.json) > signed.bin",
        "cat statement.json >> signed.bin",
        _VERIFY.get(alg, _VERIFY["ed25519"]),
        "",
        "# 3. Every file has the digest that the manifest lists.",
    ]
    held = [file for file in summary.files if file.place == "bundle" and _is_plain(file)]
    for file in held[:_MOST_FILES]:
        lines += [f'unzip -p "$bundle" {file.path} | sha256sum', f"#    {file.sha256}"]
    if len(held) > _MOST_FILES:
        lines.append(f"# ... and so on for {len(held) - _MOST_FILES:,} more")
    return "\n".join(lines)


def _is_plain(file: Listed) -> bool:
    return bool(_PLAIN.fullmatch(file.path) and _SHA256.fullmatch(file.sha256))


def _quoted(file_name: str) -> str:
    return shlex.quote(f"./{file_name}" if file_name.startswith("-") else file_name)
