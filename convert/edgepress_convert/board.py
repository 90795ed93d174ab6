"""A board over SSH: the system's own OpenSSH, with the user's configuration and known hosts. The only SSH there is.

Nothing is asked on the way: a host whose key is not known, or that wants a password, is refused with what to do.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgepress_runtime.errors import EdgepressError

CONNECT_S = 15
_OPTIONS = ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}", "-o", "ServerAliveInterval=15")
# Where programs of a user without root lie; a session without a terminal seldom looks there
PATH = 'PATH="$HOME/.local/bin:$PATH"'
# The folder for copies, and how much of $1 has arrived
_PREPARE = (
    'umask 077; d="${XDG_CACHE_HOME:-$HOME/.cache}/edgepress/incoming"; mkdir -p "$d" && echo "$d" && '
    '{ wc -c < "$d/$1" 2>/dev/null || echo 0; }'
)
_FAILED = 255  # ssh's own exit code, for whatever went wrong before the command ran


def run(
    host: str, command: Sequence[str], *, stdin: Path | None = None, skip: int = 0, timeout_s: float | None = None,
    program: str = "",
) -> str:  # fmt: skip
    """What `command` printed on `host`; it reads the file `stdin` from byte `skip` on. `program` is what errors name.

    Raises EdgepressError in the board's words, or in SSH's.
    """
    if shutil.which("ssh") is None:
        raise EdgepressError("there is no ssh here, and boards are reached through it", "apt install openssh-client")
    if host.startswith("-"):
        raise EdgepressError(f"{host!r} is no host", "write it as pi@board.local")
    line = ["ssh", *_OPTIONS, host, "--", shlex.join(command)]
    try:
        with stdin.open("rb") if stdin is not None else _nothing() as source:
            os.lseek(source.fileno(), skip, os.SEEK_SET)
            done = subprocess.run(line, stdin=source, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise EdgepressError(f"{host} did not finish within {timeout_s:g} s", "look whether it is busy") from None
    complaints = done.stderr.decode("utf-8", "replace")
    if done.returncode == _FAILED:
        raise _unreachable(host, complaints)
    if done.returncode:
        raise _refused(host, program or command[0], done.returncode, complaints)
    return done.stdout.decode("utf-8", "replace")


def device(host: str, *words: str) -> dict[str, Any]:
    """What `edgepress-device WORDS... --json` answered on `host`. Raises EdgepressError in the board's words."""
    line = ["sh", "-c", f'{PATH} exec edgepress-device "$@"', "sh", *words, "--json"]
    told = run(host, line, program="edgepress-device")
    return _answer(host, told)


def send(host: str, file: Path) -> str:
    """Copy `file` into a folder of the user's own on `host` and give its path there; `discard` removes it.

    A copy that was interrupted goes on where it was. Raises EdgepressError; what arrived stays for the next try.
    """
    size, digest = file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest()
    name = f"{digest}{file.suffix}"
    told = run(host, ["sh", "-c", _PREPARE, "sh", name]).splitlines()
    there = int(told[1]) if len(told) == 2 and told[1].strip().isdigit() else 0
    remote = f"{told[0]}/{name}" if told else name
    if there > size:
        discard(host, remote)
        there = 0
    if there < size:
        run(host, ["sh", "-c", 'cat >> "$1"', "sh", remote], stdin=file, skip=there)
    if run(host, ["sha256sum", remote]).split()[:1] != [digest]:
        discard(host, remote)
        raise EdgepressError(f"{file} did not arrive whole on {host}", "run the same line again")
    return remote


def discard(host: str, remote: str) -> None:
    """Remove what `send` brought."""
    run(host, ["rm", "-f", remote])


def bench(host: str, bundle: Path, *, runs: int = 200, threads: int = 1) -> dict[str, Any]:
    """What `edgepress-device bench` measures of `bundle` on `host`, where nothing is left behind."""
    remote = send(host, bundle)
    try:
        return device(host, "bench", remote, "--runs", str(runs), "--threads", str(threads))
    finally:
        discard(host, remote)


def _answer(host: str, told: str) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(told)
    except ValueError:
        raise EdgepressError(
            f"{host} answered something else than edgepress-device does", "update edgepress-runtime there"
        ) from None
    return result


def _nothing() -> Any:
    return Path("/dev/null").open("rb")


def _unreachable(host: str, complaints: str) -> EdgepressError:
    last = next((line.strip() for line in reversed(complaints.splitlines()) if line.strip()), "no reason given")
    remedies = {
        "Host key verification failed": f"log in once with ssh {host} and compare the key's fingerprint",
        "Permission denied": f"let ssh in without a password: ssh-copy-id {host}",
        "Could not resolve": "check the name, or give the address",
        "Connection refused": "is the board's SSH switched on? (raspi-config, Interface Options)",
    }
    remedy = next((mend for words, mend in remedies.items() if words in complaints), f"try: ssh {host}")
    return EdgepressError(f"{host} cannot be reached: {last.rstrip('.')}", remedy)


def _refused(host: str, program: str, code: int, complaints: str) -> EdgepressError:
    if code == 127 or "not found" in complaints:
        ours = program.startswith("edgepress")
        mend = (
            "edgepress flash brings it; or pip install edgepress-runtime there" if ours else f"install {program} there"
        )
        return EdgepressError(f"{host} has no {program}", mend)
    if "No space left" in complaints:
        return EdgepressError(f"{host} has no space left", f"free some: ssh {host} df -h")
    told = dict(line.split(": ", 1) for line in complaints.splitlines() if line.startswith(("error: ", "tip: ")))
    ended = f"{program} ended with exit code {code}"
    return EdgepressError(f"on {host}: {told.get('error', ended)}", told.get("tip", ""))
