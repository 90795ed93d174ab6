"""Bring the runtime to a board that lacks it, over SSH: no root, no pip and no internet are needed there."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

from edgepress_convert import board, wheels
from edgepress_runtime.doctor.wheels import Platform
from edgepress_runtime.errors import EdgepressError

_FACTS = """
import json, platform, struct, sys
print(json.dumps([platform.machine(), struct.calcsize("P") * 8, *sys.version_info[:2], *platform.libc_ver()]))
"""
_MODULES = ",".join(wheels.FROM_SYSTEM)
_MISSING = f"""
import importlib.util
print(*[n for n in "{_MODULES}".split(",") if importlib.util.find_spec(n) is None], sep="\\n")
"""
# $1 the archive, $2 its SHA-256, $3 where: unpacked beside, whole before it has its name, then one link is switched
_UNPACK = r"""
set -e
base=${3:-$HOME/.local}
home=$base/share/edgepress/runtime
mkdir -p "$home" "$base/bin"
if [ ! -d "$home/$2" ]; then
  rm -rf "$home/$2.partial"
  mkdir "$home/$2.partial"
  tar -xzf "$1" -C "$home/$2.partial"
  sync
  mv "$home/$2.partial" "$home/$2"
fi
ln -sfn "$2" "$home/.current" && mv -T "$home/.current" "$home/current"
for program in "$home/current/bin"/*; do
  name=$(basename "$program")
  ln -sfn "$program" "$base/bin/.$name" && mv -T "$base/bin/.$name" "$base/bin/$name"
done
for old in "$home"/*; do
  case $old in "$home/$2"|"$home/current") ;; *) rm -rf "$old" ;; esac
done
"""


def present(host: str) -> bool:
    """Whether `host` has `edgepress-device`. Raises EdgepressError for one that cannot be reached."""
    answer = board.run(host, ["sh", "-c", f'{board.PATH} command -v edgepress-device || echo ""'], program="sh")
    return bool(answer.strip())


def install(host: str, *, prefix: str = "") -> str:
    """Put the runtime below `prefix` on `host` (default ~/.local); gives the SHA-256 of what was sent.

    Raises EdgepressError where nothing fits that board; it is then as it was.
    """
    platform = platform_of(host)
    lacking = board.run(host, ["python3", "-c", _MISSING]).split()
    packages = wheels.missing_from_system(platform, lacking)
    if packages:
        raise EdgepressError(
            f"{host} is a 32-bit board and lacks {packages}", f"ssh {host} sudo apt install {packages}"
        )
    with tempfile.TemporaryDirectory() as folder:
        archive = wheels.runtime_archive(platform, Path(folder) / "runtime.tar.gz")
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        remote = board.send(host, archive)
        try:
            board.run(host, ["sh", "-c", _UNPACK, "sh", remote, digest, prefix], program="tar")
        finally:
            board.discard(host, remote)
    return digest


def platform_of(host: str) -> Platform:
    """What `host` is, by its own Python. Raises EdgepressError where there is none."""
    told = board.run(host, ["python3", "-c", _FACTS])
    try:
        machine, bits, major, minor, libc, version = json.loads(told)
        numbers = tuple(int(part) for part in version.split(".")[:2])
    except ValueError:
        raise EdgepressError(f"{host} answered something else than its Python does", f"try: ssh {host}") from None
    return Platform(machine, bits, (major, minor), libc or None, numbers if len(numbers) == 2 else None)
