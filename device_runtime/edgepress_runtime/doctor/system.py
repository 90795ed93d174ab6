"""The board, its system and its Python, and whether an engine runs there."""

from __future__ import annotations

from pathlib import Path

from edgepress_runtime.doctor.finding import Chapter, Here, Problem
from edgepress_runtime.doctor.wheels import fitting, quoted, version_text
from edgepress_runtime.kernel_files import text

_SIXTY_FOUR_BIT = frozenset(("aarch64", "arm64", "x86_64", "AMD64", "riscv64", "ppc64le", "s390x"))


def board(root: Path, here: Here) -> Chapter:
    """The model, its processors and memory."""
    model = text(root / "proc/device-tree/model") or text(root / "sys/devices/virtual/dmi/id/product_name")
    memory = _kilobytes(text(root / "proc/meminfo") or "", "MemTotal")
    cores = (text(root / "proc/cpuinfo") or "").count("processor\t")
    facts = {"model": model, "cores": cores or None, "memory_mb": None if memory is None else round(memory / 1000)}
    told = [model or "a machine that does not tell its name"]
    told += [f"{cores} cores"] if cores else []
    told += [f"{facts['memory_mb']} MB"] if memory else []
    return Chapter(", ".join(told), facts)


def system(root: Path, here: Here) -> Chapter:
    """The distribution, the kernel, and how many bits each has."""
    release = dict(line.split("=", 1) for line in (text(root / "etc/os-release") or "").splitlines() if "=" in line)
    name = release.get("PRETTY_NAME", "").strip('"') or None
    kernel_bits = 64 if here.platform.machine in _SIXTY_FOUR_BIT else 32
    facts = {
        "name": name,
        "kernel": here.kernel,
        "machine": here.platform.machine,
        "kernel_bits": kernel_bits,
        "userland_bits": here.platform.bits,
    }
    mixed = "" if kernel_bits == here.platform.bits else f" below {here.platform.bits}-bit programs"
    return Chapter(
        f"{name or 'an unnamed system'}, kernel {here.kernel} ({here.platform.machine}, {kernel_bits}-bit{mixed})",
        facts,
    )


def python(root: Path, here: Here) -> Chapter:
    """This Python, and the engine's wheel that fits it."""
    version = version_text(here.platform.python)
    fit = fitting(here.platform)
    facts = {
        "version": version,
        "executable": here.python,
        "bits": here.platform.bits,
        "libc": here.platform.libc,
        "libc_version": version_text(here.platform.libc_version),
        "wheel": fit.requirements[0] if fit.requirements else None,
        "reason": fit.reason or None,
    }
    wheel = f"what fits it: {' '.join(fit.requirements)}" if fit.requirements else "no engine fits it"
    # Without a wheel an engine that somebody built may still run: the next chapter tells.
    problems = [Problem(fit.reason, "python3.13 -m venv ~/edgepress")] if fit.requirements and fit.reason else []
    return Chapter(f"{version} ({here.platform.bits}-bit) at {here.python}; {wheel}", facts, problems)


def engine(root: Path, here: Here) -> Chapter:
    """Whether a model runs, and with the fast kernels."""
    found = here.engine
    facts = {"name": found.name, "numpy": found.numpy, "xnnpack": found.xnnpack, "error": found.error}
    if found.error is not None:
        return Chapter("no model runs", facts, [Problem(found.error, _install(here) or found.remedy, stops=True)])
    problems = []
    thirty_two = here.platform.bits == 32
    if not found.xnnpack and not thirty_two:  # tflite-runtime's 32-bit wheels come without
        problems.append(
            Problem("the engine runs without XNNPACK, its fast kernels", f"{here.pip} install -U ai-edge-litert")
        )
    fast = "with" if found.xnnpack else "without"
    return Chapter(f"{found.name}, numpy {found.numpy}, {fast} XNNPACK: a model ran", facts, problems)


def _install(here: Here) -> str:
    fit = fitting(here.platform)
    if not fit.requirements:
        return f"none can be installed: {fit.reason}"
    return f"{here.pip} install {quoted(fit.requirements)}"


def _kilobytes(meminfo: str, key: str) -> int | None:
    for line in meminfo.splitlines():
        name, _, value = line.partition(":")
        if name == key and value.split():
            return int(value.split()[0])
    return None
