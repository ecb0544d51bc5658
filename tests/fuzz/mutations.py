"""Hypothesis strategies that damage files: any bytes, and the content of formats with valid checksums."""

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy], Any]

NUMBERS = [-1, 0, 1, 2, 3, 7, 255, 2**16, 2**31 - 1, 2**31, 2**32, 2**40, 2**63 - 1, 2**63, 2**64, 10**18, 10**30]
FLOATS = [0.5, -0.5, 1e-320, 1e18, 1e308, float("inf"), float("-inf"), float("nan")]
TEXTS = [
    *("", " ", "\n", "\0", "x", "é̂", "a" * 10_000, "9" * 5_000, "\u202egnp.exe", "\ud800", "../../../escaped"),
    *("/etc/passwd", "${oc.env:HOME}", "${name}", "${", "null", "true", "1e9", "<script>alert(1)</script>", "%s%n"),
]
DEEP = "deeply nested"  # placeholder that `dumps` replaces
NESTING = 100_000

scalars = st.one_of(
    st.none(), st.booleans(), st.sampled_from([*NUMBERS, *FLOATS]), st.sampled_from(TEXTS), st.integers(-10, 100)
)
values = st.recursive(
    st.one_of(scalars, st.just(DEEP)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(TEXTS), inner, max_size=3)),
    max_leaves=4,
)


# --- bytes

INTEGERS = [
    struct.pack(code, number % 2**bits) for code, bits in (("<I", 32), (">I", 32), ("<Q", 64)) for number in NUMBERS
]


@st.composite
def damaged_bytes(draw: Draw, data: bytes) -> bytes:
    """Damage bytes in one to four places, or replace them."""
    for _ in range(draw(st.integers(1, 4))):
        data = draw(st.sampled_from(BYTE_DAMAGES))(draw, data)
    return data


def _position(draw: Draw, data: bytes) -> int:
    """Draw a position; headers are more interesting than content."""
    return draw(st.one_of(st.integers(0, min(len(data), 64)), st.integers(0, len(data))))


def _flip(draw: Draw, data: bytes) -> bytes:
    at = _position(draw, data)
    return data[:at] + bytes(byte ^ 1 << draw(st.integers(0, 7)) for byte in data[at : at + 1]) + data[at + 1 :]


def _truncate(draw: Draw, data: bytes) -> bytes:
    return data[: _position(draw, data)]


def _delete(draw: Draw, data: bytes) -> bytes:
    at = _position(draw, data)
    return data[:at] + data[at + draw(st.integers(1, 64)) :]


def _insert(draw: Draw, data: bytes) -> bytes:
    at = _position(draw, data)
    return data[:at] + draw(st.binary(min_size=1, max_size=16)) + data[at:]


def _repeat(draw: Draw, data: bytes) -> bytes:
    at, length = _position(draw, data), draw(st.integers(1, 64))
    return data[: at + length] + data[at : at + length] * draw(st.integers(1, 50)) + data[at + length :]


def _write_integer(draw: Draw, data: bytes) -> bytes:
    at, number = _position(draw, data), draw(st.sampled_from(INTEGERS))
    return data[:at] + number + data[at + len(number) :]


def _replace(draw: Draw, data: bytes) -> bytes:
    return draw(
        st.sampled_from([b"", b"\0" * 64, b"\xff" * 64, b"PK\3\4", b"\x80\2.", b"{}", b"null", b"\x89PNG\r\n\x1a\n"])
    )


BYTE_DAMAGES = [_flip, _truncate, _delete, _insert, _repeat, _write_integer, _replace]


# --- documents


@st.composite
def damaged_document(draw: Draw, document: Any) -> Any:
    """Replace, remove or rename one to three parts of a document of lists and dictionaries."""
    for _ in range(draw(st.integers(1, 3))):
        paths = _paths(document)
        document = _damage(draw, document, draw(st.sampled_from(paths)))
    return document


def _paths(document: Any, prefix: tuple = ()) -> list[tuple]:
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [prefix, *(path for key, value in items for path in _paths(value, (*prefix, key)))]


def _damage(draw: Draw, document: Any, path: tuple) -> Any:
    if not path:
        return draw(values)
    copy = document.copy()
    key, *rest = path
    if rest:
        copy[key] = _damage(draw, document[key], tuple(rest))
        return copy
    action = draw(st.sampled_from(["replace", "replace", "remove", "rename", "repeat"]))
    if action == "replace":
        copy[key] = draw(values)
    elif action == "remove":
        del copy[key]
    elif isinstance(copy, dict):
        copy[draw(st.sampled_from(TEXTS))] = copy[key] if action == "repeat" else copy.pop(key)
    else:
        copy.append(copy[key])
    return copy


def dumps(document: Any) -> bytes:
    """Encode as JSON; like other programs, with NaN, infinities and lone surrogates."""
    text = json.dumps(document, allow_nan=True)
    return text.replace(json.dumps(DEEP), "[" * NESTING + "]" * NESTING).encode()


# --- formats


@st.composite
def damaged_json(draw: Draw, data: bytes) -> bytes:
    return dumps(draw(damaged_document(json.loads(data))))


@st.composite
def damaged_lines(draw: Draw, data: bytes) -> bytes:
    """Damage a line of a JSON Lines file, or cut the file inside a line and continue with the next one."""
    lines = data.splitlines(keepends=True)
    number = draw(st.integers(0, len(lines) - 1))
    line = lines[number]
    if draw(st.booleans()):
        lines[number] = draw(damaged_json(line)) + b"\n"
    else:
        lines[number] = line[: draw(st.integers(0, len(line)))]
    return b"".join(lines)


@st.composite
def damaged_safetensors(draw: Draw, data: bytes) -> bytes:
    """Damage the header of a safetensors file, which may state an absurd size."""
    (size,) = struct.unpack("<Q", data[:8])
    header = draw(damaged_json(data[8 : 8 + size]))
    stated = draw(st.sampled_from([len(header)] * 8 + [number % 2**64 for number in NUMBERS]))
    return struct.pack("<Q", stated) + header + data[8 + size :]


@st.composite
def damaged_zip(draw: Draw, data: bytes) -> bytes:
    """Damage, rename, repeat or remove a member of a zip archive; checksums stay valid."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    number = draw(st.integers(0, len(members) - 1))
    name, content = members[number]
    action = draw(st.sampled_from(["damage", "damage", "damage", "rename", "repeat", "remove"]))
    if action == "damage":
        members[number] = (name, draw(damaged(name, content)))
    elif action == "rename":
        members[number] = (draw(names), content)
    elif action == "repeat":
        members.append((name, draw(damaged_bytes(content))))
    else:
        del members[number]
    method = draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    return write_zip(members, method)


names = st.sampled_from(
    [
        "../../escaped.png",
        "/tmp/escaped.png",
        "a\\..\\b.png",
        "a/b/../../../c.png",
        "C:x.png",
        ".png",
        "x" * 300 + ".png",
        "\u202egnp.png",
        "a\nb.png",
        "<b>.png",
    ]
)


def write_zip(members: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


@st.composite
def damaged_png(draw: Draw, data: bytes) -> bytes:
    """Damage the content of a chunk of a PNG file; its checksum stays valid."""
    chunks, at = [], 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    number = draw(st.integers(0, len(chunks) - 1))
    kind, content = chunks[number]
    chunks[number] = (kind, draw(damaged_bytes(content)))
    return data[:8] + b"".join(png_chunk(*chunk) for chunk in chunks)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@st.composite
def damaged_npy(draw: Draw, data: bytes) -> bytes:
    """Replace the type, the order or the shape in the header of a NumPy file."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (2, 3)}
    key = draw(st.sampled_from([*header, "other"]))
    shapes = st.lists(st.sampled_from(NUMBERS), max_size=5).map(tuple)
    types = st.sampled_from(["|u1", "<i8", "<f8", "|O", "<U1000000000", "|V0", "<M8[s]", "x", [("a", "<i8")]])
    header[key] = draw({"shape": shapes, "descr": types}.get(key, scalars))
    text = repr(header).encode("latin1", "replace") + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", min(len(text), 2**16 - 1)) + text + data[128:]


FORMATS: dict[str, Callable[[bytes], st.SearchStrategy[bytes]]] = {
    "json": damaged_json,
    "jsonl": damaged_lines,
    "safetensors": damaged_safetensors,
    "zip": damaged_zip,
    "pt": damaged_zip,
    "npz": damaged_zip,
    "png": damaged_png,
    "npy": damaged_npy,
}


def damaged(name: str, data: bytes) -> st.SearchStrategy[bytes]:
    """Return damaged versions of a file: any bytes, or what its format allows."""
    kind = FORMATS.get(name.rpartition(".")[2])
    return st.one_of(kind(data), damaged_bytes(data)) if kind else damaged_bytes(data)


@st.composite
def damaged_tree(draw: Draw, tree: dict[str, bytes], names: list[str], kinds: dict[str, Callable]) -> dict[str, bytes]:
    """Damage one of the named files of a tree, remove it, or exchange it; `kinds` override strategies by suffix."""
    name = draw(st.sampled_from(names))
    action = draw(st.sampled_from(["damage"] * 18 + ["remove", "exchange"]))
    if action == "remove":
        return {other: data for other, data in tree.items() if other != name}
    if action == "exchange":
        return tree | {name: tree[draw(st.sampled_from(names))]}
    suffix = name.rpartition(".")[2]
    strategy = kinds[suffix](tree[name]) if suffix in kinds else damaged(name, tree[name])
    return tree | {name: draw(strategy)}
