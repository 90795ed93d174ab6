"""Which engine fits which board: what pip itself said of PyPI's wheels, board by board."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgepress_runtime.doctor.wheels import Platform, fitting, quoted

LITERT, OLD = ("ai-edge-litert",), ("ai-edge-litert==2.1.0",)
TFLITE = ("tflite-runtime==2.14.0", "numpy<2")


@pytest.mark.parametrize(
    ("board", "requirements"),
    [
        (Platform("aarch64", 64, (3, 11), "glibc", (2, 36)), LITERT),
        (Platform("aarch64", 64, (3, 13), "glibc", (2, 41)), LITERT),
        (Platform("x86_64", 64, (3, 10), "glibc", (2, 35)), LITERT),
        (Platform("aarch64", 64, (3, 9), "glibc", (2, 31)), OLD),  # 64-bit Pi OS Bullseye
        (Platform("armv7l", 32, (3, 11), "glibc", (2, 36)), TFLITE),
        (Platform("aarch64", 32, (3, 11), "glibc", (2, 36)), TFLITE),  # 32-bit Pi OS below a 64-bit kernel
        (Platform("armv8l", 32, (3, 10), "glibc", (2, 36)), TFLITE),
    ],
)
def test_what_fits(board, requirements):
    fit = fitting(board)
    assert (tuple(fit.requirements), fit.reason) == (requirements, "")


@pytest.mark.parametrize(
    ("board", "reason"),
    [
        (
            Platform("armv7l", 32, (3, 13), "glibc", (2, 41)),
            "there is no engine for 32-bit Python 3.13; what fits: a 64-bit Raspberry Pi OS (ai-edge-litert), "
            "or 32-bit Raspberry Pi OS Bookworm with its Python 3.11 (tflite-runtime 2.14)",
        ),
        (
            Platform("armv7l", 32, (3, 9), "glibc", (2, 31)),
            "tflite-runtime==2.14.0 needs glibc 2.34, and this system has 2.31; "
            "what fits: Raspberry Pi OS Bookworm or newer",
        ),
        (
            Platform("armv6l", 32, (3, 11), "glibc", (2, 36)),
            "there is no engine for ARMv6 (Pi Zero and Pi 1); what fits: a Pi Zero 2 W or newer",
        ),
        (
            Platform("aarch64", 64, (3, 15), "glibc", (2, 41)),
            "there is no engine for Python 3.15; what fits: Python 3.9 to 3.13",
        ),
        (
            Platform("aarch64", 64, (3, 12), "musl"),
            "the engines' wheels need glibc, and this system has musl: Raspberry Pi OS fits",
        ),
        (
            Platform("riscv64", 64, (3, 12), "glibc", (2, 41)),
            "there is no engine for 64-bit riscv64; what fits: a 64-bit Raspberry Pi OS (ai-edge-litert), "
            "or 32-bit Raspberry Pi OS Bookworm with its Python 3.11 (tflite-runtime 2.14)",
        ),
        (Platform("i686", 32, (3, 11), "glibc", (2, 36)), "there is no engine for 32-bit i686; what fits: "),
    ],
)
def test_what_does_not_fit_and_what_would(board, reason):
    fit = fitting(board)
    assert fit.requirements == ()
    assert fit.reason.startswith(reason)


def test_an_engine_without_our_own_wheel():
    fit = fitting(Platform("aarch64", 64, (3, 14), "glibc", (2, 41)))
    assert (fit.requirements, fit.reason) == (LITERT, "edgepress-runtime is for Python 3.9 to 3.13, not 3.14")


def test_requirements_survive_a_shell():
    words = [sys.executable, "-c", "import sys; print(sys.argv[1:])"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {quoted(TFLITE)}', "sh", *words], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['tflite-runtime==2.14.0', 'numpy<2']\n"
