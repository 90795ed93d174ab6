"""A PulseAudio server of the test's own, without a sound card: what is played into its sink can be recorded again."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path


class Pulse:
    """`start` and `kill` the server; `environment` is what leads a client to it and to its microphone."""

    def __init__(self, folder: Path) -> None:
        (folder / "pulse").mkdir(mode=0o700)
        self.environment = {
            "XDG_RUNTIME_DIR": str(folder),
            "HOME": str(folder),
            "PULSE_RUNTIME_PATH": str(folder / "pulse"),
            "PULSE_STATE_PATH": str(folder / "state"),
            "PULSE_SERVER": f"unix:{folder}/pulse/native",
            "PULSE_SOURCE": "mic.monitor",
        }
        self._all = {**os.environ, **self.environment}
        self._players: list[subprocess.Popen[bytes]] = []
        self.server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = ["pulseaudio", "--daemonize=no", "--exit-idle-time=-1", "-n", "-L", "module-native-protocol-unix"]
        command += ["-L", "module-null-sink sink_name=mic"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.server = subprocess.Popen(command, env=self._all, **quiet)
        for _ in range(200):
            if subprocess.run(["pactl", "info"], env=self._all, check=False, timeout=20, **quiet).returncode == 0:
                return
            time.sleep(0.05)
        raise AssertionError("PulseAudio does not answer")

    def play(self, file: Path) -> None:
        """Begin to play a sound file into the sink."""
        command = ["paplay", "--device=mic", str(file)]
        self._players.append(subprocess.Popen(command, env=self._all, stderr=subprocess.DEVNULL))

    def kill(self) -> None:
        for process in (*self._players, self.server):
            if process is not None:
                process.kill()
                process.wait()
        self._players, self.server = [], None
