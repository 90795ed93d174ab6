"""The bundles of the host's own tests, and boards to run them on."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.convert.conftest import (  # noqa: F401  (fixtures)
    bundle_file,
    colours,
    made,
    network,
    representative,
    speech_run,
    spotter_file,
    spotter_net,
)
from tests.emulated import boards


@dataclass(frozen=True)
class Board:
    """An emulated board; `python` runs its Python."""

    kind: boards.Kind
    root: Path
    libraries: Path

    def python(self, *words: str | Path, ok: bool = True) -> subprocess.CompletedProcess[str]:
        done = boards.python(self.kind, self.root, self.libraries, words)
        assert not ok or done.returncode == 0, done.stderr
        return done

    def device(self, *words: str | Path) -> dict:
        return json.loads(self.python("-m", "edgepress_runtime", *words, "--json").stdout)


@pytest.fixture(scope="session", params=boards.KINDS)
def board(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Board:
    """Each emulated board; Debian's trees are kept in $EDGEPRESS_EMULATED, else in the user's cache."""
    kind = boards.KINDS[request.param]
    lacking = boards.missing(kind)
    if lacking:
        pytest.skip(lacking)
    home = Path(os.environ.get("EDGEPRESS_EMULATED") or Path.home() / ".cache" / "edgepress" / "emulated")
    root = home / f"{request.param}-{boards.fingerprint(kind)}"
    if not root.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        boards.build(kind, root)
    return Board(kind, root, boards.provide(kind, root, tmp_path_factory.mktemp(request.param)))
