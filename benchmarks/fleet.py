"""A fleet of 50 boards, each a real sshd on loopback with a store of its own: 5 are dead, 2 are full.

    python benchmarks/fleet.py --bundle X.edge --out studies/fleet [--boards 50] [--dead 5] [--full 2]

A bundle goes to all of them at once, then the faults are mended and the same line runs again. Full boards have a store
on a file system of 96 kB (tmpfs; that part needs root and is left out without). The last line on stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


def keygen(path: Path) -> None:
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def serve(root: Path, number: int, port: int) -> subprocess.Popen[bytes]:
    """One board: an sshd of its own, with `edgepress-device` on its path."""
    home = root / f"board{number:02d}"
    (home / "bin").mkdir(parents=True, exist_ok=True)
    paths = os.pathsep.join(p for p in sys.path if p)
    device = home / "bin" / "edgepress-device"
    device.write_text(f'#!/bin/sh\nPYTHONPATH={paths} exec {sys.executable} -m edgepress_runtime "$@"\n')
    device.chmod(0o755)
    config = home / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {root}/host\nAuthorizedKeysFile {root}/user.pub\n"
        f"PasswordAuthentication no\nUsePAM no\nStrictModes no\nPermitRootLogin yes\nPidFile none\nMaxStartups 100\n"
        f"SetEnv PATH={home}/bin:/usr/bin:/bin XDG_CACHE_HOME={home}/cache\n"
    )
    return subprocess.Popen([SSHD, "-D", "-f", str(config)], stderr=subprocess.DEVNULL)


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def flash(bundle: Path, devices: Path, parallel: int) -> tuple[dict, float]:
    begin = time.monotonic()
    line = [sys.executable, "-m", "edgepress_convert.cli.app", "flash", str(bundle), "--fleet", str(devices)]
    done = subprocess.run(
        [*line, "--parallel", str(parallel), "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    if not done.stdout:
        sys.exit("the flash gave no answer")
    return json.loads(done.stdout), time.monotonic() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--boards", type=int, default=50)
    parser.add_argument("--dead", type=int, default=5)
    parser.add_argument("--full", type=int, default=2)
    parser.add_argument("--parallel", type=int, default=50)
    args = parser.parse_args()
    root = args.out.absolute()
    root.mkdir(parents=True, exist_ok=True)
    for name in ("host", "user"):
        keygen(root / name)
    Path("/run/sshd").mkdir(exist_ok=True)
    ports = free_ports(args.boards)
    names = [f"board{n:02d}" for n in range(args.boards)]
    dead = set(names[-args.dead :])
    full = set(names[1 : 1 + args.full]) if os.geteuid() == 0 else set()
    servers = {n: serve(root, i, ports[i]) for i, n in enumerate(names) if n not in dead}
    host_key = " ".join((root / "host.pub").read_text().split()[:2])
    (root / "known").write_text("".join(f"[127.0.0.1]:{port} {host_key}\n" for port in ports))
    common = f"HostName 127.0.0.1\nUserKnownHostsFile {root}/known\nIdentityFile {root}/user\nIdentitiesOnly yes\n"
    (root / "config").write_text("".join(f"Host {n}\nPort {p}\n{common}" for n, p in zip(names, ports, strict=True)))
    client = root / "client"
    client.mkdir(exist_ok=True)
    (client / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {root}/config "$@"\n')
    (client / "ssh").chmod(0o755)
    os.environ["PATH"] = f"{client}{os.pathsep}{os.environ['PATH']}"
    for name in full:
        (root / name / "store").mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "none", str(root / name / "store")], check=True)
    rows = [f'[[device]]\nhost = "{n}"\nroot = "{root}/{n}/store"\n' for n in names]
    (root / "devices.toml").write_text("\n".join(rows))
    try:
        first, first_s = flash(args.bundle, root / "devices.toml", args.parallel)
        expected = (args.boards - len(dead) - len(full), dead | full)
        assert (len(first["done"]), set(first["failed"])) == expected, first
        for name in full:
            subprocess.run(["umount", str(root / name / "store")], check=True)
        for i, name in enumerate(names):
            if name in dead:
                servers[name] = serve(root, i, ports[i])
        time.sleep(2)
        second, second_s = flash(args.bundle, root / "devices.toml", args.parallel)
        assert set(second["done"]) == dead | full and not second["failed"], second
        assert len(second["had_it"]) == expected[0]
    finally:
        for server in servers.values():
            server.terminate()
        for name in full:
            subprocess.run(["umount", str(root / name / "store")], check=False, stderr=subprocess.DEVNULL)
    told = {"boards": args.boards, "dead": len(dead), "full": len(full), "first_s": round(first_s, 1)}
    print(json.dumps({**told, "second_s": round(second_s, 1), "reasons": first["failed"]}))


if __name__ == "__main__":
    main()
