"""Cameras, microphones and sensors: what the kernel has found, and what its users still lack."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from edgepress_runtime.doctor.finding import Chapter, Here, Problem
from edgepress_runtime.kernel_files import numbered, text, whole
from edgepress_runtime.meters.reading import Silent
from edgepress_runtime.meters.sources import find

# Video devices of a Pi that are no cameras: codecs, image processors, decoders.
_NO_CAMERAS = ("bcm2835-codec", "bcm2835-isp", "rpi-hevc-dec", "rpivid", "pispbe", "rpi-codec")
_PORTS = ("unicam", "rp1-cfe")  # receivers of the camera ribbon; libcamera speaks to them
_LIBCAMERA = ("usr/bin/rpicam-hello", "usr/bin/libcamera-hello", "usr/bin/cam", "usr/lib/*/libcamera.so*")
_PICAMERA2 = "usr/lib/python3/dist-packages/picamera2"
_RATES = re.compile(r"^\s*Rates:\s*(.+)$", re.MULTILINE)


def cameras(root: Path, here: Here) -> Chapter:
    """Webcams by their V4L2 names, and cameras on the ribbon with the stack that they need."""
    webcams, ports = [], []
    for folder in numbered(root, "sys/class/video4linux/video*"):
        name = text(folder / "name") or "unnamed"
        if name.startswith(_PORTS):
            ports.append(name)
        elif not name.startswith(_NO_CAMERAS) and not (whole(folder / "index") or 0):  # index 1: a webcam's metadata
            webcams.append({"device": f"/dev/{folder.name}", "name": name})
    subdevices = [_sensor(folder) for folder in numbered(root, "sys/class/video4linux/v4l-subdev*")]
    sensors = [name for name in subdevices if name is not None]
    libcamera = any(True for pattern in _LIBCAMERA for _ in root.glob(pattern))
    picamera2 = "picamera2" in here.modules
    facts = {"v4l2": webcams, "ribbon": sensors, "libcamera": libcamera, "picamera2": picamera2}
    problems = []
    if ports and not sensors:
        problems.append(
            Problem(
                "no camera answers on the ribbon", "sudo poweroff, seat the ribbon again, and start; then: rpicam-hello"
            )
        )
    if sensors and not libcamera:
        problems.append(Problem("the ribbon's camera needs libcamera", "sudo apt install rpicam-apps-lite"))
    if sensors and not picamera2:
        if (root / _PICAMERA2).exists():
            remedy = f"python3 -m venv --system-site-packages {_venv(here)}"
            problems.append(Problem("picamera2 is installed, but not for this venv", remedy))
        else:
            problems.append(Problem("the ribbon's camera needs picamera2", "sudo apt install python3-picamera2"))
    missing = [cam["device"] for cam in webcams if not (root / cam["device"].lstrip("/")).exists()]
    if missing:
        problems.append(
            Problem(f"{', '.join(missing)} is known to the kernel but missing in /dev", "sudo udevadm trigger")
        )
    told = [f"{cam['name']} ({cam['device']})" for cam in webcams] + [f"{name} (ribbon)" for name in sensors]
    return Chapter(", ".join(told) or "none", facts, problems)


def microphones(root: Path, here: Here) -> Chapter:
    """Sound cards that record, with the rates that their hardware has, where ALSA tells them."""
    found: list[dict[str, Any]] = []
    for folder in numbered(root, "proc/asound/card[0-9]*"):
        inputs = numbered(folder, "pcm*c")
        if not inputs:
            continue
        number = int(folder.name[len("card") :])
        info = dict(line.split(": ", 1) for line in (text(inputs[0] / "info") or "").splitlines() if ": " in line)
        found.append(
            {
                "card": number,
                "id": text(folder / "id"),
                "name": info.get("name") or info.get("id") or text(folder / "id"),
                "rates_hz": _rates(folder),
            }
        )
    problems = []
    if found and "sounddevice" not in here.modules:
        problems.append(Problem("listening needs sounddevice", f"{here.pip} install 'edgepress-apps[mic]'"))
    if found and not any(True for _ in root.glob("usr/lib/*/libportaudio.so*")):
        problems.append(Problem("listening needs PortAudio", "sudo apt install libportaudio2"))
    told = [f"{mic['name']} (hw:{mic['card']}, {_told_rates(mic['rates_hz'])})" for mic in found]
    return Chapter(", ".join(told) or "none", {"cards": found}, problems)


def sensors(root: Path, here: Here) -> Chapter:
    """Power meters and temperatures."""
    meters = [meter for kind in find(root).values() for meter in kind]
    heat = []
    for zone in numbered(root, "sys/class/thermal/thermal_zone*"):
        value = whole(zone / "temp")
        heat.append({"zone": text(zone / "type") or zone.name, "c": None if value is None else round(value / 1e3, 1)})
    chips = [text(folder / "name") or folder.name for folder in numbered(root, "sys/class/hwmon/hwmon*")]
    silent = [meter for meter in meters if isinstance(meter, Silent)]
    power = [meter.source for meter in meters if not isinstance(meter, Silent)]
    problems = [Problem(meter.reason, meter.remedy or "it is not needed to run models") for meter in silent]
    facts = {"power": power, "power_silent": [m.source for m in silent], "temperatures": heat, "hwmon": chips}
    told = [f"power: {', '.join(power) or 'none, so bench tells no energy'}"]
    told += [f"{zone['zone']} {zone['c']} °C" for zone in heat if zone["c"] is not None]
    return Chapter("; ".join(told), facts, problems)


def _sensor(folder: Path) -> str | None:
    """The name of an image sensor, such as `imx708_wide` in `imx708_wide 10-001a`; None for what is no sensor."""
    found = re.fullmatch(r"(\S+) \d+-[0-9a-f]{4}", text(folder / "name") or "")
    lens = found is not None and found[1].startswith(("dw9807", "dw9817", "ak73", "ad5398"))
    return None if found is None or lens else found[1]


def _rates(card: Path) -> list[int] | None:
    """What the hardware can do: USB cards say so in stream*, HD Audio in codec#*; others only when they are opened."""
    found: set[int] = set()
    for stream in numbered(card, "stream*"):
        for line in _RATES.findall((text(stream) or "").partition("Capture:")[2]):
            found |= {int(number) for number in re.findall(r"\d{4,6}", line)}
    for codec in numbered(card, "codec#*"):
        for node in re.split(r"^Node ", text(codec) or "", flags=re.MULTILINE):
            if "[Audio Input]" in node:
                found |= {int(n) for line in re.findall(r"rates \[0x[0-9a-f]+\]: (.+)", node) for n in line.split()}
    return sorted(found) or None


def _told_rates(rates: list[int] | None) -> str:
    return "its rates are told only when it is opened" if rates is None else f"{', '.join(map(str, rates))} Hz"


def _venv(here: Here) -> str:
    return str(Path(here.python).parent.parent)
