# SPDX-License-Identifier: Apache-2.0
"""What proves the prefix of a recovered bundle, and who recovered it (``spec/verification.md``)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from clyra.verify._refusal import Refusal
from clyra.verify.container import Container
from clyra.verify.journal import Recount
from clyra.verify.note import MAX_NOTE_BYTES, TreeHead, parse_tree_head, signing_keys
from clyra.verify.trust import Trust


def find_note(manifest: Mapping[str, Any], container: Container) -> TreeHead | Refusal | None:
    """The last signed note that a recovered bundle holds, why it cannot be read, or None where it holds none."""
    paths = [entry["path"] for entry in manifest["files"] if entry["role"] == "journal_note"]
    if not paths:
        return None
    if len(paths) > 1:
        return Refusal("recovery_unproven", f"{len(paths)} files of the role journal_note, at most one is expected")
    entry = container.entries.get(paths[0])
    if entry is None or entry.size > MAX_NOTE_BYTES:
        return Refusal("recovery_unproven", "the note is not in the container, or has more than 64 KiB")
    try:
        return parse_tree_head(container.read(paths[0]))
    except ValueError as exc:
        return Refusal("recovery_unproven", f"the note is malformed: {exc}")


def check_recovery(
    manifest: Mapping[str, Any],
    recount: Recount,
    note: TreeHead | Refusal | None,
    signer_keyids: Collection[str],
    trust: Trust | None,
) -> None:
    """Check that a recovered bundle names its signer and that the note proves a prefix of the journal.

    Args:
        manifest: The checked manifest of a bundle with capture ``recovered``.
        recount: Of its journal, with the root of as many lines as the note says.
        note: What :func:`find_note` gave.
        signer_keyids: Key ids of the envelope's signatures.
        trust: Without it the note's signature is not evaluated.

    Raises:
        Refusal: ``recovery_unproven``.
    """
    if manifest["run"]["recovered_by"] not in signer_keyids:
        raise Refusal("recovery_unproven", "recovered_by is not the key id of a signature of the bundle")
    if len(recount.recoveries) != 1:
        raise Refusal("recovery_unproven", "a recovered journal has exactly one event run.recovered")
    recovery = recount.recoveries[0]
    if isinstance(note, Refusal):
        raise note
    if note is None or recovery.note_size is None:
        if note is not None or recovery.note_size is not None:
            raise Refusal("recovery_unproven", "only one of note_size and the note is there")
        return
    if note.origin != f"clyra-journal/{manifest['bundle_id']}":
        raise Refusal("recovery_unproven", "the note is about another journal")
    if note.size != recovery.note_size or note.size > recovery.line or note.root != recount.prefix_root:
        raise Refusal("recovery_unproven", "the note does not prove a prefix of this journal")
    if trust is not None:
        _check_signature(note, trust)


def _check_signature(note: TreeHead, trust: Trust) -> None:
    try:
        signed = signing_keys(note, (key for key in trust.keys.values() if key.role == "bundle"))
    except Refusal as exc:
        raise Refusal("recovery_unproven", "the signature of the note does not verify") from exc
    if not signed:
        raise Refusal("recovery_unproven", "no bundle key of the trust file signed the note")
