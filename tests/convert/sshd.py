"""A real sshd on this machine, and a client that knows it, for tests of what goes over SSH."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/sbin")
SSH = shutil.which("ssh")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def served(root: Path) -> Iterator[str]:
    """`board`, an alias in an SSH configuration of our own, behind which is a real sshd with `edgepress-device`.

    Beside it `unknown` (its key is not known), `closed` (ours is not accepted) and `off` (nobody listens).
    """
    if not (SSHD and SSH):
        pytest.skip("needs openssh-server and openssh-client")
    keygen(root / "host")
    keygen(root / "user")
    keygen(root / "stranger")
    port, programs = free_port(), root / "bin"
    programs.mkdir()
    device = programs / "edgepress-device"
    paths = os.pathsep.join(p for p in sys.path if p)
    device.write_text(f'#!/bin/sh\nPYTHONPATH={paths} exec {sys.executable} -m edgepress_runtime "$@"\n')
    device.chmod(0o755)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    (root / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {root}/host\nAuthorizedKeysFile {root}/user.pub\n"
        f"PasswordAuthentication no\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPidFile none\n"
        f"SetEnv PATH={programs}:/usr/bin:/bin\n"
    )
    host_key = (root / "host.pub").read_text().split()[:2]
    (root / "known").write_text(f"[127.0.0.1]:{port} {' '.join(host_key)}\n")
    common = f"HostName 127.0.0.1\nPort {port}\nUser {getpass.getuser()}\nIdentitiesOnly yes\n"
    (root / "config").write_text(
        f"Host board\n{common}UserKnownHostsFile {root}/known\nIdentityFile {root}/user\n"
        f"Host unknown\n{common}UserKnownHostsFile {root}/nobody\nIdentityFile {root}/user\n"
        f"Host closed\n{common}UserKnownHostsFile {root}/known\nIdentityFile {root}/stranger\n"
        f"Host off\nHostName 127.0.0.1\nPort {free_port()}\n"
    )
    # OpenSSH finds its configuration by the passwd entry, not by HOME
    ours = root / "client"
    ours.mkdir()
    (ours / "ssh").write_text(f'#!/bin/sh\nexec {SSH} -F {root}/config "$@"\n')
    (ours / "ssh").chmod(0o755)
    server = subprocess.Popen([str(SSHD), "-D", "-e", "-f", str(root / "sshd_config")], stderr=subprocess.DEVNULL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{ours}{os.pathsep}{os.environ['PATH']}")
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield "board"
    server.terminate()
    server.wait()
