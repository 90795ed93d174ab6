"""What a board says about itself: through its own `edgepress-device doctor`, or where that is missing through `sh`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from edgepress_convert import board
from edgepress_runtime.doctor.examine import examine as look
from edgepress_runtime.doctor.examine import here, told
from edgepress_runtime.doctor.wheels import Fit, Platform, fitting, version_text
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.store import Store

TIMEOUT_S = 180.0
# Every line but those of edgepress-device itself is a name, a tab and a value; `sh` and coreutils are enough.
_SCRIPT = r"""
PATH="$HOME/.local/bin:$HOME/edgepress/bin:$PATH"
told=$(edgepress-device doctor --json 2>/dev/null)
if [ -n "$told" ]; then printf '%s\n' "$told"; exit 0; fi
say() { printf '%s\t%s\n' "$1" "$2"; }
say device "$(command -v edgepress-device)"
say machine "$(uname -m)"
say kernel "$(uname -r)"
say model "$(tr -d '\000' 2>/dev/null < /proc/device-tree/model)"
say os "$(sed -n 's/^PRETTY_NAME=//p' /etc/os-release 2>/dev/null)"
say libc "$(getconf GNU_LIBC_VERSION 2>/dev/null)"
say bits "$(getconf LONG_BIT 2>/dev/null)"
say python "$(python3 -c 'import struct, sys
print("%d.%d" % sys.version_info[:2], struct.calcsize("P") * 8)' 2>/dev/null)"
"""


def examine(host: str | None) -> dict[str, Any]:
    """The keys of `edgepress-device doctor --json`, with `host` and `asked` (`edgepress-device` or `sh`).

    None is this machine. Of a board without `edgepress-device` there are `board`, `system` and `python` only, and its
    absence is a problem that stops models. Raises EdgepressError for a host that cannot be reached.
    """
    if host is None:
        return {"host": "this machine", "asked": "edgepress-device", **told(look(here(Store().root)))}
    answer = board.run(host, ["sh", "-c", _SCRIPT], timeout_s=TIMEOUT_S, program="sh")
    if answer.lstrip().startswith("{"):
        try:
            return {"host": host, "asked": "edgepress-device", **json.loads(answer)}
        except ValueError:
            raise EdgepressError(
                f"{host} answered something else than a diagnosis", f"try: ssh {host} edgepress-device doctor"
            ) from None
    facts = dict(line.split("\t", 1) for line in answer.splitlines() if "\t" in line)
    return {"host": host, "asked": "sh", **diagnosis(host, facts)}


def diagnosis(host: str, facts: Mapping[str, str]) -> dict[str, Any]:
    """What follows from the bare answers `machine`, `kernel`, `model`, `os`, `libc`, `bits`, `python` and `device`."""
    platform = _platform(facts)
    fit = None if platform is None else fitting(platform)
    return {
        "ok": False,
        "problems": [{"about": "engine", "stops": True, **_problem(host, facts, platform, fit)}],
        "board": {"model": facts.get("model") or None},
        "system": {
            "name": facts.get("os", "").strip('"') or None,
            "kernel": facts.get("kernel") or None,
            "machine": facts.get("machine") or None,
            "userland_bits": platform.bits if platform else _whole(facts.get("bits", "")),
        },
        "python": {
            "version": version_text(platform.python) if platform else None,
            "bits": platform.bits if platform else None,
            "libc": platform.libc if platform else None,
            "libc_version": version_text(platform.libc_version) if platform else None,
            "wheel": fit.requirements[0] if fit and fit.requirements else None,
            "reason": (fit.reason or None) if fit else None,
        },
    }


def _problem(host: str, facts: Mapping[str, str], platform: Platform | None, fit: Fit | None) -> dict[str, str]:
    if platform is None or fit is None:
        return {"what": "there is no Python 3", "remedy": f"ssh {host} sudo apt install python3-venv"}
    if fit.requirements and fit.reason:
        return {"what": fit.reason, "remedy": f"ssh {host} python3.13 -m venv --system-site-packages edgepress"}
    if fit.reason:
        return {"what": fit.reason, "remedy": "write that system onto the card, or use another board"}
    if facts.get("device"):
        what = f"{facts['device']} is too old to examine its board"
        return {"what": what, "remedy": f"ssh {host} rm {facts['device']} && edgepress flash X.edge {host}"}
    return {"what": "edgepress-device is not installed", "remedy": f"edgepress flash X.edge {host}"}  # brings it along


def _platform(facts: Mapping[str, str]) -> Platform | None:
    words = facts.get("python", "").split()
    version = words[0].split(".") if words else []
    if len(version) != 2 or len(words) != 2 or not all(part.isdigit() for part in (*version, words[1])):
        return None
    name, _, number = facts.get("libc", "").partition(" ")
    parts = number.split(".")
    known = len(parts) >= 2 and all(part.isdigit() for part in parts[:2])
    return Platform(
        machine=facts.get("machine", ""),
        bits=int(words[1]),
        python=(int(version[0]), int(version[1])),
        libc=name or None,
        libc_version=(int(parts[0]), int(parts[1])) if known else None,
    )


def _whole(text: str) -> int | None:
    return int(text) if text.strip().isdigit() else None
