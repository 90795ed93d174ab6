"""Train a keyword spotter: from recordings or from words to a RUN folder."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

import edgepress_train.keras2  # noqa: F401  first: it decides how TensorFlow starts
from edgepress_runtime import disk
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import Pcen, SpeechSpec
from edgepress_train import distil, models, peft, run, teachers, validation
from edgepress_train.config import SpeechConfig, as_json, speech_config_of
from edgepress_train.data import augment_features, augment_speech, pipeline_speech, speech_material, spoken_words
from edgepress_train.data.budget import Budget
from edgepress_train.data.dataset import Holdout
from edgepress_train.data.recordings import UNKNOWN
from edgepress_train.data.speech_examples import Cut, Scenery, extract
from edgepress_train.data.speech_material import Material
from edgepress_train.fit import build_optimizer, fit_config
from edgepress_train.hardest import Hardest
from edgepress_train.keras2 import keras
from edgepress_train.lessons import Lessons, teach
from edgepress_train.models import frozen
from edgepress_train.models.init import brought, initialise
from edgepress_train.progress import Progress, silent

TASK = "keyword-spotting"
# part of the data -> features (n, frames, features) and labels (n,)
Parts = Mapping[str, tuple[np.ndarray, np.ndarray]]
FRONT_ENDS = ("log-mel", "pcen", "mfcc", "micro")
# mean and deviation of the fixed normalisations; features are natural logarithms
NORMALIZE = {"raw": (0.0, 1.0), "log10": (-2 * float(np.log(10)), float(np.log(10)))}
# Wang et al. 2017 (arXiv:1607.05666), section 2; a smoothing of 0.025 at their hop of 10 ms is 0.05 at 20 ms.
_PCEN = Pcen(smoothing=0.04, gain=0.98, bias=2.0, power=0.5)
SLACK_S = 0.16  # how much longer the stored features are than the window, which then lies anywhere in them
_KEPT = 1000  # examples of each part that the RUN keeps, for quantization and its verification


def train(
    config: SpeechConfig, *, command: Sequence[str] = (), resume: bool = False, force: bool = False,
    progress: Progress = silent,
) -> run.Run:  # fmt: skip
    """Train as `config` says and write the RUN folder `config.out`.

    All sound is read, or synthesized, before the first step; files that cannot be read are left out and listed in
    `skipped.json`. Raises EdgepressError when the data, the configuration or the output folder do not allow it.
    """
    run.refuse(config.out, as_json(config), resume=resume, force=force)
    spec = speech_spec(config)
    frames = window_frames(config, spec)
    augment_features.build(config.augment)
    scenery = Scenery(config.sound, folders(config.noise), config.seed)
    check_sound(config)
    build_optimizer(fit_config(config, 1))
    peft.check(config.tune, config.init)
    known = brought(config.init, spec) if config.normalize == "data" else None
    if known:
        spec = dataclasses.replace(spec, mean=known[0], std=known[1])
    models.build(config.arch, (frames, spec.features, 1), 2, archs=models.SPEECH_ARCHS)  # told before the long part
    found = teachers.read(config.teacher.split(",")) if config.teacher else ()
    for teacher in found:
        teachers.suit(teacher, spec, (frames, spec.features, 1))
    material = gather(config, spec, progress)
    keras.utils.set_random_seed(config.seed)
    model = models.build(config.arch, (frames, spec.features, 1), len(material.labels), archs=models.SPEECH_ARCHS)
    if config.init:
        initialise(model, config.init)
    from edgepress_train import frozen_lessons  # it builds on this module

    part = frozen.parted(model) if frozen_lessons.suits(config) else None
    if part is None:
        lessons, parts = cut(config, material, spec, scenery=scenery, fixed=known is not None, progress=progress)
    else:
        lessons, parts = frozen_lessons.cut(part, model, config, material, spec, scenery=scenery, progress=progress)
    tuned = peft.tune(model, config.tune)
    learner = distil.taught(tuned.model, found, lessons, config, progress)
    if part is not None:
        learner = part.head
    if config.hardest < 1:
        if UNKNOWN not in material.labels:
            raise EdgepressError(
                f"--hardest chooses among examples of {UNKNOWN!r}, and there are none",
                f"add a class {UNKNOWN}, or give --hardest 1",
            )
        learner = Hardest(learner, material.labels.index(UNKNOWN), share=config.hardest)
    run.prepare(config.out, as_json(config), resume=resume, force=force)
    fitted = teach(
        learner,
        lessons,
        config=fit_config(config, lessons.size),
        batch=config.batch,
        seed=config.seed,
        out=config.out,
        resume=resume,
        progress=progress,
    )
    assert isinstance(lessons.preprocessing, SpeechSpec)
    _keep_examples(config.out, (frames, lessons.preprocessing), parts, seed=config.seed)
    _keep_validation(config.out, material, spec.rate_hz)
    run.write_skipped(config.out, material.skipped)
    model = tuned.finish()
    result = run.Run(
        path=config.out,
        task=TASK,
        command=shlex.join(command),
        config=as_json(config),
        labels=material.labels,
        preprocessing=lessons.preprocessing,
        data=material.data,
        metrics={
            **validation.describe(model if part is None else part.head, fitted, lessons),
            "params": int(model.count_params()),
            **peft.describe(tuned),
        },
    )
    return run.save(result, model)


def cut(
    config: SpeechConfig, material: Material, spec: SpeechSpec, *, scenery: Scenery, fixed: bool = False,
    progress: Progress = silent,
) -> tuple[Lessons, Parts]:  # fmt: skip
    """The windows of `material`, and the features and labels of each part.

    The normalisation is chosen as `config` says, unless that of `spec` is `fixed`.
    """
    frames = window_frames(config, spec)
    slack = round(SLACK_S * spec.rate_hz / spec.hop)
    # Not normalised yet: that comes with the batches, by numbers that are only known once the features are
    windows = Cut(dataclasses.replace(spec, mean=0.0, std=1.0), frames + slack, slack)
    found, labels = extract(
        material.train, windows, copies=config.copies, scenery=scenery, seed=config.seed, progress=progress
    )
    val_found, val_labels = extract(material.val, windows, seed=config.seed + 1, progress=progress)
    if not fixed:
        mean, std = statistics(found, config.normalize)
        spec = dataclasses.replace(spec, mean=mean, std=std)
    data = examples(found, labels, len(material.labels), config)
    val = examples(val_found, val_labels, len(material.labels), dataclasses.replace(config, label_smoothing=0.0))
    numbers = (frames, spec.mean, spec.std)
    lessons = Lessons(
        labels=material.labels,
        preprocessing=spec,
        size=len(data),
        train=partial(pipeline_speech.train_batches, data, *numbers, augment=config.augment),
        val=pipeline_speech.plain_batches(val, *numbers) if len(val) else None,
        val_labels=val_labels,
    )
    return lessons, {"train": (found, labels), "val": (val_found, val_labels)}


def reopen(trained: run.Run, progress: Progress = silent) -> Lessons:
    """The lessons of the finished run `trained`: its sound is read, or synthesized, cut and augmented again.

    Raises EdgepressError when that gives other labels than the run has.
    """
    config = speech_config_of(trained.config)
    assert isinstance(trained.preprocessing, SpeechSpec)
    scenery = Scenery(config.sound, folders(config.noise), config.seed)
    material = gather(config, trained.preprocessing, progress)
    if material.labels != trained.labels:
        raise EdgepressError(
            f"the sound of {trained.path} now has the labels {', '.join(material.labels)}, the run has "
            f"{', '.join(trained.labels)}",
            "bring back the recordings that it was trained on, or train again",
        )
    return cut(config, material, trained.preprocessing, scenery=scenery, fixed=True, progress=progress)[0]


def gather(config: SpeechConfig, spec: SpeechSpec, progress: Progress) -> Material:
    """The clips that `config` asks for: recordings, synthesized words, or both. Raises EdgepressError."""
    background = tuple(part.strip() for part in config.background.split(",") if part.strip())
    recorded = spoken = None
    if config.data:
        recorded = speech_material.from_recordings(
            config.data,
            rate_hz=spec.rate_hz,
            holdout=Holdout(config.split_seed, config.val_fraction, config.test_fraction),
            speaker=config.speaker,
            background=background,
            budget=Budget(config.label_fraction, config.labels_per_class, config.seed),
            progress=progress,
        )
    if config.words:
        spoken = spoken_words.from_words(
            spoken_words.keywords(config.words),
            rate_hz=spec.rate_hz,
            clips=config.clips,
            voices=config.voices,
            background=() if recorded else background,
            seed=config.seed,
            progress=progress,
        )
    if recorded and spoken:
        return speech_material.joined(recorded, spoken)
    found = recorded or spoken
    assert found is not None  # the configuration has seen to it
    return found


def check_sound(config: SpeechConfig) -> None:
    """Raise EdgepressError for a change of sound that is unknown, or cannot be made at the rate of `config`."""
    if augment_speech.build(config.sound).names and config.rate_hz != augment_speech.RATE_HZ:
        raise EdgepressError(
            f"sound can be changed at {augment_speech.RATE_HZ} Hz only, not at {config.rate_hz}",
            "leave --rate-hz out, or give --sound none",
        )


def folders(text: str) -> tuple[Path, ...]:
    """The paths in `text`, with commas between."""
    return tuple(Path(part.strip()) for part in text.split(",") if part.strip())


def speech_spec(config: SpeechConfig) -> SpeechSpec:
    """The front end that `config` describes, without the normalisation, which the data decide."""
    if config.front_end not in FRONT_ENDS:
        raise EdgepressError(f"unknown front end {config.front_end!r}", f"known: {', '.join(FRONT_ENDS)}")
    if config.normalize != "data" and config.normalize not in NORMALIZE:
        raise EdgepressError(f"unknown normalisation {config.normalize!r}", f"known: data, {', '.join(NORMALIZE)}")
    return SpeechSpec(
        front_end="log-mel" if config.front_end == "pcen" else config.front_end,
        rate_hz=config.rate_hz,
        window=round(config.frame_ms * config.rate_hz / 1000),
        hop=round(config.hop_ms * config.rate_hz / 1000),
        bands=config.bands,
        low_hz=config.low_hz,
        high_hz=min(config.high_hz, 0.475 * config.rate_hz),
        coefficients=config.coefficients if config.front_end == "mfcc" else 0,
        pcen=_PCEN if config.front_end == "pcen" else None,
    )


def statistics(found: np.ndarray, normalize: str) -> tuple[float, float]:
    """Mean and deviation for the manifest: those of the training features `found` (`data`), or fixed ones."""
    if normalize in NORMALIZE:
        return NORMALIZE[normalize]
    sample = found[:: max(1, len(found) // 5000)].astype(np.float64)
    return round(float(sample.mean()), 3), max(1e-3, round(float(sample.std()), 3))


def window_frames(config: SpeechConfig, spec: SpeechSpec) -> int:
    """How many frames fit into the window."""
    return 1 + int((config.window_s * spec.rate_hz - spec.window) // spec.hop)


def examples(found: np.ndarray, labels: np.ndarray, classes: int, config: SpeechConfig) -> pipeline_speech.Examples:
    """Features with one-hot targets, smoothed, and weights, as `config` says."""
    targets = np.eye(classes, dtype=np.float32)[labels]
    targets = targets * (1 - config.label_smoothing) + config.label_smoothing / classes
    weights = np.ones(len(labels), np.float32)
    if config.class_weight == "balanced":
        counts = np.maximum(np.bincount(labels, minlength=classes), 1)
        weights = (len(labels) / (classes * counts))[labels].astype(np.float32)
    elif config.class_weight != "none":
        raise EdgepressError(f"unknown class weight {config.class_weight!r}", "known: none, balanced")
    return pipeline_speech.Examples(found, targets.astype(np.float32), weights)


def _keep_examples(out: Path, seen: tuple[int, SpeechSpec], parts: Parts, *, seed: int) -> None:
    """`features.npz`: some examples of each part as the net takes them, so that converting needs no sound."""
    frames, spec = seen
    arrays: dict[str, np.ndarray] = {}
    for part, (found, labels) in parts.items():
        index = np.sort(np.random.default_rng(seed).permutation(len(found))[:_KEPT])
        middle = pipeline_speech.centred(found[index], frames)
        arrays[f"{part}_features"] = pipeline_speech.normalized(middle, spec.mean, spec.std)[..., 0].astype(np.float16)
        arrays[f"{part}_labels"] = labels[index]
    partial = out / "features.partial.npz"
    np.savez_compressed(partial, **arrays)  # type: ignore[arg-type]  # NumPy's own stub forgets keywords
    disk.publish(partial, out / "features.npz")


def _keep_validation(out: Path, material: Material, rate_hz: int) -> None:
    """`validation/positives/WORD/*.flac` and `validation/negatives/*.flac`: what thresholds are chosen on."""
    if not material.positives and not material.negatives:
        return
    import soundfile

    disk.remove(out / "validation")
    parts = {f"positives/{label}": clips for label, clips in material.positives.items()}
    for name, clips in {**parts, "negatives": material.negatives}.items():
        folder = out / "validation" / name
        folder.mkdir(parents=True)
        for number, samples in enumerate(clips):
            soundfile.write(folder / f"{number:04d}.flac", samples, rate_hz, subtype="PCM_16")
