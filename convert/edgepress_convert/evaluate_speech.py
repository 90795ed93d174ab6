"""Judging keyword spotters as streams, the way they are used: words found, false alarms, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress_convert import evaluate_clips
from edgepress_convert.evaluate import Evaluation, Request
from edgepress_convert.noise import mixer
from edgepress_convert.spotting import Heard, Listener, events, find_positives, find_sounds, joined, load_each
from edgepress_convert.thresholds import at_most_per_hour
from edgepress_runtime.bundle import Bundle
from edgepress_runtime.detect import Detection
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_train.data.dataset import Skipped
from edgepress_train.data.windows import spoken
from edgepress_train.progress import Progress

MAX_LISTED = 100  # missed clips and false alarms that are named
# Evenly in the logarithm of the odds, since scores crowd at both ends
SWEEP = tuple(round(float(1 / (1 + np.exp(-x))), 4) for x in np.arange(-3.0, 5.6, 0.2))


@dataclass(frozen=True)
class StreamEvaluation:
    """The fields are the keys of `evaluate --json`; shares are 0 to 1, None where nothing was given to measure them on.

    Each clip of the positives is a stream of its own, with silence (or the noise asked for) of one window of the model
    before and behind it, and counts as found when its keyword is reported at least once. `per_keyword` maps each
    keyword to `clips`, `found`, `recall`, `threshold`, `false_alarms`, and `confused`: clips in which another keyword
    was reported. `repeats`: reports of a clip's keyword beyond the first.

    `negative_hours` is the length of the negatives themselves. `at_most_per_hour` bounds their rate of false alarms
    from above at 95 % confidence. `threshold` is the keyword's, or one a keyword where there are several. `det`: what
    other thresholds would give, one for all keywords, each keyword by itself. `latency_ms` counts from the end of the
    word, found by its loudness, to the report (`p50`, `p90`, `n`). `cpu_s_per_audio_s` is the time of everything from
    samples to reports, silence around clips included.
    """

    bundle: str
    digest: str
    clips: int
    recall: float | None
    per_keyword: Mapping[str, Mapping[str, Any]]
    negative_hours: float
    false_alarms: int | None
    false_alarms_per_hour: float | None
    at_most_per_hour: float | None
    threshold: float | Mapping[str, float]
    repeats: int
    latency_ms: Mapping[str, float] | None
    det: tuple[Mapping[str, Any], ...]
    cpu_s_per_audio_s: float
    model_bytes: int
    data: Mapping[str, Any]
    missed: tuple[Mapping[str, Any], ...]
    alarms: tuple[Mapping[str, Any], ...]
    example: Mapping[str, Any] | None
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class _Clip:
    """What is kept of one clip: `best` is the highest average of its own keyword (positives)."""

    path: Path
    word: str
    best: float
    detections: tuple[Detection, ...]
    word_end_s: float
    seconds: float
    listened_s: float
    cpu_s: float
    averages: np.ndarray


def judge(bundle: Bundle, request: Request, progress: Progress) -> Evaluation | StreamEvaluation:
    """Judge `bundle` as `request` says. Raises EdgepressError."""
    if request.data is not None:
        return evaluate_clips.judge(bundle, request.data, request.threads, progress)
    return _streams(bundle, request, progress)


def _streams(bundle: Bundle, request: Request, progress: Progress) -> StreamEvaluation:
    manifest, spec = bundle.manifest, evaluate_clips.speech_spec(bundle)
    thresholds = dict(manifest.thresholds)
    if not thresholds:
        raise EdgepressError(f"{manifest.name} has no thresholds, so it never reports anything", "convert it again")
    positives = find_positives(request.positives, tuple(thresholds)) if request.positives else {}
    negatives = find_sounds(request.negatives) if request.negatives else ()
    mix = mixer(request.noise, request.snr_db or 0.0, spec.rate_hz, seed=request.seed) if request.noise else None
    skipped: list[Skipped] = []
    with open_engine(bundle.model_source, threads=request.threads or 1) as engine:
        listener = Listener(engine, manifest)

        def hear(word: str, paths: Sequence[Path], about: str) -> list[_Clip]:
            found: list[_Clip] = []
            for path, samples in load_each(paths, spec.rate_hz, skipped):
                heard = listener.hear(samples, mix=mix(len(found)) if mix and word else None)
                end_s = spoken(samples, spec.rate_hz).stop / spec.rate_hz
                found.append(_clip(path, word, heard, manifest.labels, end_s))
                progress(about, len(found), len(paths), "")
            return found

        said = [clip for word, paths in positives.items() for clip in hear(word, paths, f"listening to {word}")]
        other = hear("", negatives, "listening to negatives")
    if not said and not other:
        raise EdgepressError("none of the recordings can be read", skipped[0].reason if skipped else "")
    hours = sum(clip.seconds for clip in other) / 3600
    alarms = [(clip, detection) for clip in other for detection in clip.detections]
    found = [clip for clip in said if _reports(clip)]
    given = bool(other)
    return StreamEvaluation(
        bundle=manifest.name,
        digest=bundle.digest,
        clips=len(said),
        recall=_share(len(found), len(said)),
        per_keyword={word: _keyword(word, said, alarms, thresholds[word], given) for word in thresholds},
        negative_hours=hours,
        false_alarms=len(alarms) if given else None,
        false_alarms_per_hour=len(alarms) / hours if hours else None,
        at_most_per_hour=at_most_per_hour(len(alarms), hours),
        threshold=next(iter(thresholds.values())) if len(thresholds) == 1 else thresholds,
        repeats=sum(len(_reports(clip)) - 1 for clip in found),
        latency_ms=_latency(found),
        det=_sweep(said, other, manifest.labels, tuple(thresholds), listener.deaf, hours),
        cpu_s_per_audio_s=sum(c.cpu_s for c in (*said, *other)) / sum(c.listened_s for c in (*said, *other)),
        model_bytes=len(bundle.model),
        data=_about(request, said, other, listener.spotter.window_s),
        missed=tuple(
            {"file": str(clip.path), "keyword": clip.word, "best": round(clip.best, 4)}
            for clip in said
            if not _reports(clip)
        )[:MAX_LISTED],
        alarms=tuple(
            {"file": str(clip.path), "keyword": d.label, "score": round(d.score, 4), "at_s": round(d.end_s, 2)}
            for clip, d in alarms
        )[:MAX_LISTED],
        example=_example(found or said, manifest.labels, thresholds, listener.spotter.step_ms),
        skipped=tuple(skipped),
    )


def _clip(path: Path, word: str, heard: Heard, labels: tuple[str, ...], word_end_s: float) -> _Clip:
    best = float(heard.averages[:, labels.index(word)].max(initial=0)) if word else 0.0
    return _Clip(
        path, word, best, heard.detections, word_end_s, heard.seconds, heard.listened_s, heard.cpu_s, heard.averages
    )


def _reports(clip: _Clip) -> list[Detection]:
    """The reports of a clip's own keyword."""
    return [detection for detection in clip.detections if detection.label == clip.word]


def _keyword(
    word: str, said: Sequence[_Clip], alarms: Sequence[tuple[_Clip, Detection]], threshold: float, given: bool
) -> dict[str, Any]:
    clips = [clip for clip in said if clip.word == word]
    found = sum(bool(_reports(clip)) for clip in clips)
    return {
        "clips": len(clips),
        "found": found,
        "recall": _share(found, len(clips)),
        "confused": sum(any(d.label != word for d in clip.detections) for clip in clips),
        "false_alarms": sum(detection.label == word for _, detection in alarms) if given else None,
        "threshold": threshold,
    }


def _latency(found: Sequence[_Clip]) -> dict[str, float] | None:
    waits = [1e3 * (_reports(clip)[0].end_s - clip.word_end_s) for clip in found]
    if not waits:
        return None
    return {"p50": float(np.median(waits)), "p90": float(np.quantile(waits, 0.9)), "n": len(waits)}


def _sweep(
    said: Sequence[_Clip], other: Sequence[_Clip], labels: tuple[str, ...], spotted: Sequence[str], deaf: int,
    hours: float,
) -> tuple[dict[str, Any], ...]:  # fmt: skip
    """Recall and false alarms at each threshold of SWEEP."""
    streams = [joined([clip.averages[:, labels.index(word)] for clip in other], deaf) for word in spotted]
    best = np.array([clip.best for clip in said], np.float32)
    points = []
    for threshold in SWEEP:
        alarms = sum(events(stream, threshold, deaf) for stream in streams)
        points.append(
            {
                "threshold": threshold,
                "recall": float((best >= np.float32(threshold)).mean()) if said else None,
                "false_alarms": alarms if other else None,
                "false_alarms_per_hour": alarms / hours if hours else None,
            }
        )
    return tuple(points)


def _example(
    said: Sequence[_Clip], labels: tuple[str, ...], thresholds: Mapping[str, float], step_ms: float
) -> dict[str, Any] | None:
    """The clip whose highest average is the middle one, with the averages of every keyword over time."""
    if not said:
        return None
    clip = sorted(said, key=lambda c: c.best)[len(said) // 2]
    return {
        "file": clip.path.name,
        "keyword": clip.word,
        "step_ms": step_ms,
        "averages": {w: [round(float(v), 3) for v in clip.averages[:, labels.index(w)]] for w in thresholds},
        "threshold": thresholds[clip.word],
    }


def _about(request: Request, said: Sequence[_Clip], other: Sequence[_Clip], window_s: float) -> dict[str, Any]:
    noise = {"kind": request.noise, "snr_db": request.snr_db, "seed": request.seed} if request.noise else None
    return {
        "positives": str(request.positives) if request.positives else None,
        "negatives": str(request.negatives) if request.negatives else None,
        "positive_hours": sum(clip.seconds for clip in said) / 3600,
        "negative_files": len(other),
        "noise": noise,
        "silence_around_s": window_s,
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
