"""Words that are not whole, as examples of what is no keyword: beginnings, ends, and halves in the wrong order.

They have the voices of the words themselves. Without them a net may learn who speaks in place of what is said: the best
voices say the words, and cheap ones most of the rest. A stream's window also sees every word come and go.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgepress_train.data.speech_examples import Clip
from edgepress_train.data.windows import Span, spoken

_PART = (0.3, 0.55)  # of a word is left: less than its half, or hardly more
_FADE_S = 0.005  # at a cut, so that a click does not tell it


def broken(clips: Sequence[Clip], label: int, *, rate_hz: int, seed: int = 0) -> list[Clip]:
    """One example with `label` of each of `clips`: its beginning, its end or its halves swapped, in turn.

    The result holds nothing of what was said before and after the word.
    """
    found = []
    for number, clip in enumerate(clips):
        span = spoken(clip.samples, rate_hz) if clip.span is None else clip.span
        word = clip.samples[max(0, span.start) : span.stop]
        length = round(len(word) * np.random.default_rng([seed, 19, number]).uniform(*_PART))
        if not 0 < length < len(word):
            continue
        kind = number % 3
        parts = (word[:length],) if kind == 0 else (word[-length:],) if kind == 1 else (word[length:], word[:length])
        samples = np.concatenate([_faded(part, round(_FADE_S * rate_hz)) for part in parts])
        found.append(Clip(samples, label, span=Span(0, len(samples))))
    return found


def _faded(part: np.ndarray, length: int) -> np.ndarray:
    """`part` (n,) int16 with `length` samples faded at both ends."""
    ramp = np.ones(len(part), np.float32)
    length = min(length, len(part) // 2)
    ramp[:length] = np.linspace(0, 1, length, endpoint=False)
    ramp[len(part) - length :] = np.linspace(1, 0, length, endpoint=False)
    return np.rint(part * ramp).astype(np.int16)
