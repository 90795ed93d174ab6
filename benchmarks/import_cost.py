"""What `import edgepress_runtime` adds to starting Python and importing numpy, in alternating processes.

    python benchmarks/import_cost.py [--repeats 40]

The mark is a ratio of at most 1.1. Module by module the cost is printed too: it shows what an app pays that needs them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

MARK = 1.1
BASE = "import numpy"
CASES = {
    "numpy": BASE,
    "edgepress_runtime": "import numpy, edgepress_runtime",
    "edgepress_runtime alone": "import edgepress_runtime",
    "edgepress_runtime.bundle": "import numpy, edgepress_runtime.bundle",
    "edgepress_runtime.store": "import numpy, edgepress_runtime.store",
    "edgepress_runtime.cli": "import numpy, edgepress_runtime.cli",
}


def seconds(code: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begin


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40)
    args = parser.parse_args()
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for code in CASES.values():
        seconds(code)  # compile and cache
    for _ in range(args.repeats):
        for name, code in CASES.items():
            times[name].append(seconds(code))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratio = medians["edgepress_runtime"] / medians["numpy"]
    result = {
        "ratio": round(ratio, 3),
        "mark": MARK,
        "met": ratio <= MARK,
        "ms": {name: round(value * 1e3, 1) for name, value in medians.items()},
    }
    print(json.dumps(result))
    return 0 if result["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
