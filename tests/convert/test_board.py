"""A board over SSH, against a real sshd on this machine."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgepress_convert import board
from edgepress_runtime.errors import EdgepressError

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/sbin")
SSH = shutil.which("ssh")
pytestmark = pytest.mark.skipif(not (SSHD and SSH), reason="needs openssh-server and openssh-client")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory):
    """`board`, an alias in an SSH configuration of our own, behind which is a real sshd with `edgepress-device`."""
    root = tmp_path_factory.mktemp("sshd")
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


def test_words_arrive_as_they_were(host):
    words = ["a b", "$HOME", "it's", '"quoted"', "*", "; false"]
    assert board.run(host, ["printf", "%s\\n", *words]).splitlines() == words


def test_a_bundle_is_measured_there_and_nothing_is_left(host, bundle_file):
    before = set(Path("/tmp").glob("edgepress-*.edge"))
    result = board.bench(host, bundle_file, runs=5)
    assert result["latency_ms"]["p50"] > 0
    assert len(result["samples_ms"]) == 5
    assert set(Path("/tmp").glob("edgepress-*.edge")) == before


def test_a_bad_bundle_is_told_in_the_boards_words(host, tmp_path):
    (tmp_path / "bad.edge").write_bytes(b"PK\x03\x04 no bundle")
    with pytest.raises(EdgepressError, match=r"^on board: "):
        board.bench(host, tmp_path / "bad.edge", runs=5)


@pytest.mark.parametrize(
    ("name", "sentence", "remedy"),
    [
        ("unknown", "unknown cannot be reached: Host key verification failed", "compare the key's fingerprint"),
        ("closed", "closed cannot be reached: ", "ssh-copy-id closed"),
        ("off", "off cannot be reached: ", "is the board's SSH switched on?"),
        ("-oProxyCommand=touch x", "'-oProxyCommand=touch x' is no host", "pi@board.local"),
    ],
)
def test_hosts_that_cannot_be_reached(host, name, sentence, remedy):
    with pytest.raises(EdgepressError) as caught:
        board.run(name, ["true"])
    assert caught.value.what.startswith(sentence)
    assert remedy in caught.value.remedy


def test_a_board_without_the_runtime(host):
    with pytest.raises(EdgepressError) as caught:
        board.run(host, ["edgepress-none"])
    assert caught.value.what == "board has no edgepress-none"
