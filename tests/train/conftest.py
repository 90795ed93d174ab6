"""Small real data for training tests: folders of generated pictures that a tiny net can tell apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def stripes(rng: np.random.Generator, *, vertical: bool, size: int = 24) -> np.ndarray:
    """A (size, size, 3) uint8 picture of stripes in a random phase, with noise."""
    wave = 128 + 90 * np.sin(np.arange(size) * 0.9 + rng.uniform(0, 6))
    plane = np.broadcast_to(wave if vertical else wave[:, None], (size, size))
    noisy = plane[..., None] + rng.normal(0, 12, (size, size, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _write(root: Path, counts: dict[str, int], *, seed: int = 0) -> Path:
    """`counts[class]` pictures a class: class names beginning with "v" get vertical stripes, others horizontal ones."""
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(stripes(rng, vertical=name.startswith("v"))).save(root / name / f"{number:03d}.png")
    return root


@pytest.fixture(scope="session")
def write_pictures():
    return _write


@pytest.fixture
def pictures(tmp_path):
    return _write(tmp_path / "pictures", {"horizontal": 40, "vertical": 40})
