"""The columns of a batch, written from docs/protocol.md alone.

Elements are as JSON has them: bytes are lists of integers, bigints are decimal text, and an absent field is not there.
"""

import json
import struct

ENTRIES = {
    "int8": "b", "uint8": "B", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I",
    "float32": "f", "float64": "d", "bigint64": "q", "biguint64": "Q", "bool": "?",
}
MORE = {"tensor": ("dtype", "shape"), "literals": ("of",), "option": ("none", "of"), "list": ("of",), "struct": ("columns",)}
ABSENT = object()
NONE = {"null": None, "absent": ABSENT}


class Broken(Exception):
    """The other side broke a rule of the protocol; the first word is the field."""


def require(condition, field, issue):
    if not condition:
        raise Broken(f"{field}: {issue}")


def align(n):
    return (n + 7) // 8 * 8


def ordered(columns):
    return sorted(columns, key=lambda column: column["name"].encode("utf-16-be"))


# --- fingerprint ------------------------------------------------------------------------------------------------------


def printed(column):
    fields = {key: column[key] for key in ("name", "kind") if key in column}
    for key in MORE.get(column["kind"], ()):
        value = column[key]
        if key == "columns":
            value = [printed(one) for one in ordered(value)]
        elif key == "of" and column["kind"] != "literals":
            value = printed(value)
        fields[key] = value
    return fields


def fingerprint(columns):
    """`columns`: the fields of a struct, each with what the fingerprint says of its kind."""
    listed = [printed(column) for column in ordered(columns)]
    return json.dumps({"codec": 1, "element": "struct", "columns": listed}, ensure_ascii=False, separators=(",", ":"))


# --- kinds ------------------------------------------------------------------------------------------------------------


def entries_of(column):
    """The dtype, the entries of an element, and whether an element has one value rather than a list."""
    if column["kind"] in ("number", "boolean", "string"):
        return {"number": "float64", "boolean": "bool", "string": "string"}[column["kind"]], 1, True
    width = 1
    for axis in column["shape"]:
        width *= axis
    return column["dtype"], width, column["shape"] == []


def literals_of(column):
    read = {"string": str, "number": float, "boolean": lambda text: text == "true", "bigint": str}
    return [read[kind](text) for one in column["of"] for kind, text in one.items()]


def code_of(column):
    count = len(column["of"])
    return None if count == 1 else "B" if count <= 256 else "H" if count <= 65536 else "I"


def bodies_of(column):
    """How many bodies a column has."""
    kind = column["kind"]
    if kind == "struct":
        return sum(bodies_of(one) for one in column["columns"])
    if kind in ("option", "list"):
        return 1 + bodies_of(column["of"])
    return 2 if kind in ("bigint", "bytes") else 0 if kind == "literals" and code_of(column) is None else 1


def offsets_of(sizes):
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + size)
    return struct.pack(f"<{len(ends)}I", *ends)


def fits(big):
    return -2**63 <= big < 2**63


# --- writing ----------------------------------------------------------------------------------------------------------


def write_text(strings):
    texts = [string.encode("utf-8") for string in strings]
    return offsets_of([len(text) for text in texts]) + b"".join(texts)


def write(column, values):
    """The bodies of a column."""
    kind = column["kind"]
    if kind == "bigint":
        bigs = [int(value) for value in values]
        small = struct.pack(f"<{len(bigs)}q", *(big if fits(big) else 0 for big in bigs))
        large = ["" if fits(big) else format(big, "x") for big in bigs]
        return [small, write_text(large) if any(large) else b""]
    if kind == "bytes":
        return [offsets_of([len(value) for value in values]), b"".join(bytes(value) for value in values)]
    if kind == "literals":
        form, literals = code_of(column), literals_of(column)
        return [] if form is None else [struct.pack(f"<{len(values)}{form}", *(literals.index(v) for v in values))]
    if kind == "option":
        none = NONE[column["none"]]
        bits = bytearray((len(values) + 7) // 8)
        for i, value in enumerate(values):
            if value is not none:
                bits[i // 8] |= 1 << i % 8
        return [bytes(bits), *write(column["of"], [value for value in values if value is not none])]
    if kind == "list":
        return [offsets_of([len(value) for value in values]), *write(column["of"], [e for v in values for e in v])]
    if kind == "struct":
        return write_fields(column["columns"], values)
    dtype, width, is_scalar = entries_of(column)
    entries = list(values) if is_scalar else [entry for value in values for entry in value]
    require(len(entries) == width * len(values), column.get("name", "entries"), "an element of another shape")
    return [write_text(entries) if dtype == "string" else struct.pack(f"<{len(entries)}{ENTRIES[dtype]}", *entries)]


def write_fields(columns, elements):
    bodies = []
    for column in ordered(columns):
        bodies += write(column, [element.get(column["name"], ABSENT) for element in elements])
    return bodies


def encode_columns(columns, elements):
    bodies = write_fields(columns, elements)
    head = align(16 + 4 * len(bodies))
    total = head + sum(align(len(body)) for body in bodies)
    out = bytearray(b"EFB1" + struct.pack("<III", len(bodies), len(elements), total))
    out += struct.pack(f"<{len(bodies)}I", *(len(body) for body in bodies))
    out += bytes(head - len(out))
    for body in bodies:
        out += body + bytes(align(len(body)) - len(body))
    return bytes(out)


# --- reading ----------------------------------------------------------------------------------------------------------


def read_offsets(name, body, n, length=None):
    require(len(body) >= 4 * (n + 1), name, "offsets")
    ends = struct.unpack_from(f"<{n + 1}I", body)
    require(ends[0] == 0 and (length is None or ends[-1] == length), name, "offsets do not span what they cut")
    require(all(a <= b for a, b in zip(ends, ends[1:])), name, "offsets descend")
    return ends


def read_text(name, body, n):
    text = body[4 * (n + 1):]
    ends = read_offsets(name, body, n, len(text))
    return [text[a:b].decode("utf-8") for a, b in zip(ends, ends[1:])]


def read_entries(name, form, body, n):
    require(struct.calcsize(f"<{n}{form}") == len(body), name, "a body of another size")
    return list(struct.unpack(f"<{n}{form}", body))


def read_bigints(name, small, large, n):
    bigs = read_entries(name, "q", small, n)
    texts = read_text(name, large, n) if large else [""] * n
    require(not large or any(texts), name, "text for integers of 64 bits")
    for i, text in enumerate(texts):
        if text:
            big = int(text, 16)
            require(bigs[i] == 0 and not fits(big) and format(big, "x") == text, name, f"entry {i}")
            bigs[i] = big
    return [str(big) for big in bigs]


def read(column, n, bodies):
    """The values of a column, of the next ones of the bodies."""
    kind, name = column["kind"], column.get("name", "entries")
    if kind == "bigint":
        return read_bigints(name, next(bodies), next(bodies), n)
    if kind == "bytes":
        body, data = next(bodies), next(bodies)
        require(len(body) == 4 * (n + 1), name, "offsets")
        ends = read_offsets(name, body, n, len(data))
        return [list(data[a:b]) for a, b in zip(ends, ends[1:])]
    if kind == "literals":
        form, literals = code_of(column), literals_of(column)
        codes = [0] * n if form is None else read_entries(name, form, next(bodies), n)
        require(all(code < len(literals) for code in codes), name, "a number of no literal")
        return [literals[code] for code in codes]
    if kind == "option":
        bits = next(bodies)
        require(len(bits) == (n + 7) // 8, name, "bits")
        are_set = [bits[i // 8] >> i % 8 & 1 for i in range(8 * len(bits))]
        require(not any(are_set[n:]), name, "bits after the last one")
        there = iter(read(column["of"], sum(are_set), bodies))
        return [next(there) if is_set else NONE[column["none"]] for is_set in are_set[:n]]
    if kind == "list":
        body = next(bodies)
        require(len(body) == 4 * (n + 1), name, "offsets")
        ends = read_offsets(name, body, n)
        entries = read(column["of"], ends[-1], bodies)
        return [entries[a:b] for a, b in zip(ends, ends[1:])]
    if kind == "struct":
        return read_fields(column["columns"], n, bodies)
    dtype, width, is_scalar = entries_of(column)
    body = next(bodies)
    if dtype == "string":
        entries = read_text(name, body, n * width)
    else:
        require(dtype != "bool" or all(byte <= 1 for byte in body), name, "a boolean is neither 0 nor 1")
        entries = read_entries(name, ENTRIES[dtype], body, n * width)
    if kind == "number":
        entries = [int(entry) if entry.is_integer() else entry for entry in entries]
    return entries if is_scalar else [entries[i * width:(i + 1) * width] for i in range(n)]


def read_fields(columns, n, bodies):
    elements = [{} for _ in range(n)]
    for column in ordered(columns):
        for element, value in zip(elements, read(column, n, bodies)):
            if value is not ABSENT:
                element[column["name"]] = value
    return elements


def decode_columns(columns, data):
    require(len(data) >= 16 and data[:4] == b"EFB1", "columns", "they do not start with EFB1")
    count, n, total = struct.unpack_from("<III", data, 4)
    require(count == sum(bodies_of(column) for column in columns), "columns", f"{count} bodies")
    require(total == len(data) and total % 8 == 0, "columns", f"{total} bytes announced of {len(data)}")
    at = align(16 + 4 * count)
    require(len(data) >= at, "columns", "they are shorter than their table")
    require(not any(data[16 + 4 * count:at]), "columns", "padding")
    require(n <= len(data), "columns", f"{n} elements")
    bodies = []
    for size in struct.unpack_from(f"<{count}I", data, 16):
        require(at + size <= len(data), "columns", "a body beyond the end")
        bodies.append(data[at:at + size])
        require(not any(data[at + size:at + align(size)]), "columns", "padding")
        at += align(size)
    require(at == len(data), "columns", "bytes follow the last one")
    return read_fields(columns, n, iter(bodies))
