"""`edgepress-camera`: classify what a source of frames shows, one line a frame."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgepress_apps import __version__
from edgepress_runtime.errors import EdgepressError

if TYPE_CHECKING:
    from edgepress_apps.classifier import Labelled


def watch(args: argparse.Namespace) -> None:
    """Classify every frame of the source and print one line for each. Raises EdgepressError."""
    from edgepress_apps.cameras import open_source
    from edgepress_apps.classifier import label_frames
    from edgepress_runtime.bundle import is_bundle, open_bundle
    from edgepress_runtime.classify import Classifier
    from edgepress_runtime.engine import open_engine
    from edgepress_runtime.store import Store

    target: str | None = args.target
    bundle = open_bundle(target) if target is not None and is_bundle(target) else Store(args.root).open(target)
    seen = 0
    with open_engine(bundle.model_source, threads=args.threads) as engine:
        classifier = Classifier(engine, bundle.manifest)
        with open_source(args.source, bundle.manifest.preprocessing, lost=_complain_of_loss) as frames:
            for labelled in label_frames(frames, classifier, top=args.top):
                print(json.dumps(as_json(labelled), ensure_ascii=False) if args.json else line(labelled), flush=True)
                seen += 1
    if not seen:
        raise EdgepressError(f"no frame of {args.source} could be read", "the lines above say why")


def line(labelled: Labelled) -> str:
    """`labelled` for people: origin or number, milliseconds, and each label with its score."""
    frame = labelled.frame
    answers = ", ".join(f"{score.label} {score.score:.3f}" for score in labelled.scores)
    return f"{frame.origin or frame.seq}\t{labelled.latency_ms:.2f} ms\t{answers}"


def as_json(labelled: Labelled) -> dict[str, Any]:
    """`labelled` for machines: `seq`, `origin`, `label`, `score`, `latency_ms`, and `top` with every answer."""
    best = labelled.scores[0]
    return {
        "seq": labelled.frame.seq,
        "origin": labelled.frame.origin,
        "label": best.label,
        "score": best.score,
        "latency_ms": round(labelled.latency_ms, 4),
        "top": [{"label": score.label, "score": score.score} for score in labelled.scores],
    }


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="edgepress-camera",
        description="Classify frames with an edgepress model, one line a frame.",
        epilog="for example:\n  edgepress-camera cats --source pictures/\n"
        "  edgepress-camera cats.edge --source garden.jpg --top 3 --json",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"edgepress-apps {__version__}")
    made.add_argument(
        "target",
        metavar="NAME|X.edge",
        nargs="?",
        help="name of an installed model, or an X.edge file; may be left out when one model is installed",
    )
    made.add_argument("--source", metavar="PATH", required=True, help="a picture, or a folder of pictures")
    made.add_argument(
        "--root", metavar="DIR", help="the model store (default: $EDGEPRESS_ROOT, else /var/lib/edgepress)"
    )
    made.add_argument("--top", type=_positive, default=1, metavar="K", help="answers a frame (default: 1)")
    made.add_argument(
        "--threads", type=_positive, metavar="N", help="threads of the engine (default: cores, at most 4)"
    )
    made.add_argument("--json", action="store_true", help="one JSON object a line on stdout")
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    args = parser().parse_args(argv)
    try:
        watch(args)
        sys.stdout.flush()
        return 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `edgepress-camera ... | head` has seen enough; Python would complain once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except EdgepressError as error:
        if args.debug:
            raise
        _complain(f"error: {error.what}")
        if error.remedy:
            _complain(f"tip: {error.remedy}")
        return 1
    except Exception as error:
        if args.debug:
            raise
        _complain(f"error: {type(error).__name__}: {error}")
        _complain("tip: this is a fault of edgepress; run it again with --debug and report what it prints")
        return 1


def _complain(text: str) -> None:
    print(text, file=sys.stderr)


def _complain_of_loss(what: str, reason: str) -> None:
    _complain(f"skipped {what}: {reason}")


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
