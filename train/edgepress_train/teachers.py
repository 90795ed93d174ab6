"""What can teach: RUN folders, Keras files and bundles, each made to answer what a student is asked, in its labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf

from edgepress_runtime.bundle import Bundle, is_bundle, open_bundle
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import ImageSpec, Preprocessing, SpeechSpec, TextSpec
from edgepress_train import keras_files, run
from edgepress_train.lessons import Lessons
from edgepress_train.teacher_bundle import asking
from edgepress_train.teacher_input import heard_as, seen_as
from edgepress_train.teacher_trial import likeliest

# (n, *input) as the student takes it -> (n, labels) probabilities
Ask = Callable[[Any], Any]
# What a Keras file may want of pixels of 0 to 255, as (mean, std); it does not say which
SCALINGS = {"0 to 255": (0.0, 1.0), "0 to 1": (0.0, 255.0), "-1 to 1": (127.5, 127.5)}


@dataclass(frozen=True)
class Found:
    """A teacher as it was found; `labels` and `preprocessing` are None for a Keras file, which does not say them.

    Exactly one of `model` (Keras, of any version; its outputs are probabilities) and `bundle` is there.
    """

    name: str
    labels: tuple[str, ...] | None
    preprocessing: Preprocessing | None
    model: Any = None
    bundle: Bundle | None = None


@dataclass(frozen=True)
class Teacher:
    """Calling it with the student's inputs (n, *input) float32 gives (n, labels) float32 in the student's order.

    `see` makes them what the teacher takes, `score` answers that; answer number i is its own number `order[i]`.
    `model`: the Keras model behind `score`, and the `shape` of its input; None for a bundle. `note`: what had to be
    found out.
    """

    name: str
    see: Callable[[Any], Any]
    score: Ask
    order: tuple[int, ...]
    model: Any = None
    shape: tuple[int, ...] = ()
    note: str = ""

    def __call__(self, inputs: Any) -> Any:
        return self.ordered(self.score(self.see(inputs)))

    def ordered(self, answers: Any) -> Any:
        """The teacher's own answers (n, labels) in the order of the student's labels."""
        return answers if self.order == tuple(range(len(self.order))) else tf.gather(answers, self.order, axis=1)


def read(sources: Sequence[str]) -> tuple[Found, ...]:
    """The teachers at `sources`. Raises EdgepressError for one that is missing, damaged or none."""
    named = [source.strip() for source in sources if source.strip()]
    if not named:
        raise EdgepressError("no teacher is named", "give a RUN folder, a .keras file or a bundle")
    return tuple(_read(source) for source in named)


def _read(source: str) -> Found:
    path = Path(source)
    if is_bundle(path):
        opened = open_bundle(path)
        return Found(source, opened.manifest.labels, opened.manifest.preprocessing, bundle=opened)
    if path.suffix.lower() in keras_files.SUFFIXES and path.is_file():
        return _keras_file(source, path)
    if path.exists() and not path.is_dir():
        raise EdgepressError(
            f"the teacher {source} is neither a RUN folder, a Keras file nor a bundle",
            "make a bundle of it with edgepress convert",
        )
    trained = run.load(path)
    if trained.task in run.PRETRAINING:
        raise EdgepressError(
            f"the teacher {source} is a pretrained encoder, which knows no labels",
            "start from it with --init, or give it to edgepress pretrain as --teacher",
        )
    return Found(source, trained.labels, trained.preprocessing, model=run.load_model(trained))


def _keras_file(source: str, path: Path) -> Found:
    model, version = keras_files.load(path)
    library = keras_files.library_of(model)
    if version.startswith("3") and library.backend.backend() != "tensorflow":
        raise EdgepressError(
            f"the teacher {source} would be run by {library.backend.backend()}", "set KERAS_BACKEND=tensorflow"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise EdgepressError(f"the teacher {source} has several inputs or outputs", "teachers have one of each")
    labels = path.with_name("labels.txt")
    told = labels.read_text(encoding="utf-8-sig").splitlines() if labels.is_file() else []
    known = tuple(line.strip() for line in told if line.strip())
    return Found(source, known or None, None, model=model)


def suit(found: Found, spec: Preprocessing, shape: tuple[int, ...], labels: tuple[str, ...] | None = None) -> None:
    """Raise EdgepressError unless `found` can teach a student that takes inputs of `shape`, prepared as `spec`.

    The normalisation of `spec` does not matter yet, and `labels` may be unknown: all this can be asked before the long
    part of a training.
    """
    if found.preprocessing is not None and type(found.preprocessing) is not type(spec):
        kind = {ImageSpec: "image", SpeechSpec: "speech", TextSpec: "text"}[type(spec)]
        raise EdgepressError(f"the teacher {found.name} is no {kind} model", f"give a RUN of train {kind}")
    if isinstance(spec, SpeechSpec) and isinstance(found.preprocessing, SpeechSpec):
        _same_front_end(found, found.preprocessing, spec)
    if isinstance(spec, TextSpec) and found.preprocessing not in (None, spec):
        raise EdgepressError(
            f"the teacher {found.name} reads texts in other pieces than the student", "start both from one --init RUN"
        )
    if found.model is not None:
        takes = keras_files.input_shape(found.model)
        # Pictures are brought to any size, sound to fewer frames
        if len(takes) != len(shape) or (isinstance(spec, SpeechSpec) and takes[1:] != shape[1:]):
            raise EdgepressError(f"the teacher {found.name} takes {list(takes)}, the student {list(shape)}")
    if isinstance(spec, SpeechSpec):
        frames = _frames(found)
        if frames is not None and frames > shape[0]:
            seconds = ((frames - 1) * spec.hop + spec.window) / spec.rate_hz
            raise EdgepressError(
                f"the teacher {found.name} hears {frames} frames at once, the student only {shape[0]}",
                f"give the student --window-s {seconds:g}",
            )
    if labels is not None and found.labels is not None and set(found.labels) != set(labels):
        raise EdgepressError(
            f"the teacher {found.name} knows {', '.join(found.labels)}, the data has {', '.join(labels)}",
            "train the teacher on the same classes",
        )
    answers = len(found.labels or ()) if found.model is None else int(found.model.outputs[0].shape[-1])
    if labels is not None and answers != len(labels):
        raise EdgepressError(
            f"the teacher {found.name} gives {answers} scores, the data has {len(labels)} labels",
            "train the teacher on the same classes",
        )


def _frames(found: Found) -> int | None:
    """How many frames a teacher hears at once; None for one that takes any number."""
    if found.bundle is None:
        return keras_files.input_shape(found.model)[0]
    detection = found.bundle.manifest.detection
    return None if detection is None else detection.window_frames


def _same_front_end(found: Found, theirs: SpeechSpec, ours: SpeechSpec) -> None:
    for field in dataclasses.fields(SpeechSpec):
        his, own = getattr(theirs, field.name), getattr(ours, field.name)
        if field.name not in ("mean", "std") and his != own:
            raise EdgepressError(
                f"the teacher {found.name} hears with {field.name} {his}, the student with {own}: teacher and student "
                "must share the front end",
                "train one of them with the front end of the other",
            )


def engage(found: Found, lessons: Lessons, shape: tuple[int, ...]) -> Teacher:
    """`found` as the teacher of a student whose inputs are `shape`, prepared as the `lessons` say.

    A Keras file is tried on some training examples, to find out how it wants its pixels, and whether its outputs are
    the labels in this order. Raises EdgepressError as `suit`, and for a file that does no better than chance.
    """
    suit(found, lessons.preprocessing, shape, lessons.labels)
    own = found.labels or lessons.labels
    order = tuple(own.index(label) for label in lessons.labels)
    if found.bundle is not None:
        takes = (_frames(found) or shape[0], *shape[1:])
        return Teacher(found.name, _seeing(lessons, found, takes), asking(found.bundle), order)
    takes = tuple(given or mine for given, mine in zip(keras_files.input_shape(found.model), shape, strict=True))
    if found.preprocessing is not None:
        see, score = _seeing(lessons, found, takes), partial(found.model, training=False)
        return Teacher(found.name, see, score, order, found.model, takes)
    model, _ = keras_files.with_probabilities(found.model, takes)
    candidates = {
        name: Teacher(
            found.name, _as(lessons.preprocessing, spec, takes), partial(model, training=False), order, model, takes
        )
        for name, spec in _guesses(lessons.preprocessing, takes).items()
    }
    name, note = likeliest(candidates, lessons, found.name)
    return dataclasses.replace(candidates[name], note=note)


def _guesses(spec: Preprocessing, takes: tuple[int, ...]) -> dict[str, Preprocessing]:
    """How a Keras file may want what the student takes as `spec`: what `SCALINGS` has, and the student's own way."""
    if isinstance(spec, SpeechSpec):
        return {"the student's features": spec}
    if isinstance(spec, TextSpec):
        return {"the student's pieces": spec}
    height, width, channels = takes
    own = (spec.mean, spec.std) if channels == spec.channels else (spec.mean[:1] * channels, spec.std[:1] * channels)
    guesses: dict[str, Preprocessing] = {"pixels as the student": ImageSpec(height, width, channels, *own)}
    for name, (mean, std) in SCALINGS.items():
        guesses[f"pixels of {name}"] = ImageSpec(height, width, channels, (mean,) * channels, (std,) * channels)
    return guesses


def _seeing(lessons: Lessons, found: Found, takes: tuple[int, ...]) -> Callable[[Any], Any]:
    spec = found.preprocessing
    assert spec is not None
    if found.bundle is not None and isinstance(spec, ImageSpec):  # it is given whole pixels, and prepares them itself
        spec = dataclasses.replace(spec, mean=(0.0,) * spec.channels, std=(1.0,) * spec.channels)
    return _as(lessons.preprocessing, spec, takes)


def _as(given: Preprocessing, wanted: Preprocessing, takes: tuple[int, ...]) -> Callable[[Any], Any]:
    if isinstance(given, TextSpec):
        return lambda ids: ids
    if isinstance(given, ImageSpec) and isinstance(wanted, ImageSpec):
        return partial(seen_as, spec=given, wanted=wanted)
    assert isinstance(given, SpeechSpec) and isinstance(wanted, SpeechSpec)
    return partial(heard_as, spec=given, wanted=wanted, frames=takes[0])
