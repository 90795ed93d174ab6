"""Sound from one rate to another: a windowed sinc, in a stream or at once, the same bits on every machine.

Coefficients are whole multiples of 2^-22 and samples are whole numbers, so every sum is exact in float64: no order of
adding, no chunking of the stream and no processor changes a bit. Output m lies at m * from_hz / to_hz input samples, so
there is no delay between the two. With N half the lower rate, the filter is flat to 0.01 dB up to 7/8 N and at least
70 dB down from N on: nothing that could be heard is folded back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from edgepress_runtime.errors import EdgepressError

LOWEST_HZ, HIGHEST_HZ = 4_000, 192_000
# Kaiser's design (Oppenheim and Schafer, Discrete-Time Signal Processing, 7.5.3): 2 * _HALF samples at the lower rate
# give a transition of 1/16 of that rate with 72.5 dB, for which his beta is 0.1102 * (72.5 - 8.7).
_HALF = 36
_CUTOFF = 15 / 16  # the middle of the transition, in N
_BETA = 0.1102 * (72.5 - 8.7)
_ONE = 1 << 22  # the unit of coefficients: their rounding is 110 dB down
_LARGEST = 1 << 21  # numbers in a table: 16 MB
_BLOCK = 1 << 16  # samples at once
_PRODUCT = 1 << 17  # multiplications at once; from twice as many on OpenBLAS takes threads, which gain nothing
_STEP = 8  # bytes of a float64


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """A whole clip, (n,) int16 at `from_hz`, at `to_hz`: (round(n * to_hz / from_hz),) int16, halves rounded up.

    It is a stream of one chunk. Raises EdgepressError for other arrays and for rates outside 4,000 to 192,000 Hz.
    """
    resampler = Resampler(from_hz, to_hz)
    return np.concatenate((resampler.push(samples), resampler.flush()))


class Resampler:
    """A stream at `from_hz`, both whole numbers of 4,000 to 192,000, that comes out at `to_hz`.

    What comes out in total does not depend on how the samples are cut into chunks. It lags behind what went in by 36
    samples of the lower rate, and by up to about 32 of the output, which are computed together.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        for rate in (from_hz, to_hz):
            if not LOWEST_HZ <= rate <= HIGHEST_HZ:
                raise EdgepressError(f"a rate of {rate} Hz is outside {LOWEST_HZ} to {HIGHEST_HZ} Hz")
        self.from_hz, self.to_hz = from_hz, to_hz
        self._work: _Groups | _Singles | None = None
        if from_hz != to_hz:
            bank = _bank(from_hz, to_hz)
            self._work = _Groups(bank) if isinstance(bank, _GroupBank) else _Singles(bank)
        self._taken = self._given = 0

    def reset(self) -> None:
        """Forget everything: the next sample begins a new stream."""
        if self._work is not None:
            self._work.reset()
        self._taken = self._given = 0

    def push(self, samples: np.ndarray) -> np.ndarray:
        """(n,) int16, any n -> (m,) int16: what these samples complete, saturated at the ends of int16."""
        if samples.ndim != 1 or samples.dtype != np.int16:
            raise EdgepressError(f"sound should be int16 in one dimension, not {samples.dtype} {list(samples.shape)}")
        if self._work is None:
            return samples.copy()
        self._taken += len(samples)
        if len(samples) <= _BLOCK:
            found = _stored(self._work.push(samples))
        else:
            blocks = [samples[at : at + _BLOCK] for at in range(0, len(samples), _BLOCK)]
            found = np.concatenate([_stored(self._work.push(block)) for block in blocks])
        self._given += len(found)
        return found

    def flush(self) -> np.ndarray:
        """The end of the stream, as if silence followed: (m,) int16, what is missing to round(n * to_hz / from_hz).

        The next sample begins a new stream.
        """
        found = np.empty(0, np.int16)
        if self._work is not None:
            missing = (2 * self._taken * self.to_hz + self.from_hz) // (2 * self.from_hz) - self._given
            silence = np.zeros(self._work.width, np.int16)
            while len(found) < missing:
                found = np.concatenate((found, _stored(self._work.push(silence))))
            found = found[:missing]
        self.reset()
        return found


def _stored(real: np.ndarray) -> np.ndarray:
    """Rounded, halves to even, and saturated; `real` is used up."""
    np.rint(real, out=real)
    np.maximum(real, -32768.0, out=real)
    np.minimum(real, 32767.0, out=real)
    return real.astype(np.int16)


@dataclass(frozen=True)
class _GroupBank:
    """Filters of a cycle of `inputs` samples, as `groups` matrices that each give neighbouring outputs at once.

    Matrix g multiplies the `width` samples that begin at g * stride in the cycle; those of the next cycle follow.
    """

    inputs: int
    groups: int
    stride: int
    weights: np.ndarray  # (2 * groups, width, outputs of a group) float64
    before: int  # zeros before the stream


@dataclass(frozen=True)
class _SingleBank:
    """Filters of so many phases between two input samples, the nearest of which is taken for each output.

    For ratios of so large numbers that a filter for each output of a cycle would not fit into memory. An output is off
    its place by at most 1 / 20,000 of a sample of the lower rate, which is 76 dB down; it costs ten times as much.
    """

    up: int
    down: int
    weights: np.ndarray  # (phases + 1, width) float64
    before: int


class _Groups:
    """The state of a stream through a _GroupBank."""

    def __init__(self, bank: _GroupBank) -> None:
        self._bank = bank
        self.width = bank.weights.shape[1]
        self._rows = max(1, _PRODUCT // bank.weights[0].size)
        self.reset()

    def reset(self) -> None:
        self._waiting = np.zeros(self._bank.before)  # begins where the next group does
        self._group = 0  # its number in the cycle

    def push(self, samples: np.ndarray) -> np.ndarray:
        waiting = np.concatenate((self._waiting, samples))
        bank, first = self._bank, self._group
        groups = bank.groups
        base = first * bank.stride  # of `waiting` in the cycle
        cycles, rest = divmod(base + len(waiting) - self.width, bank.inputs)
        stop = cycles * groups + min(rest // bank.stride + 1, groups)
        if stop <= first:
            self._waiting = waiting
            return waiting[:0]
        found = []
        while first < stop:
            cycle, group = divmod(first, groups)
            count = min(groups, stop - first)
            rows = min((stop - first) // count, self._rows)  # cycles at once, whichever group they begin with
            # Made by hand, since as_strided takes longer than the product.
            frames = np.ndarray(
                (count, rows, self.width),
                np.float64,
                waiting,
                (cycle * bank.inputs + group * bank.stride - base) * _STEP,
                (bank.stride * _STEP, bank.inputs * _STEP, _STEP),
            )
            product = np.matmul(frames, bank.weights[group : group + count])
            found.append((product if rows == 1 else product.transpose(1, 0, 2)).reshape(-1))
            first += rows * count
        cycle, self._group = divmod(stop, groups)
        self._waiting = waiting[cycle * bank.inputs + self._group * bank.stride - base :].copy()
        return found[0] if len(found) == 1 else np.concatenate(found)


class _Singles:
    """The state of a stream through a _SingleBank."""

    def __init__(self, bank: _SingleBank) -> None:
        self._bank = bank
        self.width = bank.weights.shape[1]
        self.reset()

    def reset(self) -> None:
        self._waiting = np.zeros(self._bank.before)  # begins where the next output's filter does
        self._phase = 0  # of it, in 1 / up

    def push(self, samples: np.ndarray) -> np.ndarray:
        waiting = np.concatenate((self._waiting, samples))
        bank = self._bank
        room = len(waiting) - self.width
        count = 0 if room < 0 else ((room + 1) * bank.up - self._phase - 1) // bank.down + 1
        found = np.empty(count)
        frames = np.lib.stride_tricks.sliding_window_view(waiting, self.width) if count else waiting
        block = max(1, (_LARGEST >> 3) // self.width)
        for at in range(0, count, block):
            places = self._phase + np.arange(at, min(count, at + block)) * bank.down
            phases = (places % bank.up * (len(bank.weights) - 1) + bank.up // 2) // bank.up
            np.einsum("ij,ij->i", frames[places // bank.up], bank.weights[phases], out=found[at : at + block])
        start, self._phase = divmod(self._phase + count * bank.down, bank.up)
        self._waiting = waiting[start:].copy()
        return found


@lru_cache(maxsize=4)
def _bank(from_hz: int, to_hz: int) -> _GroupBank | _SingleBank:
    common = math.gcd(from_hz, to_hz)
    up, down = to_hz // common, from_hz // common
    half = math.ceil(_HALF * max(1.0, from_hz / to_hz))
    outputs = _together(up)
    cycle = max(up, outputs)
    inputs, groups = cycle * down // up, cycle // outputs
    if inputs < groups:
        groups, outputs = 1, cycle
    stride = inputs // groups
    places = np.arange(2 * cycle) * down
    offsets = (places // up).reshape(2 * groups, outputs) - np.arange(2 * groups)[:, np.newaxis] * stride
    width = int(offsets.max()) + 2 * half
    if outputs == 1 or 2 * cycle * width > _LARGEST:
        phases = max(1, min(up, _LARGEST // (2 * half)))
        return _SingleBank(up, down, _filters(np.arange(phases + 1) / phases, from_hz, to_hz, half), half - 1)
    filters = _filters(places[:cycle] % up / up, from_hz, to_hz, half).reshape(groups, outputs, 2 * half)
    weights = np.zeros((2 * groups, width, outputs))
    for group, output in np.ndindex(2 * groups, outputs):
        start = offsets[group, output]
        weights[group, start : start + 2 * half, output] = filters[group % groups, output]
    return _GroupBank(inputs, groups, stride, weights, half - 1)


def _together(up: int) -> int:
    """How many outputs to compute at once: about 16 share most of their samples, so few products are with zero."""
    if up < 16:
        return up * -(-16 // up)
    return next((n for n in (*range(16, 33), *range(15, 7, -1)) if up % n == 0), 1)


def _filters(places: np.ndarray, from_hz: int, to_hz: int, half: int) -> np.ndarray:
    """The sinc under Kaiser's window around each of `places`, given in samples after index half - 1.

    (n,) -> (n, 2 * half) float64. Each adds up to exactly 1, so that a constant stays what it is.
    """
    lower = min(1.0, to_hz / from_hz)
    times = (np.arange(1 - half, half + 1) - places[:, np.newaxis]) * lower
    window = np.i0(_BETA * np.sqrt(np.maximum(0, 1 - np.square(times / _HALF))))
    window[np.abs(times) >= _HALF] = 0
    real = np.sinc(_CUTOFF * times) * window
    whole = np.rint(real * (_ONE / real.sum(axis=1, keepdims=True)))
    whole[np.arange(len(whole)), np.abs(times).argmin(axis=1)] += _ONE - whole.sum(axis=1)
    return whole / _ONE
