"""A board over SSH: the system's own OpenSSH, with the user's configuration and known hosts. The only SSH there is.

Nothing is asked on the way: a host whose key is not known, or that wants a password, is refused with what to do.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgepress_runtime.errors import EdgepressError

CONNECT_S = 15
_OPTIONS = ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_S}", "-o", "ServerAliveInterval=15")
_FAILED = 255  # ssh's own exit code, for whatever went wrong before the command ran


def run(host: str, command: Sequence[str], *, stdin: Path | None = None, timeout_s: float | None = None) -> str:
    """What `command` printed on `host`. Raises EdgepressError in the board's words, or in SSH's."""
    if shutil.which("ssh") is None:
        raise EdgepressError("there is no ssh here, and boards are reached through it", "apt install openssh-client")
    if host.startswith("-"):
        raise EdgepressError(f"{host!r} is no host", "write it as pi@board.local")
    line = ["ssh", *_OPTIONS, host, "--", shlex.join(command)]
    try:
        with stdin.open("rb") if stdin is not None else _nothing() as source:
            done = subprocess.run(line, stdin=source, capture_output=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise EdgepressError(f"{host} did not finish within {timeout_s:g} s", "look whether it is busy") from None
    complaints = done.stderr.decode("utf-8", "replace")
    if done.returncode == _FAILED:
        raise _unreachable(host, complaints)
    if done.returncode:
        raise _refused(host, command[0], done.returncode, complaints)
    return done.stdout.decode("utf-8", "replace")


def bench(host: str, bundle: Path, *, runs: int = 200, threads: int = 1) -> dict[str, Any]:
    """What `edgepress-device bench` measures of `bundle` on `host`, where nothing is left behind."""
    remote = f"/tmp/edgepress-{uuid.uuid4().hex}.edge"
    run(host, ["sh", "-c", f"umask 077; cat > {remote}"], stdin=bundle)
    try:
        told = run(
            host, ["edgepress-device", "bench", remote, "--runs", str(runs), "--threads", str(threads), "--json"]
        )
    finally:
        run(host, ["rm", "-f", remote])
    try:
        result: dict[str, Any] = json.loads(told)
    except ValueError:
        raise EdgepressError(
            f"{host} answered something else than a measurement", "update edgepress-runtime there"
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
        return EdgepressError(f"{host} has no {program}", "pip install edgepress-runtime there")
    told = dict(line.split(": ", 1) for line in complaints.splitlines() if line.startswith(("error: ", "tip: ")))
    ended = f"{program} ended with exit code {code}"
    return EdgepressError(f"on {host}: {told.get('error', ended)}", told.get("tip", ""))
