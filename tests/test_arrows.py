"""The house's import arrows: apps -> runtime, train -> runtime, convert -> train and runtime, and no others."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = {
    "edgepress_runtime": ("device_runtime", set()),
    "edgepress_apps": ("apps", {"edgepress_runtime"}),
    "edgepress_train": ("train", {"edgepress_runtime"}),
    "edgepress_convert": ("convert", {"edgepress_runtime", "edgepress_train"}),
}


def imported_packages(source: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("package", PARTS)
def test_a_part_imports_only_what_its_arrows_allow(package):
    folder, allowed = PARTS[package]
    files = sorted((ROOT / folder / package).rglob("*.py"))
    assert files
    for file in files:
        forbidden = (imported_packages(file.read_text(encoding="utf-8")) & PARTS.keys()) - allowed - {package}
        assert not forbidden, f"{file.relative_to(ROOT)} imports {sorted(forbidden)}"


def test_the_board_side_names_no_heavy_library():
    heavy = {"tensorflow", "tf_keras", "keras", "scipy", "cv2", "torch", "pandas", "matplotlib"}
    for folder, package in (("device_runtime", "edgepress_runtime"), ("apps", "edgepress_apps")):
        for file in sorted((ROOT / folder / package).rglob("*.py")):
            if file.name == "engine.py":  # falls back to a full TensorFlow where only that is installed
                continue
            assert not imported_packages(file.read_text(encoding="utf-8")) & heavy, file


def test_keras_is_taken_from_its_one_door():
    for folder, package in (("train", "edgepress_train"), ("convert", "edgepress_convert")):
        for file in sorted((ROOT / folder / package).rglob("*.py")):
            if file.name != "keras2.py":
                found = imported_packages(file.read_text(encoding="utf-8"))
                assert not found & {"tf_keras", "tensorflow_model_optimization"}, file


def test_a_forbidden_arrow_would_be_seen():
    assert imported_packages("def f():\n    from edgepress_train.run import load\n    import edgepress_apps.web") == {
        "edgepress_train",
        "edgepress_apps",
    }


def test_help_loads_no_tensorflow():
    script = (
        "import sys\n"
        "from edgepress_convert.cli.app import main\n"
        "sys.argv = ['edgepress', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'tensorflow', 'tf_keras', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
