"""Sound through the spotter that ships: what it scores and what it reports, clip by clip, each a stream of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress_runtime.audio import SUFFIXES, AudioError, load
from edgepress_runtime.clips import BACKGROUND
from edgepress_runtime.detect import Detection, Detector, smooth
from edgepress_runtime.engine import Engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import Manifest
from edgepress_runtime.spot import Spotter
from edgepress_train.data.dataset import Skipped

BLOCK_MS = 80  # the sound comes in blocks of this length, as from a microphone

Mix = Callable[[np.ndarray, slice], np.ndarray]  # a stream, and where the clip lies in it -> the stream with noise


@dataclass(frozen=True)
class Heard:
    """One clip as a stream, with silence of a whole window before and behind it.

    `rows` (steps, labels) float32 are the scores from the first full window on, `averages` the same smoothed, as they
    meet the thresholds. `detections` count seconds from where the clip begins. `seconds` is the clip's own length and
    `cpu_s` the processor time that all of it took, silence included, `listened_s` long.
    """

    rows: np.ndarray
    averages: np.ndarray
    detections: tuple[Detection, ...]
    seconds: float
    listened_s: float
    cpu_s: float


class Listener:
    """Hears clips with `engine` as `manifest` says. One at a time."""

    def __init__(self, engine: Engine, manifest: Manifest) -> None:
        assert manifest.detection is not None
        self.manifest = manifest
        self.detection = manifest.detection
        self.spotter = _Recorder(engine, manifest)
        self.deaf = round(np.ceil(self.detection.refractory_ms / self.spotter.step_ms - 1e-6))

    def hear(self, samples: np.ndarray, *, mix: Mix | None = None) -> Heard:
        """A clip (n,) int16 at the model's rate; with `mix`, noise over all of the stream."""
        spotter = self.spotter
        around = spotter.window_samples
        sound = np.pad(samples, around)
        if mix is not None:
            sound = mix(sound, slice(around, around + len(samples)))
        spotter.reset()
        block = spotter.rate_hz * BLOCK_MS // 1000
        found: list[Detection] = []
        begin = time.process_time()
        for start in range(0, len(sound), block):
            found += spotter.push(sound[start : start + block])
        cpu_s = time.process_time() - begin
        rows = np.concatenate(spotter.kept)[spotter.first_row :]
        lead_s = around / spotter.rate_hz
        return Heard(
            rows=rows,
            averages=smooth(rows, self.detection, spotter.step_ms),
            detections=tuple(d._replace(start_s=d.start_s - lead_s, end_s=d.end_s - lead_s) for d in found),
            seconds=len(samples) / spotter.rate_hz,
            listened_s=len(sound) / spotter.rate_hz,
            cpu_s=cpu_s,
        )

    def replay(self, rows: np.ndarray, thresholds: Mapping[str, float]) -> list[str]:
        """The labels that would be reported for `Heard.rows` with other thresholds, in order."""
        detector = Detector(self.manifest.labels, thresholds, self.detection, self.spotter.step_ms)
        found = (detector.push(row, 0.0) for row in rows.tolist())
        return [detection.label for detection in found if detection is not None]


class _Recorder(Spotter):
    """A spotter that keeps the scores of its stream."""

    def reset(self) -> None:
        super().reset()
        self.kept: list[np.ndarray] = []

    def scores(self, samples: np.ndarray) -> np.ndarray:
        rows = super().scores(samples)
        self.kept.append(rows)
        return rows


def keywords(labels: Iterable[str]) -> tuple[str, ...]:
    """The labels that a spotter may report: all but those of the background."""
    return tuple(label for label in labels if label not in BACKGROUND)


def joined(averages: Sequence[np.ndarray], deaf: int) -> np.ndarray:
    """Streams of one label's averages (steps,) as one, with silence between them in which a detector recovers."""
    gap = np.zeros(deaf + 1, np.float32)
    parts = [part for one in averages for part in (gap, one)]
    return np.concatenate(parts) if parts else gap


def events(averages: np.ndarray, threshold: float, deaf: int) -> int:
    """How often one label alone fires on averages (steps,), by the rules of `Detector`, which is `deaf` for so long."""
    above = averages >= np.float32(threshold)
    highs, lows = np.flatnonzero(above), np.flatnonzero(~above)
    count = now = 0
    while (place := np.searchsorted(highs, now)) < len(highs):
        count += 1
        recovered = np.searchsorted(lows, highs[place] + deaf)
        if recovered == len(lows):
            break
        now = lows[recovered]
    return count


def find_positives(folder: Path, spotted: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """Clips by keyword: `folder` holds one folder a keyword, or clips of the only keyword. Raises EdgepressError."""
    _exists(folder)
    found = {entry.name: _sounds(entry) for entry in sorted(folder.iterdir()) if entry.is_dir()}
    found = {name: paths for name, paths in found.items() if paths}
    direct = tuple(path for path in _sounds(folder) if path.parent == folder)
    if direct and not found:
        if len(spotted) != 1:
            raise EdgepressError(
                f"{folder} holds clips, but the bundle knows {len(spotted)} keywords: {', '.join(spotted)}",
                "put the clips of each keyword into a folder with its name",
            )
        return {spotted[0]: direct}
    strange = sorted(set(found) - set(spotted))
    if strange or not found:
        what = f"{folder} has the folder {strange[0]!r}" if strange else f"{folder} holds no sound"
        raise EdgepressError(f"{what}; the bundle spots {', '.join(spotted)}", f"known endings: {' '.join(SUFFIXES)}")
    return found


def find_sounds(folder: Path) -> tuple[Path, ...]:
    """All sound below `folder`, sorted. Raises EdgepressError for a folder without any."""
    _exists(folder)
    found = _sounds(folder)
    if not found:
        raise EdgepressError(f"{folder} holds no sound", f"known endings: {' '.join(SUFFIXES)}")
    return found


def load_each(paths: Iterable[Path], rate_hz: int, skipped: list[Skipped]) -> Iterator[tuple[Path, np.ndarray]]:
    """Every file that can be read, as (n,) int16 at `rate_hz`; the others are added to `skipped`."""
    for path in paths:
        try:
            samples = load(path, rate_hz)
        except AudioError as error:
            skipped.append(Skipped(str(path), error.what))
            continue
        if len(samples):
            yield path, samples
        else:
            skipped.append(Skipped(str(path), "it holds no sound"))


def _exists(folder: Path) -> None:
    if not folder.is_dir():
        what = f"{folder} is a file" if folder.exists() else f"{folder} does not exist"
        raise EdgepressError(what, "give a folder of recordings")


def _sounds(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file()))
