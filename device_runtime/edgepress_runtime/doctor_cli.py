"""`edgepress-device doctor`."""

from __future__ import annotations

import argparse

from edgepress_runtime.lines import json_line

EXAMPLES = {"doctor": "edgepress-device doctor --json"}


def doctor(args: argparse.Namespace) -> int:
    """Look over this board: what it is, whether models run on it, and the command that mends each problem."""
    from edgepress_runtime.doctor.examine import examine, here, lines, told
    from edgepress_runtime.store import Store

    chapters = examine(here(Store(args.root).root))
    value = told(chapters)
    print(json_line(value) if args.json else "\n".join(lines(chapters)))
    return 0 if value["ok"] else 1
