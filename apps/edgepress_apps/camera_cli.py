"""`edgepress-camera`: classify what a source of frames shows, one line a frame."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgepress_apps import __version__
from edgepress_runtime.arguments import TARGET, add_store_and_output, add_threads, positive
from edgepress_runtime.boundary import guarded
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.lines import complain, json_line, one_line
from edgepress_runtime.trial import HEALTHY

if TYPE_CHECKING:
    from edgepress_apps.classifier import Labelled


def watch(args: argparse.Namespace) -> None:
    """Classify every frame of the source and print one line for each. Raises EdgepressError."""
    from edgepress_apps.cameras import open_source
    from edgepress_apps.classifier import label_frames
    from edgepress_runtime.classify import Classifier, image_of
    from edgepress_runtime.engine import open_engine
    from edgepress_runtime.overlay import in_use
    from edgepress_runtime.targets import start_target

    started, confirm = start_target(args.target, args.root)
    bundle = in_use(started.bundle, complain)
    if started.note:
        complain(started.note)
    seen = 0
    with open_engine(bundle.model_source, threads=args.threads, verbose=args.debug) as engine:
        classifier = Classifier(engine, bundle.manifest, bundle.head)
        with open_source(args.source, image_of(bundle.manifest), lost=_complain_of_loss) as frames:
            for labelled in label_frames(frames, classifier, top=args.top):
                print(json_line(as_json(labelled)) if args.json else line(labelled), flush=True)
                seen += 1
                if seen == HEALTHY:
                    confirm()
    if not seen:
        raise EdgepressError(f"no frame of {args.source} could be read", "the lines above say why")


def line(labelled: Labelled) -> str:
    """`labelled` for people: origin or number, milliseconds, and each label with its score."""
    frame = labelled.frame
    answers = ", ".join(f"{score.label} {score.score:.3f}" for score in labelled.scores)
    return f"{one_line(frame.origin) or frame.seq}\t{labelled.latency_ms:.2f} ms\t{answers}"


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
    made.add_argument("target", metavar="NAME|X.edge", nargs="?", help=TARGET)
    made.add_argument("--source", metavar="PATH", required=True, help="a picture, or a folder of pictures")
    made.add_argument("--top", type=positive, default=1, metavar="K", help="answers a frame (default: 1)")
    add_threads(made)
    add_store_and_output(made, json="one JSON object a line on stdout")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    return guarded(lambda: watch(parser().parse_args(argv)), debug="--debug" in (sys.argv if argv is None else argv))


def _complain_of_loss(what: str, reason: str) -> None:
    complain(f"skipped {what}: {reason}")


if __name__ == "__main__":
    sys.exit(main())
