"""Emulated boards: whole arm64 and armhf user lands under QEMU, made of Debian's packages and the kit's own archive.

What runs there is what a board runs: the wheels that `edgepress flash` would send, under the board's own Python. The
default processor of QEMU 7 computes wrong int8 results through XNNPACK, so one is named. XNNPACK looks at /proc/cpuinfo
and /sys/devices/system/cpu; QEMU shows the host's, so a Raspberry Pi 4's are put in their place.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgepress_convert import wheels
from edgepress_runtime.doctor.wheels import Platform

_CPUINFO = "".join(
    f"processor\t: {n}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\n"
    "CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n"
    for n in range(4)
)


@dataclass(frozen=True)
class Kind:
    """One kind of board: Debian's name of the architecture and the release, and the platform that pip sees there."""

    arch: str
    suite: str
    platform: Platform
    packages: tuple[str, ...]

    @property
    def qemu(self) -> str:
        return "qemu-aarch64-static" if self.arch == "arm64" else "qemu-arm-static"

    @property
    def python(self) -> str:
        return f"python3.{self.platform.python[1]}"


_BASE = ("base-files", "python3", "dash", "coreutils", "ca-certificates", "libstdc++6")
KINDS = {
    "arm64-trixie": Kind("arm64", "trixie", Platform("aarch64", 64, (3, 13), "glibc", (2, 41)), _BASE),
    "arm64-bookworm": Kind("arm64", "bookworm", Platform("aarch64", 64, (3, 11), "glibc", (2, 36)), _BASE),
    "armhf-bookworm": Kind(
        "armhf", "bookworm", Platform("armv7l", 32, (3, 11), "glibc", (2, 36)), (*_BASE, "python3-numpy", "python3-pil")
    ),
}


def missing(kind: Kind) -> str:
    """What this machine lacks to emulate `kind`; empty for nothing."""
    programs = ("mmdebstrap", kind.qemu)
    lacking = [name for name in programs if shutil.which(name) is None]
    if lacking:
        return f"needs {' and '.join(lacking)} (apt install mmdebstrap qemu-user-static)"
    return "" if os.geteuid() == 0 else "mmdebstrap unpacks as root"


def fingerprint(kind: Kind) -> str:
    """What tells trees apart: Debian's part of `kind`. Our own packages are unpacked anew for every run."""
    return hashlib.sha256(repr((kind, _CPUINFO)).encode()).hexdigest()[:12]


def build(kind: Kind, root: Path) -> None:
    """Make the tree of `kind` at `root`: nothing of it is run while it is made."""
    partial = root.with_name(f"{root.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    line = ["mmdebstrap", "--quiet", "--mode=root", "--variant=extract", f"--arch={kind.arch}"]
    # Nothing here meets a network, and mirrors of the security archive are often behind for other architectures
    line += ["--setup-hook=sed -i /security/d $1/etc/apt/sources.list"]
    subprocess.run([*line, f"--include={','.join(kind.packages)}", kind.suite, str(partial)], check=True)
    for name in ("bin", "sbin", "lib"):  # what the first boot of Debian would do
        if not (partial / name).exists():
            (partial / name).symlink_to(f"usr/{name}")
    if not (partial / "bin" / "sh").exists():
        (partial / "bin" / "sh").symlink_to("dash")
    if kind.arch == "arm64":
        _write(partial / "proc" / "cpuinfo", _CPUINFO)
        for name, text in (("possible", "0-3"), ("present", "0-3"), ("online", "0-3"), ("kernel_max", "3")):
            _write(partial / "sys" / "devices" / "system" / "cpu" / name, f"{text}\n")
    partial.rename(root)


def provide(kind: Kind, root: Path, target: Path) -> Path:
    """Unpack below `target` what `edgepress flash` sends to such a board; gives the folder of libraries."""
    archive = wheels.runtime_archive(kind.platform, target / "runtime.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(target, filter="data")
    return target / "lib"


def python(
    kind: Kind, root: Path, libraries: Path, words: Sequence[str | Path], *, timeout_s: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run the board's Python with `words`; the host's files are there, too, under their own paths."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "QEMU_CPU": "cortex-a72", "PYTHONDONTWRITEBYTECODE": "1"}
    if kind.arch == "armhf":
        numeric = f"{root}/usr/lib/arm-linux-gnueabihf"
        environment |= {"QEMU_CPU": "cortex-a15", "LD_LIBRARY_PATH": f"{numeric}/blas:{numeric}/lapack"}
    environment["PYTHONPATH"] = str(libraries)
    line = [kind.qemu, "-L", str(root), f"{root}/usr/bin/{kind.python}", *map(str, words)]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="ascii")
