"""The board's runtime as one tree of files, gathered on the host: the board itself needs neither pip nor internet.

Wheels for the board's processor and Python come from the host's own cache, and from PyPI where they are not there yet.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgepress_runtime.doctor.wheels import Platform, fitting, version_text
from edgepress_runtime.errors import EdgepressError

PROGRAMS = {
    "edgepress-device": "edgepress_runtime",
    "edgepress-camera": "edgepress_apps.camera_cli",
    "edgepress-listen": "edgepress_apps.listen_cli",
}
_PACKAGES = ("edgepress_runtime", "edgepress_apps")
_GLIBCS = ((2, 17), (2, 27), (2, 28), (2, 31), (2, 34), (2, 35))
_OLD_NAMES = {(2, 17): "manylinux2014"}
# Beside the engine; a 32-bit board takes them from its own system, since PyPI has no wheels for it
_OURS_64 = ("numpy>=1.24", "pillow>=9.4")
FROM_SYSTEM = {"numpy": "python3-numpy", "PIL": "python3-pil"}


def requirements(board: Platform) -> tuple[str, ...]:
    """What to fetch for `board`. Raises EdgepressError, with what would fit, where no engine does."""
    fit = fitting(board)
    if fit.reason:
        raise EdgepressError(fit.reason, "see: edgepress doctor pi@host")
    if board.bits == 32:
        return tuple(word for word in fit.requirements if not word.startswith("numpy"))
    return (*fit.requirements, *_OURS_64)


def platform_tags(board: Platform) -> tuple[str, ...]:
    """The wheel tags that `board` can run, the newest first (PEP 600)."""
    machine = (
        "armv7l" if board.bits == 32 else {"arm64": "aarch64", "AMD64": "x86_64"}.get(board.machine, board.machine)
    )
    known = board.libc_version or (2, 28)
    tags = []
    for libc in reversed([libc for libc in _GLIBCS if libc <= known]):
        tags.append(f"manylinux_{libc[0]}_{libc[1]}_{machine}")
        if libc in _OLD_NAMES:
            tags.append(f"{_OLD_NAMES[libc]}_{machine}")
    return tuple(tags)


def cache() -> Path:
    """Where fetched wheels stay: `edgepress/wheels` in the user's cache ($XDG_CACHE_HOME, else ~/.cache)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgepress" / "wheels"


def runtime_archive(board: Platform, out: Path) -> Path:
    """Write `out`, a .tar.gz with `lib/` and `bin/` that runs on `board`. Raises EdgepressError.

    The same wheels and sources give the same bytes, so that a board can tell that it has them.
    """
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        _unpack(board, tree / "lib")
        for package in _PACKAGES:
            shutil.copytree(_source(package), tree / "lib" / package, ignore=shutil.ignore_patterns("__pycache__"))
        (tree / "bin").mkdir()
        for program, module in PROGRAMS.items():
            _launcher(tree / "bin" / program, module)
        _pack(tree, out)
    return out


def _unpack(board: Platform, target: Path) -> None:
    kept = cache()
    kept.mkdir(parents=True, exist_ok=True)
    wanted = requirements(board)
    common = [
        "--only-binary=:all:", "--implementation", "cp", "--python-version", str(version_text(board.python)),
        *(word for tag in platform_tags(board) for word in ("--platform", tag)),
        *(["--no-deps"] if board.bits == 32 else []), *wanted,
    ]  # fmt: skip
    offline = ["--no-index", "--find-links", str(kept)]
    # pip measures local wheels by its own Python, which is not the board's; their tags have settled that already
    install = ["install", "--target", str(target), "--no-compile", "--ignore-requires-python"]
    if _pip(*install, *offline, *common) is None:
        return
    failed = _pip("download", "--dest", str(kept), "--find-links", str(kept), *common)
    if failed is None:
        shutil.rmtree(target, ignore_errors=True)
        failed = _pip(*install, *offline, *common)
    if failed is not None:
        raise EdgepressError(
            f"the wheels for {board.machine} with Python {version_text(board.python)} cannot be had: {failed}",
            f"run this once with internet; wheels stay in {kept}",
        )


def _pip(*words: str) -> str | None:
    """None, or the last line of what pip had to say."""
    line = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *words]
    done = subprocess.run(line, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode == 0:
        return None
    lines = [text.removeprefix("ERROR: ") for text in done.stderr.splitlines() if text.startswith("ERROR")]
    return lines[-1] if lines else f"pip ended with exit code {done.returncode}"


def _source(package: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise EdgepressError(f"{package} is not installed here", f"pip install {package.replace('_', '-')}")
    return Path(found.origin).parent


def _launcher(path: Path, module: str) -> None:
    # The libraries come first and nothing is looked for in the working directory
    path.write_text(
        "#!/bin/sh\n"
        'here=$(dirname "$(readlink -f "$0")")\n'
        f'PYTHONPATH="$here/../lib${{PYTHONPATH:+:$PYTHONPATH}}" PYTHONSAFEPATH=1 exec python3 -m {module} "$@"\n',
        encoding="ascii",
    )
    path.chmod(0o755)


def _pack(tree: Path, out: Path) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for path in sorted(tree.rglob("*")):
            archive.add(path, path.relative_to(tree).as_posix(), recursive=False, filter=_anonymous)
    with out.open("wb") as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
        packed.write(plain.getbuffer())


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry


def missing_from_system(board: Platform, answers: Sequence[str]) -> str:
    """The Debian packages that a 32-bit board lacks; `answers` are the modules that it could not import."""
    return " ".join(FROM_SYSTEM[name] for name in answers if name in FROM_SYSTEM) if board.bits == 32 else ""
