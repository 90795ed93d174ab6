"""`edgepress-listen`: spot keywords in what a microphone hears, in recordings, or in a pipe; one line a detection."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from datetime import datetime
from typing import TYPE_CHECKING, Any

from edgepress_apps import __version__
from edgepress_runtime.arguments import TARGET, add_store_and_output, add_threads, positive
from edgepress_runtime.boundary import guarded
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.lines import complain, json_line, one_line

if TYPE_CHECKING:
    from edgepress_apps.microphones import Microphone
    from edgepress_apps.sounds import AudioChunk, Pipe, Recordings
    from edgepress_apps.spotter import Heard
    from edgepress_runtime.manifest import Manifest


def listen(args: argparse.Namespace) -> None:
    """Spot keywords in the source and print one line for each. Raises EdgepressError."""
    from edgepress_apps.microphones import Microphone
    from edgepress_apps.portaudio import hushed
    from edgepress_apps.service import Service
    from edgepress_apps.spotter import Heard, spot
    from edgepress_runtime.engine import open_engine
    from edgepress_runtime.overlay import in_use
    from edgepress_runtime.spot import THREADS, Spotter
    from edgepress_runtime.targets import start_target
    from edgepress_runtime.trial import HEALTHY

    started, confirm = start_target(args.target, args.root)
    bundle = in_use(started.bundle, complain)
    if started.note:
        complain(started.note)
    live = not (args.wav or args.raw)
    service = Service()
    seen, works = 0, False

    def counted(chunks: Iterable[AudioChunk]) -> Iterator[AudioChunk]:
        nonlocal seen, works
        for chunk in chunks:
            seen += 1
            yield chunk
            if not works and spotter.seconds >= HEALTHY * spotter.window_s:
                works = True
                confirm()
                service.ready()
            service.alive()

    with open_engine(bundle.model_source, threads=args.threads or THREADS, verbose=args.debug) as engine:
        spotter = Spotter(engine, with_threshold(bundle.manifest, args.threshold), bundle.head)
        source = open_source(args, spotter.rate_hz)
        with hushed() if live and not args.debug else nullcontext(), source as chunks:
            if isinstance(source, Microphone):
                complain(f"listening to {source.name} at {source.rate_hz} Hz; Ctrl-C ends it")
            for found in spot(counted(chunks), spotter):
                if isinstance(found, Heard):
                    print(json_line(as_json(found)) if args.json else line(found), flush=True)
                else:
                    complain(f"{found.origin}: {found.text}" if found.origin else found.text)
    if not seen and not live:
        raise EdgepressError("no sound could be read", "the lines above say why" if args.wav else "nothing came in")


def print_unit(args: argparse.Namespace) -> None:
    """Print the unit with which systemd keeps a spotter running."""
    from pathlib import Path
    from shutil import which

    text = (Path(__file__).parent / "units" / "edgepress-listen@.service").read_text(encoding="utf-8")
    for program in ("edgepress-listen", "edgepress-device"):
        text = text.replace(f"/usr/local/bin/{program}", which(program) or f"/usr/local/bin/{program}")
    print(text, end="")


def list_devices(args: argparse.Namespace) -> None:
    """Print every microphone that there is. Raises EdgepressError."""
    from edgepress_apps import portaudio

    # PortAudio takes stderr away while it starts; were it to hang there, nobody would read why this ends.
    with portaudio.hushed():
        found = portaudio.within(portaudio.ANSWER_S, lambda: portaudio.devices(portaudio.load()))
    if args.json:
        print(json_line({"devices": [device._asdict() for device in found]}))
        return
    for device in found:
        print(f"{device.number}\t{one_line(device.name)}\t{device.rate_hz} Hz\tchannels {device.channels}")
    if not found:
        complain("no microphone was found")


def open_source(args: argparse.Namespace, rate_hz: int) -> Recordings | Pipe | Microphone:
    """The source that the options name; a microphone if they name none."""
    if args.raw:
        from edgepress_apps.sounds import Pipe

        if sys.stdin is None or sys.stdin.isatty():
            raise EdgepressError(
                "--raw listens to standard input, and nothing is piped into it",
                "arecord -t raw -f S16_LE -r 16000 | edgepress-listen --raw",
            )
        return Pipe(sys.stdin.buffer, args.rate or rate_hz)
    if args.wav:
        from edgepress_apps.sounds import Recordings

        return Recordings(args.wav, rate_hz, told=lambda what, why: complain(f"skipped {what}: {why}"))
    from edgepress_apps.microphones import Microphone

    return Microphone(args.device, rate_hz, told=lambda what, why: complain(f"the microphone {what}: {why}"))


def with_threshold(manifest: Manifest, threshold: float | None) -> Manifest:
    """`manifest` with another threshold for every keyword; unchanged for None. Raises EdgepressError if it has none."""
    from edgepress_runtime.clips import BACKGROUND

    if threshold is not None:
        words = manifest.thresholds or [label for label in manifest.labels if label not in BACKGROUND]
        return dataclasses.replace(manifest, thresholds=dict.fromkeys(words, threshold))
    if manifest.task == "keyword-spotting" and not manifest.thresholds:
        raise EdgepressError(f"{manifest.name} has no thresholds, so it would never report a word", "--threshold 0.5")
    return manifest


def line(heard: Heard) -> str:
    """`heard` for people: file or time of day, label, score, and the seconds of the sound that it rests on."""
    found = heard.detection
    where = one_line(heard.origin) or datetime.now().strftime("%H:%M:%S")
    return f"{where}\t{found.label}\t{found.score:.4f}\t{found.start_s:.2f}-{found.end_s:.2f} s"


def as_json(heard: Heard) -> dict[str, Any]:
    """`heard` for machines: `origin` and `time` (ISO 8601, null for a file), `label`, `score`, `start_s`, `end_s`."""
    time = None if heard.origin else datetime.now().astimezone().isoformat(timespec="milliseconds")
    return {"origin": heard.origin, "time": time, **heard.detection.facts()}


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = argparse.ArgumentParser(
        prog="edgepress-listen",
        description="Spot keywords with an edgepress model, one line a detection. Without --wav or --raw "
        "it listens to a microphone.",
        epilog="for example:\n  edgepress-listen computer\n  edgepress-listen computer.edge --wav evening.wav --json\n"
        "  arecord -t raw -f S16_LE -r 16000 | edgepress-listen computer --raw",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"edgepress-apps {__version__}")
    made.add_argument("target", metavar="NAME|X.edge", nargs="?", help=TARGET)
    source = made.add_mutually_exclusive_group()
    source.add_argument("--wav", metavar="FILE", nargs="+", help="recordings, or folders of them")
    source.add_argument("--raw", action="store_true", help="16-bit samples of one channel on standard input")
    source.add_argument("--device", metavar="NAME", help="the microphone: its number, name or a part of it")
    source.add_argument("--list-devices", action="store_true", help="print the microphones that there are, and end")
    source.add_argument(
        "--unit", action="store_true", help="print a systemd unit that keeps a spotter running, and end"
    )
    made.add_argument("--rate", type=positive, metavar="HZ", help="samples a second of --raw (default: the model's)")
    made.add_argument(
        "--threshold", type=_share, metavar="X", help="report scores from X on (default: what the bundle says)"
    )
    add_threads(made)
    add_store_and_output(made, json="one JSON object a line on stdout")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    return guarded(lambda: _run(argv), debug="--debug" in (sys.argv if argv is None else argv))


def _run(argv: Sequence[str] | None) -> None:
    made = parser()
    args = made.parse_args(argv)
    if args.rate and not args.raw:
        made.error("--rate says what --raw is; files and microphones tell it themselves")
    (list_devices if args.list_devices else print_unit if args.unit else listen)(args)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and up to 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
