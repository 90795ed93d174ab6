"""A strict reader of the plain part of the zip format: stored members, back to back, nothing else in the file.

Two zip readers can see different contents in one file: that is how most attacks on packages work. This one accepts
only files that every reader sees alike: local headers from byte 0, no gaps, no overlaps, no comment, no compression,
the same facts in the local header and in the central directory. It never allocates what a header asks for.
"""

from __future__ import annotations

import re
import stat
import struct
import zlib
from typing import NoReturn

from edgepress_runtime.errors import BundleError

MAX_MEMBERS = 64

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_UTF8 = 0x800  # the only general purpose flag that changes nothing for a stored member with an ASCII name
_ZIP64 = 0xFFFFFFFF


def read_members(data: memoryview, file: str) -> dict[str, memoryview]:
    """The members of the zip in `data` by name, as views into it, each checked against its CRC-32.

    `file` is what error sentences call it. Raises BundleError for anything but a plain archive.
    """
    if bytes(data[:4]) != b"PK\x03\x04":
        raise BundleError(f"{file} is not an edgepress bundle", "make one with: edgepress convert RUN --out X.edge")
    if len(data) < _LOCAL.size + _CENTRAL.size + _END.size or bytes(data[-_END.size :][:4]) != b"PK\x05\x06":
        raise BundleError(f"{file} is truncated, or something was appended to it", "copy it again")
    _, disk, central_disk, here, count, size, start, comment = _END.unpack(data[-_END.size :])
    if _ZIP64 in (size, start) or 0xFFFF in (here, count):
        _refuse(file, "claims ZIP64 sizes, which no bundle needs")
    if disk or central_disk or here != count or comment:
        _refuse(file, "has a malformed end record")
    if not 0 < count <= MAX_MEMBERS:
        _refuse(file, f"claims {count} members; 1 to {MAX_MEMBERS} are allowed")
    if start + size != len(data) - _END.size:
        _refuse(file, "has bytes that belong to no member")
    members: dict[str, memoryview] = {}
    at = start
    expected = 0
    for _ in range(count):
        if at + _CENTRAL.size > start + size:
            _refuse(file, "has a malformed directory")
        name, member, expected, at = _member(data, file, at, expected, start)
        if name in members:
            _refuse(file, f"holds two members named {name!r}")
        members[name] = member
    if at != start + size or expected != start:
        _refuse(file, "has bytes that belong to no member")
    return members


def _member(data: memoryview, file: str, at: int, local: int, limit: int) -> tuple[str, memoryview, int, int]:
    """The member whose directory entry is at `at` and whose local header must be at `local`; then both next places."""
    (magic, _, _, flags, method, _, _, crc, packed, length, name_length, extra_length, comment_length, disk, _,
     attributes, offset) = _CENTRAL.unpack_from(data, at)  # fmt: skip
    at += _CENTRAL.size
    raw = bytes(data[at : at + name_length])
    at += name_length + extra_length + comment_length
    if magic != b"PK\x01\x02" or len(raw) != name_length or at > len(data) - _END.size:
        _refuse(file, "has a malformed directory")
    name = raw.decode("ascii", "backslashreplace")
    mode = attributes >> 16
    if stat.S_ISLNK(mode):
        _refuse(file, f"holds {name!r} as a symbolic link")
    if stat.S_ISDIR(mode) or attributes & 0x10 or name.endswith("/"):
        _refuse(file, f"holds the folder {name!r}; bundles are flat")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        _refuse(file, f"holds {name!r} as a special file")
    if not _NAME.fullmatch(name):
        _refuse(file, f"holds a member with the unsafe name {name!r}")
    if flags & 1:
        _refuse(file, f"holds {name!r} encrypted")
    if method != 0 or packed != length:
        _refuse(file, f"holds {name!r} compressed; members of a bundle are stored")
    if flags & ~_UTF8 or disk:
        _refuse(file, f"holds {name!r} in an unusual way (flags {flags:#x})")
    if _ZIP64 in (length, offset):
        _refuse(file, "claims ZIP64 sizes, which no bundle needs")
    if offset != local:
        _refuse(file, f"holds {name!r} overlapping another member, or with a gap before it")
    if local + _LOCAL.size > limit:
        _refuse(file, f"claims more bytes for {name!r} than it has")
    here = _LOCAL.unpack_from(data, local)
    begin = local + _LOCAL.size + here[9] + here[10]
    extra = data[min(limit, local + _LOCAL.size + here[9]) : min(limit, begin)]
    sizes = _zip64_sizes(extra) if _ZIP64 in here[7:9] else here[7:9]
    if here[0] != b"PK\x03\x04" or bytes(data[local + _LOCAL.size :][: here[9]]) != raw:
        _refuse(file, f"names {name!r} differently in its two headers")
    if (here[2], here[3], here[6]) != (flags, method, crc) or sizes != (packed, length):
        _refuse(file, f"describes {name!r} differently in its two headers")
    end = begin + length
    if end > limit:
        _refuse(file, f"claims more bytes for {name!r} than it has")
    member = data[begin:end]
    if zlib.crc32(member) != crc:
        raise BundleError(f"{name} in {file} was altered or damaged on the way", "copy it again")
    return name, member, end, at


def _zip64_sizes(extra: memoryview) -> tuple[int, ...]:
    """(packed, length) of a ZIP64 extra field that comes first, as `numpy.savez` writes them whatever the size."""
    if len(extra) < 20 or struct.unpack_from("<HH", extra) != (1, 16):
        return ()
    length, packed = struct.unpack_from("<QQ", extra, 4)
    return packed, length


def _refuse(file: str, why: str) -> NoReturn:
    raise BundleError(f"{file} {why}", "use a bundle as edgepress convert wrote it")
