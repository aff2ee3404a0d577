# SPDX-License-Identifier: Apache-2.0
"""J: JSON. Level full: all is sealed again over the bytes at fault.

Each fault of bytes is told three times: J in the manifest, JL in a line of the journal, JS in the Statement.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from forge.bundle import bundle
from forge.canonical import canonical
from forge.case import Case, bundle_case
from forge.edits import BytesEdit, Json, drop, put, rename, swap, wrap
from forge.journal import run_events

NODE_LINE = 2
Seal = Callable[[BytesEdit], bytes]


@dataclass(frozen=True)
class Site:
    """A document that can be at fault, with a member that holds an integer and one that holds a text."""

    prefix: str
    where: str
    stage: str
    integer: bytes
    text: bytes
    seal: Seal
    depth: int
    """A nesting that is far too deep and still inside the limits on size."""

    def with_integer(self, value: bytes) -> BytesEdit:
        """Return an edit that writes another value behind the integer's name."""
        return swap(self.integer, self.integer.partition(b":")[0] + b":" + value)

    def with_text(self, inside: bytes) -> BytesEdit:
        """Return an edit that writes other bytes into the text."""
        return swap(self.text, self.text[:-1] + inside + b'"')


SITES = (
    Site(
        "J", "manifest", "manifest", b'"part":1', b'"note":"plain"', lambda edit: bundle(manifest_bytes=edit), 100_000
    ),
    Site(
        "JL",
        "journal line",
        "journal",
        b'"execution_us":1',
        b'"unique_id":"model.jaffle_shop.orders"',
        lambda edit: bundle(edit_line={NODE_LINE: edit}),
        30_000,
    ),
    Site(
        "JS",
        "Statement",
        "statement",
        b'"tree_size":3',
        b'"run_id":"nightly-2026-01-31"',
        lambda edit: bundle(payload=edit),
        1_200,
    ),
)

_NUMBERS = (
    ("12", "minus zero", b"-0"),
    ("13a", "integer with a fraction", b"1.0"),
    ("13b", "fraction", b"1.5"),
    ("14a", "exponent", b"1e2"),
    ("14b", "exponent in upper case", b"1E0"),
    ("15a", "2^53", b"9007199254740992"),
    ("15b", "minus 2^53", b"-9007199254740992"),
    ("15c", "2^53 + 1", b"9007199254740993"),
    ("16", "beyond 64 bits", b"18446744073709551617"),
    ("17", "1e400", b"1e400"),
    ("18a", "NaN", b"NaN"),
    ("18b", "Infinity", b"Infinity"),
    ("18c", "minus Infinity", b"-Infinity"),
    ("19a", "leading zero", b"01"),
    ("19b", "plus sign", b"+1"),
    ("19c", "hexadecimal", b"0x1"),
    ("19d", "digit separator", b"1_0"),
    ("19e", "no digit before the point", b".5"),
)
_TEXTS = (
    ("07", "invalid UTF-8", b"\xff"),
    ("07b", "UTF-8 that is cut off", b"\xe2\x82"),
    ("08a", "overlong UTF-8", b"\xc1\xa1"),
    ("08b", "overlong UTF-8 of NUL", b"\xc0\x80"),
    ("09", "CESU-8 surrogate pair", b"\xed\xa0\xbd\xed\xb8\x80"),
    ("10a", "lone high surrogate escape", b"\\ud800"),
    ("10b", "lone low surrogate escape", b"\\udc00"),
    ("10c", "surrogate escapes in the wrong order", b"\\udc00\\ud83d"),
    ("11a", "escaped slash", b"a\\/b"),
    ("11b", "escaped letter", b"\\u0061"),
    ("11c", "escaped letter outside ASCII", b"\\u00e9"),
    ("11d", "escaped letter in upper-case hex", b"\\u00E9"),
    ("11e", "control character in upper-case hex", b"\\u001F"),
    ("11f", "tab as six characters", b"\\u0009"),
    ("11g", "escaped surrogate pair", b"\\ud83d\\ude00"),
    ("11h", "escaped DEL", b"\\u007f"),
    ("33a", "raw tab", b"a\tb"),
    ("33b", "raw NUL", b"a\x00b"),
    ("33c", "unknown escape", b"\\x41"),
)
_WHOLES: tuple[tuple[str, str, BytesEdit], ...] = (
    ("03", "members not sorted", lambda data: _reversed(data)),
    ("04a", "space before the value", wrap(b" ", b"")),
    ("04d", "space behind a colon", lambda data: data.replace(b":", b": ", 1)),
    ("04c", "CRLF at the end", wrap(b"", b"\r\n")),
    ("04b", "LF at the end", wrap(b"", b"\n")),
    ("05", "byte order mark", wrap(b"\xef\xbb\xbf", b"")),
    ("06a", "UTF-16 with byte order mark", lambda data: b"\xff\xfe" + data.decode().encode("utf-16-le")),
    ("06b", "UTF-16 without byte order mark", lambda data: data.decode().encode("utf-16-be")),
    ("21a", "second document behind the first", lambda data: data + data),
    ("21b", "bracket behind the document", wrap(b"", b"}")),
    ("21c", "NUL behind the document", wrap(b"", b"\x00")),
    ("21d", "cut off", lambda data: data[:-1]),
    ("21e", "empty", lambda data: b""),
    ("22a", "comment", wrap(b"/**/", b"")),
    ("22b", "comment at the end", wrap(b"", b"//")),
    ("22c", "trailing comma", lambda data: data[:-1] + b",}"),
    ("22d", "single quotes", lambda data: data.replace(b'"', b"'")),
)


def cases() -> Iterator[Case]:
    """Yield the suite."""
    for site in SITES:
        for number, description, edit in _faults(site):
            yield bundle_case(
                f"{site.prefix}{number}",
                f"{site.where}: {description}",
                site.seal(edit),
                "json_not_canonical",
                site.stage,
            )
    yield from _schema()
    yield from _texts()
    yield from _canonicalize()


def _faults(site: Site) -> Iterator[tuple[str, str, BytesEdit]]:
    name = site.integer.partition(b":")[0]
    escaped = b'"\\u%04x%s' % (name[1], name[2:])
    yield "01", "duplicate key", swap(site.integer, site.integer + b"," + site.integer)
    yield "02", "duplicate key by an escape", swap(site.integer, escaped + b":1," + site.integer)
    for number, description, value in _NUMBERS:
        yield number, description, site.with_integer(value)
    for number, description, inside in _TEXTS:
        yield number, description, site.with_text(inside)
    for number, description, edit in _WHOLES:
        # A line that holds LF is two lines: faults of the journal, C11 and C12.
        if site.prefix != "JL" or number not in ("04b", "04c", "21e"):
            yield number, description, edit
    yield "20a", "65 levels", lambda data: _nested(site, data, 65)
    yield "20b", f"{site.depth} levels", lambda data: _nested(site, data, site.depth)


def _nested(site: Site, data: bytes, depth: int) -> bytes:
    """Return the document with arrays in place of its integer, so that its nesting is ``depth``."""
    before = data[: data.index(site.integer)]
    arrays = depth - (before.count(b"{") - before.count(b"}")) - (before.count(b"[") - before.count(b"]"))
    return site.with_integer(b"[" * arrays + b"]" * arrays)(data)


def _reversed(data: bytes) -> bytes:
    document: Json = json.loads(data)
    turned = dict(sorted(document.items(), reverse=True))
    return json.dumps(turned, separators=(",", ":"), ensure_ascii=False).encode()


def _schema() -> Iterator[Case]:
    def manifest(id: str, description: str, **layers: Any) -> Case:
        return bundle_case(id, description, bundle(**layers), "schema_invalid", "manifest")

    yield manifest("J23a", "member files spelled Files", sealed_manifest=rename("files", "Files"))
    yield manifest("J23b", "Files beside files", manifest=put("Files", []))
    yield manifest("J23c", "member that folds to risk (U+017F)", sealed_manifest=rename("risk", "ri\u017fk"))
    yield manifest("J23d", "member that folds to tokens (U+212A)", manifest=put("governance/to\u212aens", []))
    yield manifest("J24a", "member __proto__", manifest=put("__proto__", {}))
    yield manifest("J24b", "member constructor", manifest=put("constructor", {}))
    yield manifest("J24c", "member __proto__ inside run", manifest=put("run/__proto__", {}))
    yield manifest("J27", "unknown member at the top", manifest=put("extra", 1))
    yield manifest("J27b", "unknown member inside run", manifest=put("run/extra", 1))
    yield manifest("J27c", "missing member", manifest=drop("references"))
    risk = {"score": 12, "band": "low", "method": "clyra-risk/1", "factors": [], "inputs_sha256": "0" * 64}
    for letter, what, value in (
        ("a", "text in place of an integer", ("risk", {**risk, "score": "12"})),
        ("b", "true in place of 1", ("run/part", True)),
        ("c", "integer in place of a boolean", ("governance/legal_hold", 0)),
        ("d", "null in place of an object", ("journal", None)),
        ("e", "array in place of an object", ("labels", [])),
        ("f", "integer in place of a text", ("tenant", 1)),
    ):
        yield manifest(f"J29{letter}", what, sealed_manifest=put(*value))
    yield manifest("J30a", "risk score 101", manifest=put("risk", {**risk, "score": 101}))
    yield manifest("J30b", "risk score -1", manifest=put("risk", {**risk, "score": -1}))
    for letter, instant in (
        ("a", "2026-01-31T09:15:04.200000+01:00"),
        ("b", "2026-01-31T08:15:04.200Z"),
        ("c", "2026-01-31T08:15:60.000000Z"),
        ("d", "2026-01-31T24:00:00.000000Z"),
        ("e", "2026-01-31 08:15:04.200000Z"),
        ("f", "2026-01-31T08:15:04.200000z"),
        ("g", "2026-13-01T08:15:04.200000Z"),
        ("h", "\u0662\u0660\u0662\u0666-01-31T08:15:04.200000Z"),
        ("i", "2026-01-31T08:15:04.200000Z\n"),
    ):
        yield manifest(f"J31{letter}", f"instant {ascii(instant)[1:-1]}", manifest=put("governance/hot_until", instant))
    yield manifest("J34a", "escaped NUL in a label", manifest=put("labels/note", "a\x00b"))
    yield manifest("J34b", "DEL in a name", manifest=put("run/project", "jaffle\x7fshop"))
    yield manifest("J34c", "empty name", manifest=put("run/project", ""))
    yield manifest("J35", "document is an array", manifest_bytes=wrap(b"[", b"]"))
    yield bundle_case(
        "JL27", "journal line: unknown member", bundle(events=_with_event(extra=1)), "schema_invalid", "journal"
    )
    yield bundle_case(
        "JL29", "journal line: unknown type", bundle(events=_with_event(type="node.began")), "schema_invalid", "journal"
    )
    yield bundle_case(
        "JL30", "journal line: negative count", bundle(events=_with_event(execution_us=-1)), "schema_invalid", "journal"
    )
    unknown = put("predicate/extra", 1)
    yield bundle_case("JS27", "Statement: unknown member", bundle(statement=unknown), "schema_invalid", "statement")
    yield bundle_case(
        "J28", "unknown entry of crit", bundle(manifest=put("crit", ["org.example.x"])), "crit_unknown", "manifest"
    )


def _with_event(**members: Any) -> list[Json]:
    events = run_events()
    events[NODE_LINE] = {**events[NODE_LINE], **members}
    return events


def _texts() -> Iterator[Case]:
    hebrew, face = "\ufb33", "\U0001f600"
    labels = put("labels", {"note": "plain", hebrew: "1", face: "2"})
    yield bundle_case("J25a", "labels in the order of UTF-16 code units", bundle(manifest=labels))
    by_code_point = f'"labels":{{"note":"plain","{hebrew}":"1","{face}":"2"}}'.encode()
    by_code_unit = f'"labels":{{"note":"plain","{face}":"2","{hebrew}":"1"}}'.encode()
    yield bundle_case(
        "J25b",
        "labels in the order of code points",
        bundle(manifest=labels, manifest_bytes=swap(by_code_unit, by_code_point)),
        "json_not_canonical",
        "manifest",
    )
    forms = {"note": "plain", "caf\u00e9": "caf\u00e9", "cafe\u0301": "cafe\u0301"}
    yield bundle_case("J26", "NFC and NFD of one text are two texts", bundle(manifest=put("labels", forms)))
    odd = {
        "note": "plain",
        "separator": "a\u2028b",
        "del": "a\x7fb",
        "controls": "\x01\b\t\n\f\r\x1f",
        "quoted": '"\\/',
    }
    yield bundle_case("J32", "labels with raw U+2028 and DEL", bundle(manifest=put("labels", odd)))
    names = {"note": "plain", "__proto__": "a", "constructor": "b", "toString": "c", " ": "d", "Note": "e", "\x7f": ""}
    yield bundle_case("J24d", "labels named as members of objects are", bundle(manifest=put("labels", names)))
    last = {"note": "plain", "noncharacter": "\ufffe\uffff\U0010ffff", "replacement": "\ufffd", "bom": "\ufeff"}
    yield bundle_case("J36", "labels with noncharacters", bundle(manifest=put("labels", last)))
    deep: Any = 9007199254740991
    for _ in range(61):
        deep = [deep]
    ext = put("ext", {"org.example": {"deep": deep, "least": -9007199254740991, "zero": 0}})
    yield bundle_case("J20c", "manifest: 64 levels and the largest integers", bundle(manifest=ext))


def _canonicalize() -> Iterator[Case]:
    for id, description, document in (
        ("JC01", "canonicalize: white space, order, escapes", b' { "b" : [ 1 , -2 ] ,\n"a" : "\\u00E9\\/\\u001F" } '),
        ("JC02", "canonicalize: UTF-16 order", '{"\ufb33":1,"\U0001f600":2,"a":3,"A":4,"":5}'.encode()),
        ("JC03", "canonicalize: scalar", b" true\n"),
        ("JC04", "canonicalize: escaped surrogate pair", b'["\\ud83d\\ude00"]'),
        ("JC05", "canonicalize: largest integers", b"[9007199254740991,-9007199254740991,0]"),
        ("JC06", "canonicalize: escaped NUL", b'["\\u0000"]'),
        ("JC07", "canonicalize: nothing is normalized", '["\u00e9","e\u0301","\u212b"]'.encode()),
        ("JC08", "canonicalize: 64 levels", b"[" * 64 + b"]" * 64),
    ):
        yield Case(id, description, document, command="canonicalize", args=(), output=canonical(json.loads(document)))
    for id, description, document in (
        ("JC11", "canonicalize: duplicate key", b'{"a":1,"a":1}'),
        ("JC12", "canonicalize: duplicate key by an escape", b'{"a":1,"\\u0061":1}'),
        ("JC13", "canonicalize: fraction", b"[1.5]"),
        ("JC14", "canonicalize: lone surrogate", b'["\\ud800"]'),
        ("JC15", "canonicalize: invalid UTF-8", b'["\xff"]'),
        ("JC16", "canonicalize: 2^53", b"[9007199254740992]"),
        ("JC17", "canonicalize: byte order mark", b"\xef\xbb\xbf[]"),
        ("JC18", "canonicalize: two documents", b"[] []"),
        ("JC19", "canonicalize: NaN", b"[NaN]"),
        ("JC20", "canonicalize: 65 levels", b"[" * 65 + b"]" * 65),
        ("JC21", "canonicalize: 100000 levels", b"[" * 100_000 + b"]" * 100_000),
        ("JC22", "canonicalize: nothing", b""),
        ("JC23", "canonicalize: raw control character", b'["\x01"]'),
    ):
        yield Case(id, description, document, "json_not_canonical", None, command="canonicalize", args=())
