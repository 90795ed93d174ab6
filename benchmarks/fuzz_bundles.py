"""Mutated bundles, seeded: each is refused with an EdgepressError, or is the original unharmed, or (where a mutation
made its checksums right again) another whole bundle. Never another exception, a hang, or a byte outside the store.

    python benchmarks/fuzz_bundles.py [--cases 10000] [--seed 0] [--signed]

With --signed the store trusts one key, the original is signed by it, and nothing but the original may get in.
"""

from __future__ import annotations

import argparse
import base64
import collections
import hashlib
import io
import json
import os
import pickle
import signal
import struct
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgepress_runtime import trust, trusted_keys
from edgepress_runtime.bundle import Bundle, open_bundle
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.selftest import SelfTest
from edgepress_runtime.store import Store

SECONDS_A_CASE = 10
Members = dict[str, bytes]


def original(rng: np.random.Generator) -> Members:
    """The members of a small whole bundle; its model is noise, since none of this ever runs one."""
    labels = ("cat", "dog", "bird")
    golden = io.BytesIO()
    inputs = rng.integers(-128, 128, (3, 8, 8, 3), np.int8)
    np.savez(golden, inputs=inputs, outputs=rng.integers(-128, 128, (3, 3), np.int8))
    members = {
        "labels.txt": "".join(f"{label}\n" for label in labels).encode(),
        "golden.npz": golden.getvalue(),
        "model.tflite": b"\x1c\0\0\0TFL3" + rng.bytes(2000),
    }

    def tensor(name: str, shape: list[int]) -> dict[str, object]:
        return {"name": name, "shape": shape, "dtype": "int8", "scale": 0.0039, "zero_point": -128}

    manifest = {
        "format": 1,
        "name": "fuzz",
        "task": "image-classification",
        "inputs": [tensor("in", [1, 8, 8, 3])],
        "outputs": [tensor("out", [1, 3])],
        "preprocessing": {
            "kind": "image", "height": 8, "width": 8, "channels": 3, "mean": [0, 0, 0], "std": [255, 255, 255],
            "fit": "stretch",
        },
        "labels": labels,
        "members": {name: hashlib.sha256(data).hexdigest() for name, data in members.items()},
        "thresholds": {}, "metrics": {}, "recipe": {}, "tools": {}, "created": "2026-11-25T00:00:00Z",
        "detection": None,
    }  # fmt: skip
    return {"manifest.json": json.dumps(manifest).encode(), **members}


def zipped(members: list[tuple[str, bytes]], *, method: int = zipfile.ZIP_STORED, mode: int = 0o100644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as target, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, method
            target.writestr(info, data)
    return buffer.getvalue()


def sealed(members: Members) -> bytes:
    """A bundle whose manifest vouches for whatever the members now are."""
    manifest = json.loads(members["manifest.json"])
    others = {name: data for name, data in members.items() if name != "manifest.json"}
    manifest["members"] = {name: hashlib.sha256(data).hexdigest() for name, data in others.items()}
    return zipped([("manifest.json", json.dumps(manifest).encode()), *others.items()])


# ---- mutations: (rng, members) -> bytes of a mutated bundle


def bit_flips(rng, members):
    data = bytearray(zipped([*members.items()]))
    for at in rng.integers(0, len(data), rng.integers(1, 5)):
        data[at] ^= 1 << rng.integers(0, 8)
    return bytes(data)


def splices(rng, members):
    data = zipped([*members.items()])
    a, b, c = (int(n) for n in sorted(rng.integers(0, len(data), 3)))
    return [data[:a] + data[b:], data[:b] + data[a:], data[:a] + data[b:c] + data[a:b] + data[c:]][rng.integers(3)]


def truncations(rng, members):
    data = zipped([*members.items()])
    return data[: rng.integers(0, len(data))] if rng.random() < 0.8 else data + rng.bytes(rng.integers(1, 300))


def headers(rng, members):
    """One to three fields of a header replaced by numbers that programs trip over."""
    data = bytearray(zipped([*members.items()]))
    for _ in range(rng.integers(1, 4)):
        magic, size = [(b"PK\x03\x04", 30), (b"PK\x01\x02", 46), (b"PK\x05\x06", 22)][rng.integers(3)]
        places = [i for i in range(len(data)) if data[i : i + 4] == magic]
        at = places[rng.integers(len(places))] + int(rng.integers(4, size)) if places else 0
        value = [0, 1, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF, int(rng.integers(2**32))][rng.integers(8)]
        width = int(rng.choice([1, 2, 4]))
        data[at : at + width] = struct.pack("<L", value)[:width]
    return bytes(data[:])


def names(rng, members):
    bad = ["../evil", "/tmp/evil", "a/../../evil", "..", "evil/", "C:\\evil", "\0evil", "manifest.json", "MODEL.tflite",
           "x" * 60_000, "\n", "~", "labels.txt ", "ｌabels.txt"]  # fmt: skip
    entries = [*members.items()]
    name = bad[rng.integers(len(bad))]
    if rng.random() < 0.5:
        entries.insert(int(rng.integers(len(entries) + 1)), (name, b"evil"))
    else:
        at = int(rng.integers(len(entries)))
        entries[at] = (name, entries[at][1])
    return zipped(entries)


def kinds(rng, members):
    mode = [0o120777, 0o040755, 0o010644, 0o060644, 0o140644, 0o104755][rng.integers(6)]
    return zipped([*members.items()], mode=mode)


def duplicates(rng, members):
    entries = [*members.items()]
    name, data = entries[rng.integers(len(entries))]
    entries.insert(int(rng.integers(len(entries) + 1)), (name, data if rng.random() < 0.5 else b"evil"))
    return zipped(entries)


def compression(rng, members):
    method = [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA][rng.integers(3)]
    bomb = {**members, "model.tflite": bytes(rng.integers(1, 3_000_000))} if rng.random() < 0.3 else members
    return zipped([*bomb.items()], method=method)


def overlaps(rng, members):
    """Directory entries that point to another entry's local header, or a little beside their own."""
    data = bytearray(zipped([*members.items()]))
    places = [i for i in range(len(data)) if data[i : i + 4] == b"PK\x01\x02"]
    a, b = (places[n] for n in rng.integers(len(places), size=2))
    offset = struct.unpack_from("<L", data, b + 42)[0] + int(rng.integers(-3, 4)) * int(rng.random() < 0.5)
    struct.pack_into("<L", data, a + 42, offset % 2**32)
    return bytes(data)


def zip64(rng, members):
    """Sizes moved into ZIP64 fields, true or false, and ZIP64 end records put before the end."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name, data in members.items():
            with target.open(name, "w", force_zip64=True) as member:
                member.write(data)
    data = bytearray(buffer.getvalue())
    choice = rng.integers(3)
    if choice == 1:
        at = data.find(struct.pack("<HH", 1, 16)) + 4
        struct.pack_into("<Q", data, at, int(rng.integers(2**63)))
    if choice == 2:
        end = len(data) - 22
        record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 4, 4, int(rng.integers(2**40)), 0)
        locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
        data = data[:end] + record + locator + data[end:]
        struct.pack_into("<LL", data, len(data) - 10, 0xFFFFFFFF, 0xFFFFFFFF)
    return bytes(data)


def manifest_bytes(rng, members):
    """Bytes of the manifest changed, with a right CRC: it is JSON or not, and it means something or not."""
    text = bytearray(members["manifest.json"])
    for at in rng.integers(0, len(text), rng.integers(1, 4)):
        text[at : at + int(rng.integers(0, 3))] = rng.bytes(int(rng.integers(0, 3)))
    return zipped([*{**members, "manifest.json": bytes(text)}.items()])


def manifest_values(rng, members):
    """One value of the manifest replaced; half the time the rest is made right again."""
    manifest = json.loads(members["manifest.json"])
    odd = [None, True, -1, 0, 1e308, -1e-300, 2**63, 2**70, "", "../evil", "\x1b[2J", "\ud800", [], {}, [[]], [-1]]
    at = manifest
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        if not keys:
            break
        key = keys[rng.integers(len(keys))]
        if isinstance(at[key], (dict, list)) and rng.random() < 0.7:
            at = at[key]
            continue
        if rng.random() < 0.2 and isinstance(at, dict):
            del at[key]
        else:
            at[key] = odd[rng.integers(len(odd))]
        break
    text = json.dumps(manifest).encode()
    changed = {**members, "manifest.json": text}
    if rng.random() < 0.5 and isinstance(manifest.get("members"), dict):
        return sealed(changed)
    return zipped([*changed.items()])


def texts(rng, members):
    """A manifest that is hard on JSON readers."""
    hard = [
        b"[" * 100_000, b'{"a":' * 50_000, b'{"format": ' + b"9" * 200_000 + b"}", b'{"format": 1e999}', b"\xff\xfe{}",
        b'{"format": NaN}', b'{"format": 1, "format": 1}', b"", b"null", b'"' + b"\\u0000" * 9 + b'"',
    ]  # fmt: skip
    return zipped([*{**members, "manifest.json": hard[rng.integers(len(hard))]}.items()])


def golden_bytes(rng, members):
    data = bytearray(members["golden.npz"])
    for at in rng.integers(0, len(data), rng.integers(1, 4)):
        data[at] = rng.integers(256)
    return sealed({**members, "golden.npz": bytes(data)})


def golden_arrays(rng, members):
    """Arrays with headers that lie, ask for code, or for more memory than there is."""
    header = b"{'descr': '|i1', 'fortran_order': False, 'shape': (3, 8, 8, 3), }"
    shapes = [b"(3, 8, 8, 3)", b"(99999999999, 8, 8, 3)", b"(-3, 8, 8, 3)", b"()", b"(3,)", b"(" + b"1, " * 3000 + b")",
              b"(__import__('os').system('true'),)", b"(3, 8, 8, 3.0)", b"(0, 8, 8, 3)", b"(2, 8, 8, 3)"]  # fmt: skip
    types = [b"|i1", b"|O", b"<f4", b">i2", b"|V99999999", b"<U9999999", b"('i1', (9999,9999))", b"|S3"]
    header = header.replace(b"(3, 8, 8, 3)", shapes[rng.integers(len(shapes))])
    header = header.replace(b"|i1", types[rng.integers(len(types))] if rng.random() < 0.5 else b"|i1")
    size = int(rng.choice([len(header), 0, 65535, len(header) + 1]))
    version = bytes([int(rng.choice([1, 1, 1, 2, 3, 9])), 0])
    body = rng.bytes(int(rng.choice([576, 575, 0, 5760])))
    evil = pickle.dumps([os.system, "true"])
    array = b"\x93NUMPY" + version + struct.pack("<H", size) + header + body
    inner = zipped([("inputs.npy", evil if rng.random() < 0.1 else array), ("outputs.npy", array)])
    return sealed({**members, "golden.npz": inner})


def members_changed(rng, members):
    """Members emptied, swapped, dropped or added, with right checksums half the time."""
    changed = dict(members)
    name = ["labels.txt", "golden.npz", "model.tflite"][rng.integers(3)]
    what = rng.integers(4)
    if what == 0:
        changed[name] = b""
    elif what == 1:
        changed[name] = changed["labels.txt"]
    elif what == 2:
        del changed[name]
    else:
        changed[["extra", "manifest.sig", "z.z"][rng.integers(3)]] = rng.bytes(int(rng.integers(0, 9000)))
    return sealed(changed) if rng.random() < 0.5 else zipped([*changed.items()])


# The second value says whether a mutation may give another whole bundle, with checksums that are right.
MUTATIONS: dict[str, tuple[Callable[[np.random.Generator, Members], bytes], bool]] = {
    "bit flips": (bit_flips, False),
    "splices": (splices, False),
    "truncations": (truncations, False),
    "header fields": (headers, False),
    "names": (names, False),
    "kinds": (kinds, False),
    "duplicates": (duplicates, False),
    "compression": (compression, False),
    "overlaps": (overlaps, False),
    "zip64": (zip64, False),
    "manifest bytes": (manifest_bytes, True),
    "manifest values": (manifest_values, True),
    "manifest texts": (texts, False),
    "golden bytes": (golden_bytes, True),
    "golden arrays": (golden_arrays, True),
    "members": (members_changed, True),
}


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    def stop(signum, frame):
        raise TimeoutError(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def whole(bundle: Bundle) -> bool:
    """Whether what was opened is what it says it is, judged without the code under test."""
    manifest = json.loads(bytes(bundle.members["manifest.json"]))
    return bundle.digest == hashlib.sha256(bundle.members["manifest.json"]).hexdigest() and all(
        hashlib.sha256(bundle.members[name]).hexdigest() == digest for name, digest in manifest["members"].items()
    )


def signed(members: Members, root: Path) -> Members:
    """`members` signed by a key that the store `root` trusts from now on."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    public = key.public_key().public_bytes_raw()
    file = root.parent / "key.pub"
    file.write_bytes(trust.pem(trust.PublicKey("", public)))
    trusted_keys.add(root, file)
    file.unlink()
    note = {"format": trust.FORMAT, "algorithm": trust.ALGORITHM, "key": trust.key_id(public)}
    note["signature"] = base64.b64encode(key.sign(members["manifest.json"])).decode()
    return {**members, "manifest.sig": json.dumps(note).encode()}


def run(folder: Path, *, cases: int, seed: int, sign: bool = False) -> collections.Counter[str]:
    """Run `cases` mutations in `folder`; counts of what became of them. Raises AssertionError for a wrong outcome."""
    rng = np.random.default_rng(seed)
    members = original(np.random.default_rng(99))
    digest = hashlib.sha256(members["manifest.json"]).hexdigest()
    path, root = folder / "case.edge", folder / "deep" / "store"
    root.mkdir(parents=True)
    if sign:
        members = signed(members, root)
    counts: collections.Counter[str] = collections.Counter()
    for i in range(cases):
        name = list(MUTATIONS)[i % len(MUTATIONS)]
        mutate, may_differ = MUTATIONS[name]
        path.write_bytes(mutate(rng, members))
        try:
            outcome = one(path, root)
        except AssertionError as error:
            raise AssertionError(f"case {i} ({name}, seed {seed}): {error}") from error
        counts[outcome.partition(" ")[0]] += 1
        fine = outcome in ("refused", f"opened {digest}") or (may_differ and not sign and outcome.startswith("opened "))
        assert fine, f"case {i} ({name}, seed {seed}): {outcome}"
        strays = {p.name for p in folder.iterdir()} - {"case.edge", "deep"} | {
            p.name for p in root.parent.iterdir()
        } - {"store"}
        assert not strays, f"case {i} ({name}, seed {seed}) wrote {strays}"
    return counts


def one(path: Path, root: Path) -> str:
    """What became of one mutated bundle: `refused`, `opened DIGEST`, or what went wrong."""
    try:
        with limited(SECONDS_A_CASE), warnings.catch_warnings():
            warnings.simplefilter("error")
            bundle = open_bundle(path)
            if not whole(bundle):
                return "wrong: a bundle that is not what its manifest says"
            installed = Store(root).install(bundle, lambda copy: SelfTest(len(copy.golden()), len(copy.golden()), 0.0))
            copy = Store(root).open(bundle.manifest.name)
            if not installed.installed == copy.digest == bundle.digest:
                return "wrong: something else was installed"
            return f"opened {bundle.digest}"
    except EdgepressError as error:
        return "refused" if error.what and "\n" not in error.what else f"wrong: the sentence {error.what!r}"
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} escaped: {error}") from error


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signed", action="store_true", help="on a board that checks signatures")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            counts = run(Path(folder), cases=args.cases, seed=args.seed, sign=args.signed)
        except AssertionError as error:
            print(error, file=sys.stderr)
            return 1
    print(
        json.dumps(
            {"cases": args.cases, "seed": args.seed, "signed": args.signed, "mutations": len(MUTATIONS), **counts}
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
