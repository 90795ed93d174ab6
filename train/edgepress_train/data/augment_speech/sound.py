"""What augmentation works on: samples in which something lies between two marks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edgepress_runtime.errors import EdgepressError

RATE_HZ = 16000


@dataclass(frozen=True)
class Sound:
    """`samples` (n,) float32, full scale 1, at 16 kHz; what it is about lies in [begin, end)."""

    samples: np.ndarray
    begin: int
    end: int

    @staticmethod
    def of(samples: np.ndarray, begin: int = 0, end: int | None = None) -> Sound:
        """Samples of int16, or float32 with full scale 1, as a sound. Raises EdgepressError for other shapes."""
        if samples.ndim != 1:
            raise EdgepressError(f"a sound is one row of samples, not an array of shape {samples.shape}")
        plain = samples.astype(np.float32) / 32768 if samples.dtype == np.int16 else samples.astype(np.float32)
        return Sound(plain, begin, len(plain) if end is None else end)

    def int16(self) -> np.ndarray:
        """(n,) int16, saturating."""
        return np.clip(np.round(self.samples * 32767), -32768, 32767).astype(np.int16)

    def at(self, samples: np.ndarray) -> Sound:
        """Other samples of the same length, the same marks."""
        return replace(self, samples=samples)

    @property
    def level(self) -> float:
        """Root mean square between the marks, of what is not silent there."""
        part = self.samples[self.begin : self.end]
        if not len(part):
            return 0.0
        square = np.square(part)
        return float(np.sqrt(square[square > square.max() * 1e-3].mean())) if square.max() > 0 else 0.0


def span(text: str, name: str, *, low: float, high: float) -> tuple[float, float]:
    """`-12..6` as (-12.0, 6.0). Raises EdgepressError unless low <= first <= second <= high."""
    first, dots, second = text.partition("..")
    try:
        if not dots:
            raise ValueError
        begin, end = float(first), float(second)
    except ValueError:
        raise EdgepressError(f"augmentation {name!r}: {text!r} is no range", "write it as 5..20") from None
    if not low <= begin <= end <= high:
        raise EdgepressError(f"augmentation {name!r}: {text} is out of reach", f"a range within {low:g}..{high:g}")
    return begin, end
