"""What the board's wheel asks for, what importing it loads, and who may know whom inside."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import edgepress_runtime

PACKAGE = Path(edgepress_runtime.__file__).parent
MODULES = sorted(
    ".".join(p.relative_to(PACKAGE).with_suffix("").parts)
    for p in PACKAGE.rglob("*.py")
    if p.stem not in ("__init__", "__main__")
)
FORBIDDEN = ("tensorflow", "scipy", "cv2", "PIL", "sklearn", "pandas", "tf_keras", "keras", "soundfile")
ON_DEMAND = {"image.py": "PIL", "audio.py": "soundfile", "features.py": "pymicro_features", "trust.py": "cryptography"}
STANDARD = set(getattr(sys, "stdlib_module_names", ()))


@pytest.mark.parametrize("module", ["", *MODULES])
def test_importing_a_module_loads_nothing_heavy(environment, module):
    name = f"edgepress_runtime.{module}".rstrip(".")
    code = f"import sys, {name}; print(*sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & set(FORBIDDEN)
    if not module:
        assert "numpy" not in loaded


def test_running_a_model_loads_no_tensorflow(environment, make_bundle, tmp_path):
    make_bundle()
    code = "import sys; from edgepress_runtime.cli import main; main(['selftest', 'pets.edge']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout.split()) & set(FORBIDDEN)


def imports_of(path: Path):
    """(top-level package, True if inside a function) of every import in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    outer = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            yield name.split(".")[0], id(node) not in outer


@pytest.mark.skipif(not STANDARD, reason="Python 3.9 does not list its own modules")
def test_only_numpy_at_the_core_and_the_extras_on_demand():
    for path in PACKAGE.rglob("*.py"):
        for name, inside in imports_of(path):
            allowed = name in STANDARD or name in ("edgepress_runtime", "numpy", "__future__")
            assert allowed or (ON_DEMAND.get(path.name) == name and inside), f"{path.name} imports {name}"


def test_one_file_names_the_engine():
    naming = {p.name for p in PACKAGE.rglob("*.py") if "ai_edge_litert" in p.read_text(encoding="utf-8")}
    assert naming == {"engine.py"}


def test_the_store_never_imports_the_engine(environment):
    code = "import sys, edgepress_runtime.store; sys.exit('edgepress_runtime.engine' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_modules_stay_small():
    lengths = {p.name: len(p.read_text(encoding="utf-8").splitlines()) for p in PACKAGE.rglob("*.py")}
    assert max(lengths.values()) <= 250, lengths


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The board's wheel, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
    source = shutil.copytree(PACKAGE.parent, folder / "source", ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-cache-dir", "-w", folder, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("building a wheel needs setuptools from the package index")
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_asks_for_an_engine_and_numpy_only(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
        commands = archive.read(name.replace("METADATA", "entry_points.txt")).decode()
    required = {re.split(r"[ <>=;\[]", r)[0] for r in metadata.get_all("Requires-Dist") if "extra ==" not in r}
    assert required == {"numpy", "ai-edge-litert", "tflite-runtime"}
    assert set(metadata["Requires-Python"].split(",")) == {">=3.9", "<3.14"}
    assert set(metadata.get_all("Provides-Extra")) == {"image", "audio", "micro", "sign"}
    assert "edgepress-device = edgepress_runtime.cli:main" in commands


def test_the_wheel_is_pure_and_whole(wheel):
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {n for n in archive.namelist() if ".dist-info/" not in n}
    files = {p for p in PACKAGE.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    sources = {p.relative_to(PACKAGE.parent).as_posix() for p in files}
    assert packed == sources
