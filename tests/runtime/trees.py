"""Trees of plain files that look like the /proc, /sys and /etc of boards; texts are those of real ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from edgepress_runtime.doctor.finding import Engine, Here
from edgepress_runtime.doctor.wheels import Platform

PMIC = """\
 3V7_WL_SW_A current(0)=0.09368929A
   3V3_SYS_A current(1)=0.08783370A
   1V8_SYS_A current(2)=0.18054710A
  VDD_CORE_A current(7)=6.22421000A
      HDMI_A current(22)=0.02417580A
 3V7_WL_SW_V volt(8)=3.69977600V
   3V3_SYS_V volt(9)=3.31003300V
   1V8_SYS_V volt(10)=1.80512600V
  VDD_CORE_V volt(15)=0.86173300V
      HDMI_V volt(23)=5.08664000V
     EXT5V_V volt(24)=5.09066000V
      BATT_V volt(25)=0.00000000V
"""
USB_STREAM = """\
Trust GXT 232 at usb-0000:01:00.0-1.2, full speed : USB Audio

Playback:
  Status: Stop
  Interface 2
    Altset 1
    Rates: 8000, 96000

Capture:
  Status: Stop
  Interface 1
    Altset 1
    Format: S16_LE
    Channels: 1
    Endpoint: 0x84 (4 IN) (ASYNC)
    Rates: 44100, 48000
    Bits: 16
"""
HDA_CODEC = """\
Codec: Realtek ALC257
Node 0x02 [Audio Output] wcaps 0x41d: Stereo Amp-Out
  PCM:
    rates [0x60]: 44100 48000 192000
Node 0x08 [Audio Input] wcaps 0x10051b: Stereo Amp-In
  PCM:
    rates [0x560]: 44100 48000 96000
    bits [0xe]: 16 20 24
"""


def plant(root: Path, files: Mapping[str, str | int]) -> Path:
    """Write `files`, relative names and contents, below `root`."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n" if isinstance(content, int) else content, encoding="utf-8")
    return root


def program(root: Path, name: str, script: str) -> None:
    """A program in the tree, in `sh`."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def ina(
    root: Path, number: int = 0, *, name: str = "ina226", mv: int = 5000, ma: int = 1000, uw: int = 5_000_000
) -> Path:
    """An INA sensor's hwmon folder; values as the kernel's driver gives them."""
    folder = f"sys/class/hwmon/hwmon{number}"
    values = {"in0_input": 10, "in1_input": mv, "curr1_input": ma, "power1_input": uw, "shunt_resistor": 10000}
    plant(root, {f"{folder}/name": f"{name}\n", **{f"{folder}/{key}": value for key, value in values.items()}})
    return root / folder


def rapl(root: Path, *, name: str = "package-0", number: str = "0", uj: int = 0, most: int = 262_143_328_850) -> Path:
    """A powercap zone."""
    folder = f"sys/class/powercap/intel-rapl:{number}"
    plant(root, {f"{folder}/name": f"{name}\n", f"{folder}/energy_uj": uj, f"{folder}/max_energy_range_uj": most})
    return root / folder


def clocks(root: Path, *, cores: int, khz: int, most_khz: int, governor: str) -> None:
    """cpufreq of all cores."""
    for core in range(cores):
        folder = f"sys/devices/system/cpu/cpu{core}/cpufreq"
        plant(
            root,
            {
                f"{folder}/scaling_cur_freq": khz,
                f"{folder}/scaling_max_freq": most_khz,
                f"{folder}/scaling_governor": f"{governor}\n",
            },
        )


def heat(root: Path, milli: int, *, zone: int = 0, kind: str = "cpu-thermal") -> None:
    """A thermal zone, in thousandths of a degree."""
    folder = f"sys/class/thermal/thermal_zone{zone}"
    plant(root, {f"{folder}/type": f"{kind}\n", f"{folder}/temp": milli})


def cpuinfo(cores: int) -> str:
    return "".join(f"processor\t: {core}\nCPU part\t: 0xd03\n\n" for core in range(cores))


def zero_2_w(root: Path) -> Path:
    """A Pi Zero 2 W with 32-bit programs below a 64-bit kernel, a loose ribbon, a weak supply, and no microphone."""
    plant(
        root,
        {
            "proc/device-tree/model": "Raspberry Pi Zero 2 W Rev 1.0\0",
            "proc/cpuinfo": cpuinfo(4),
            "proc/meminfo": "MemTotal:         438268 kB\nMemFree:   100 kB\n",
            "etc/os-release": 'PRETTY_NAME="Raspbian GNU/Linux 12 (bookworm)"\nID=raspbian\n',
            "etc/group": "root:x:0:\nvideo:x:44:pi\naudio:x:29:\ngpio:x:993:pi\n",
            "sys/class/video4linux/video0/name": "unicam-image\n",
            "sys/class/video4linux/video10/name": "bcm2835-codec-decode\n",
            "sys/class/video4linux/video13/name": "bcm2835-isp-output0\n",
            "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
            "run/systemd/system/keep": "",
            "proc/asound/card0/id": "vc4hdmi\n",
            "proc/asound/card0/pcm0p/info": "name: MAI PCM\n",
        },
    )
    heat(root, 61224)
    clocks(root, cores=4, khz=600000, most_khz=1000000, governor="ondemand")
    return root


def pi_5(root: Path) -> Path:
    """A Pi 5 in good order: 64-bit Trixie, ribbon camera, USB microphone, INA226, PMIC."""
    plant(
        root,
        {
            "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
            "proc/cpuinfo": cpuinfo(4),
            "proc/meminfo": "MemTotal:        8254128 kB\n",
            "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
            "etc/group": "video:x:44:pi\naudio:x:29:pi\ngpio:x:993:pi\n",
            "sys/class/video4linux/video0/name": "rp1-cfe-csi2_ch0\n",
            "sys/class/video4linux/video19/name": "rpi-hevc-dec\n",
            "sys/class/video4linux/video20/name": "pispbe-input\n",
            "sys/class/video4linux/v4l-subdev0/name": "csi2\n",
            "sys/class/video4linux/v4l-subdev2/name": "imx708_wide 10-001a\n",
            "sys/class/video4linux/v4l-subdev3/name": "dw9807 10-000c\n",
            "usr/bin/rpicam-hello": "",
            "usr/lib/aarch64-linux-gnu/libportaudio.so.2": "",
            "run/systemd/system/keep": "",
            "run/systemd/timesync/synchronized": "",
            "proc/asound/card2/id": "Microphone\n",
            "proc/asound/card2/pcm0c/info": "card: 2\ndevice: 0\nid: USB Audio\nname: USB Audio\n",
            "proc/asound/card2/stream0": USB_STREAM,
        },
    )
    program(root, "usr/bin/vcgencmd", 'case "$1" in get_throttled) echo throttled=0x0;; *) cat "$0.pmic";; esac')
    plant(root, {"usr/bin/vcgencmd.pmic": PMIC})
    ina(root, 3)
    plant(root, {"sys/class/hwmon/hwmon0/name": "cpu_thermal\n", "sys/class/hwmon/hwmon0/temp1_input": 48000})
    heat(root, 48050)
    clocks(root, cores=4, khz=2400000, most_khz=2400000, governor="ondemand")
    return root


def pc(root: Path) -> Path:
    """An x86 PC with a webcam, HD Audio, RAPL for root alone, and intel_pstate's powersave."""
    plant(
        root,
        {
            "sys/devices/virtual/dmi/id/product_name": "ThinkPad X1\n",
            "proc/cpuinfo": "processor\t: 0\nmodel name\t: Intel(R) Core(TM)\n\nprocessor\t: 1\n",
            "proc/meminfo": "MemTotal:       16254128 kB\n",
            "etc/os-release": "PRETTY_NAME='Ubuntu 24.04 LTS'\n",
            "etc/group": "video:x:44:\naudio:x:29:\n",
            "sys/class/video4linux/video0/name": "HD Webcam C920\n",
            "sys/class/video4linux/video0/index": 0,
            "sys/class/video4linux/video1/name": "HD Webcam C920\n",
            "sys/class/video4linux/video1/index": 1,
            "dev/video0": "",
            "dev/video1": "",
            "proc/asound/card0/id": "PCH\n",
            "proc/asound/card0/pcm0c/info": "id: ALC257 Analog\nname: ALC257 Analog\n",
            "proc/asound/card0/codec#0": HDA_CODEC,
            "usr/lib/x86_64-linux-gnu/libportaudio.so.2": "",
            "run/systemd/system/keep": "",
            "run/chrony/chronyd.sock": "",
            "sys/devices/system/cpu/intel_pstate/status": "active\n",
        },
    )
    clocks(root, cores=2, khz=1800000, most_khz=4600000, governor="powersave")
    return root


def somebody(store: Path, **changes: object) -> Here:
    """The user `pi` of a healthy 64-bit board with Python 3.13; `changes` replace fields."""
    found = Here(
        platform=Platform("aarch64", 64, (3, 13), "glibc", (2, 41)),
        kernel="6.12.47+rpt-rpi-2712",
        python="/home/pi/edgepress/bin/python",
        pip="/home/pi/edgepress/bin/python -m pip",
        user="pi",
        groups=frozenset(("pi", "video", "audio", "gpio")),
        is_root=False,
        modules=frozenset(("picamera2", "sounddevice", "PIL")),
        engine=Engine("ai-edge-litert 2.3.0", "2.3.4", True),
        store=store,
        now=1795600000.0,  # 2026-11-25
    )
    return dataclasses.replace(found, **changes)  # type: ignore[arg-type]
