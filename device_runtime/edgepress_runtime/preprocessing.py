"""How raw input becomes the model's: every parameter of it, as data classes that check themselves, and as JSON.

A board and a training that hold equal specs compute equal inputs.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Callable, Union

from edgepress_runtime import strict_json
from edgepress_runtime.errors import BundleError
from edgepress_runtime.strict_json import member, number, of

FITS = ("stretch", "crop", "pad")
FRONT_ENDS = ("log-mel", "mfcc", "micro")
MICRO = (16_000, 480, 160, 40)  # rate, window, hop and bands of `micro`
CASES = ("lower", "keep")
ACCENTS = ("keep", "fold")
SPECIALS = ("<pad>", "<mask>")  # the first pieces of every vocabulary
PAD, MASK = 0, 1  # their ids
MAX_PIECES = 65_536
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ImageSpec:
    """How a picture of any size becomes the model's input.

    The picture is brought upright (EXIF), converted to grey (`channels` 1) or RGB (3), fitted to `height` x `width`
    (`stretch`: ignore the aspect ratio; `crop`: cover and cut the centre; `pad`: contain and fill with black),
    resampled with an antialiased triangle filter, and normalised: `(pixel - mean) / std`, both in pixel units of
    0 to 255, one number a channel.
    """

    height: int
    width: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: str = "stretch"

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise BundleError(f"an image has 1 or 3 channels, not {self.channels}")
        if not (0 < self.height <= 4096 and 0 < self.width <= 4096):
            raise BundleError(f"an image size of {self.height}x{self.width} is outside 1 to 4096 pixels")
        if self.fit not in FITS:
            raise BundleError(f"unknown fit {self.fit!r}; known: {', '.join(FITS)}")
        if len(self.mean) != self.channels or len(self.std) != self.channels:
            raise BundleError(f"mean and std need {self.channels} numbers, got {len(self.mean)} and {len(self.std)}")
        # Within these bounds no step of the arithmetic in float32 overflows or divides by zero.
        if not all(1e-6 <= s <= 1e6 for s in self.std):
            raise BundleError(f"std must be between 1e-6 and 1e6, got {list(self.std)}")
        if not all(abs(m) <= 1e6 for m in self.mean):
            raise BundleError(f"mean must be between -1e6 and 1e6, got {list(self.mean)}")


@dataclass(frozen=True)
class Pcen:
    """Per-channel energy normalisation (Wang et al. 2017, arXiv:1607.05666, equations 1 and 2) of mel energies E.

    M = (1 - smoothing) * M_before + smoothing * E, which begins with the first frame's E; the feature is
    (E / (1 + M)^gain + bias)^power - bias^power. E is in squared units of int16, hence the 1.
    """

    smoothing: float
    gain: float
    bias: float
    power: float

    def __post_init__(self) -> None:
        for name, low, high in (
            ("smoothing", 1e-4, 1.0),
            ("gain", 0.0, 1.0),
            ("bias", 1e-3, 1e3),
            ("power", 0.01, 1.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise BundleError(f"PCEN's {name} must be between {low} and {high}, got {getattr(self, name)}")


@dataclass(frozen=True)
class SpeechSpec:
    """How sound becomes the model's input.

    Samples at `rate_hz` are cut into frames of `window` samples every `hop`; each becomes `bands` mel energies between
    `low_hz` and `high_hz`, their logarithm (`log-mel`) or PCEN, or the first `coefficients` of a cosine transform of
    the logarithm (`mfcc`). `micro` is the fixed-point front end of TensorFlow Lite Micro, which knows one rate, window,
    hop and number of bands only, and goes from 125 to 7500 Hz whatever `low_hz` and `high_hz` say. The model takes
    `(value - mean) / std`, one number for all features.
    """

    front_end: str
    rate_hz: int = 16_000
    window: int = 480
    hop: int = 320
    bands: int = 40
    low_hz: float = 60.0
    high_hz: float = 7600.0
    coefficients: int = 0
    pcen: Pcen | None = None
    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        if self.front_end not in FRONT_ENDS:
            raise BundleError(f"unknown front end {self.front_end!r}; known: {', '.join(FRONT_ENDS)}")
        if not 4_000 <= self.rate_hz <= 48_000:
            raise BundleError(f"a front end's rate must be between 4000 and 48000 Hz, got {self.rate_hz}")
        if not 16 <= self.window <= 16_384 or not 1 <= self.hop <= 16_384:
            raise BundleError(
                f"frames of {self.window} samples every {self.hop} are outside 16 to 16384 and 1 to 16384"
            )
        if self.front_end == "micro" and (self.rate_hz, self.window, self.hop, self.bands) != MICRO:
            raise BundleError(
                "the micro front end has 40 bands of 30 ms every 10 ms at 16 kHz, and nothing else",
                "give --frame-ms 30 --hop-ms 10 --bands 40",
            )
        if not 1 <= self.bands <= 256:
            raise BundleError(f"a front end has 1 to 256 bands, not {self.bands}")
        if not 0 <= self.low_hz < self.high_hz <= self.rate_hz / 2:
            raise BundleError(
                f"bands from {self.low_hz} to {self.high_hz} Hz do not lie within 0 to {self.rate_hz / 2} Hz"
            )
        if self.front_end == "mfcc" and not 1 <= self.coefficients <= self.bands:
            raise BundleError(f"mfcc keeps 1 to {self.bands} coefficients, not {self.coefficients}")
        if self.front_end != "mfcc" and self.coefficients:
            raise BundleError(f"{self.front_end} has no coefficients, but {self.coefficients} are asked for")
        if self.front_end != "log-mel" and self.pcen is not None:
            raise BundleError(f"{self.front_end} cannot be combined with PCEN")
        if not 1e-6 <= self.std <= 1e6 or not abs(self.mean) <= 1e6:
            raise BundleError(f"mean must be within 1e6 and std 1e-6 to 1e6, got {self.mean} and {self.std}")

    @property
    def features(self) -> int:
        """How many numbers a frame has."""
        return self.coefficients or self.bands


@dataclass(frozen=True)
class TextSpec:
    """How text becomes the model's input: `length` ids of pieces, padded with 0.

    The text is brought into Unicode's form NFKC, in lower case (`case`: `lower`, or `keep`), its accents kept or taken
    off (`accents`: `keep`, or `fold`), cut into words, and each word into the pieces of the bundle's `vocab.txt`, which
    has `pieces` lines and the SHA-256 `vocabulary` (hex).
    """

    length: int
    pieces: int
    vocabulary: str
    case: str = "lower"
    accents: str = "keep"

    def __post_init__(self) -> None:
        if not 1 <= self.length <= 1024:
            raise BundleError(f"a text's length must be between 1 and 1024 pieces, got {self.length}")
        least = len(SPECIALS) + 256
        if not least <= self.pieces <= MAX_PIECES:
            raise BundleError(f"a vocabulary has {least} to {MAX_PIECES} pieces, not {self.pieces}")
        for name, known in (("case", CASES), ("accents", ACCENTS)):
            if getattr(self, name) not in known:
                raise BundleError(f"unknown {name} {getattr(self, name)!r}; known: {', '.join(known)}")
        if not _SHA256.fullmatch(self.vocabulary):
            raise BundleError("the checksum of the vocabulary is not a SHA-256 in hex")


Preprocessing = Union[ImageSpec, SpeechSpec, TextSpec]
PREPROCESSING: dict[str, type] = {"image": ImageSpec, "speech": SpeechSpec, "text": TextSpec}


def dump_preprocessing(spec: Preprocessing) -> dict[str, Any]:
    """`spec` as plain JSON values, with the `kind` that tells which class it is."""
    kind = next(k for k, cls in PREPROCESSING.items() if type(spec) is cls)
    return {"kind": kind, **dataclasses.asdict(spec)}


def load_preprocessing(value: dict[str, Any]) -> Preprocessing:
    """What `dump_preprocessing` wrote. Raises BundleError with the key that is wrong."""
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in PREPROCESSING:
        raise BundleError(f"unknown preprocessing {kind!r}", "update edgepress-runtime on this board")
    return _READERS[kind]({k: v for k, v in value.items() if k != "kind"})


def _image(value: dict[str, Any]) -> ImageSpec:
    raw = strict_json.fields(value, ImageSpec, "preprocessing")
    return ImageSpec(
        height=of(int, raw["height"], "preprocessing.height"),
        width=of(int, raw["width"], "preprocessing.width"),
        channels=of(int, raw["channels"], "preprocessing.channels"),
        mean=tuple(number(v, "preprocessing.mean") for v in member(list, raw, "mean")),
        std=tuple(number(v, "preprocessing.std") for v in member(list, raw, "std")),
        fit=of(str, raw["fit"], "preprocessing.fit"),
    )


def _speech(value: dict[str, Any]) -> SpeechSpec:
    raw = strict_json.fields(value, SpeechSpec, "preprocessing")
    numbers: dict[str, Any] = {name: of(int, raw[name], f"preprocessing.{name}") for name in _WHOLE}
    numbers.update({name: number(raw[name], f"preprocessing.{name}") for name in _REAL})
    pcen = None
    if raw["pcen"] is not None:
        given = strict_json.fields(of(dict, raw["pcen"], "preprocessing.pcen"), Pcen, "preprocessing.pcen")
        pcen = Pcen(**{name: number(v, f"preprocessing.pcen.{name}") for name, v in given.items()})
    return SpeechSpec(front_end=of(str, raw["front_end"], "preprocessing.front_end"), pcen=pcen, **numbers)


def _text(value: dict[str, Any]) -> TextSpec:
    raw = strict_json.fields(value, TextSpec, "preprocessing")
    return TextSpec(
        length=of(int, raw["length"], "preprocessing.length"),
        pieces=of(int, raw["pieces"], "preprocessing.pieces"),
        vocabulary=of(str, raw["vocabulary"], "preprocessing.vocabulary"),
        case=of(str, raw["case"], "preprocessing.case"),
        accents=of(str, raw["accents"], "preprocessing.accents"),
    )


_WHOLE = ("rate_hz", "window", "hop", "bands", "coefficients")
_REAL = ("low_hz", "high_hz", "mean", "std")
_READERS: dict[str, Callable[[dict[str, Any]], Preprocessing]] = {
    "image": _image,
    "speech": _speech,
    "text": _text,
}
