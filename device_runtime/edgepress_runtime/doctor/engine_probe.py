"""A process of its own that loads the engine and runs a model of eight weights: what is wrong kills it, not the doctor.

python -m edgepress_runtime.doctor.engine_probe
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import zlib

from edgepress_runtime.doctor.finding import Engine

TIMEOUT_S = 120.0  # a Pi Zero 2 W with a cold card takes its time
# (1, 4) float32 times ((1, 2, 3, 4), (-1, 0, 1, 0)): small, and of a kind that XNNPACK takes.
_MODEL = (
    "eNpNUDEOwjAMvKYRatWoysDAyB9gRIKJiYGBgYGBkQcwwNbnMPIDnhbOjgNpe3F9PtvXLgCc9ocVMGKOiICOjGcGZsCRuDRAy+iIDREg14xKz1PU"
    "wFK5actjx4eYBB/8ebxSSo3NDb9tXucJd5ZdxJUQ3Vx7R42iHcxX5tFFe/d65x7x2Oa65sl2Osth9RuxNu9vajr7LtE8K71TPmqteC26Eu+mczYv"
    "2F+E6evZj2p28RytZ6h6+my1/wLhUhfR"
)
_GIVEN, _ANSWER = (1.0, 1.0, 1.0, 2.0), [14.0, 0.0]
_XNNPACK_LINE = "XNNPACK delegate"


def probe() -> Engine:
    """What the engine of this very Python does in a new process."""
    words = [sys.executable, "-m", "edgepress_runtime.doctor.engine_probe"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONSAFEPATH": "1"}
    try:
        done = subprocess.run(
            words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Engine(
            error=f"the engine did not load within {TIMEOUT_S:.0f} s", remedy="look whether the board is busy"
        )
    except OSError as error:
        return Engine(error=f"Python cannot be started again: {error.strerror}", remedy="look at free memory")
    heard = done.stderr.decode("utf-8", "replace")
    if done.returncode < 0:
        return Engine(error=f"the engine crashes ({_signal(-done.returncode)})", remedy="")
    try:
        told = json.loads(done.stdout)
        return Engine(**{**told, "xnnpack": None if told["error"] else _XNNPACK_LINE in heard})
    except (ValueError, TypeError, KeyError):
        last = (heard.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return Engine(error=f"the engine does not load: {last}")


def main() -> int:
    """Run the model and print an `Engine` as JSON; XNNPACK is known by the engine's own line on stderr."""
    from edgepress_runtime.errors import EdgepressError

    name = version = None
    error: str | None = None
    remedy = ""
    try:
        import numpy as np

        from edgepress_runtime.engine import open_engine

        version = np.__version__
        with open_engine(zlib.decompress(base64.b64decode(_MODEL)), threads=1, verbose=True) as engine:
            name = engine.name
            (answer,) = engine.run(np.array([_GIVEN], np.float32))
        if answer.tolist() != [_ANSWER]:
            error = f"the engine computes wrong: {answer.tolist()} instead of {[_ANSWER]}"
    except EdgepressError as failure:
        error, remedy = failure.what, failure.remedy
    except ImportError as failure:
        error, remedy = " ".join(str(failure).split()), ""
    print(json.dumps({"name": name, "numpy": version, "error": error, "remedy": remedy}))  # noqa: T201  its answer
    return 0


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


if __name__ == "__main__":
    sys.exit(main())
