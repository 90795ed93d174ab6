"""The speech half of the demo: from one word, and nothing else, to a spotter that runs on a board root."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

from edgepress_convert.bench import bench
from edgepress_convert.convert import ConvertConfig, convert
from edgepress_convert.importers.source import bundle_name
from edgepress_convert.kept import Kept, bundle_digest, file_digest
from edgepress_convert.local_board import device
from edgepress_train import run, train_speech
from edgepress_train.config import SpeechConfig, as_json, speech_from_recipe
from edgepress_train.progress import Progress

RECIPE, WORD = "wake-word-demo", "computer"
STEPS = 7
CLIPS = 8  # sayings by unseen voices that the board hears


def run_speech(
    kept: Kept, *, config: SpeechConfig | None = None, runs: int = 300, progress: Progress
) -> tuple[dict[str, Any], list[Path]]:
    """The key `speech` of `demo --json`, and what the report is about; all of it below `kept.folder`.

    `config` replaces the recipe `wake-word-demo` (its `out` is not used). Metrics are the share of validation windows,
    by voices that training never heard, that are answered right.
    """
    trained = _train(kept, config, progress)
    name = bundle_name(trained.labels[0])
    made = {scheme: _convert(kept, trained, scheme, name, progress) for scheme in ("float32", "int8")}
    bundle, parity = kept.folder / f"{name}.edge", made["int8"]["parity"]
    board = _board(kept, trained, bundle, name)
    with kept.step("measuring the spotter there"):
        measured = device("bench", name, "--runs", str(runs), root=kept.folder / "board")
        kept.save("bench-speech-int8", measured)
    with kept.step("measuring its float32 twin beside it"):
        kept.save("bench-speech-float32", bench(kept.folder / f"{name}-float32.edge", runs=runs))
    told = {
        "bundle": str(bundle),
        "labels": list(trained.labels),
        "float_metric": parity["float_top1"],
        "int8_metric": parity["model_top1"],
        "float_bytes": made["float32"]["bytes"],
        "int8_bytes": made["int8"]["bytes"],
        "latency_ms_p50": measured["latency_ms"]["p50"],
        "cpu_s_per_audio_s": measured["cpu_s_per_audio_s"],
        "n": parity["n"],
        "spotting": made["int8"]["spotting"],
        "data": trained.data,
        "board": board,
    }
    return told, [trained.path, bundle, kept.folder / f"{name}-float32.edge"]


def _train(kept: Kept, config: SpeechConfig | None, progress: Progress) -> run.Run:
    """Train, go on with an unfinished training of this very configuration, or use a finished one again."""
    out = kept.folder / "run-speech"
    command = ["edgepress", "train", "speech", "--recipe", RECIPE, "--words", WORD, "--out", str(out)]
    if config is None:
        config = speech_from_recipe(RECIPE, words=WORD)
    else:
        command = []  # a configuration of one's own has no such line; run.json holds it whole
    config = dataclasses.replace(config, out=out)
    with kept.step(f"training a spotter of {config.words or config.data}") as note:
        found = run.finished(out, as_json(config))
        if found is not None:
            note["reused"] = True
            return found
        resume = not (out / "run.json").is_file() and run.begun_with(out) == as_json(config)
        return train_speech.train(config, command=command, resume=resume, force=not resume, progress=progress)


def _convert(kept: Kept, trained: run.Run, scheme: str, name: str, progress: Progress) -> dict[str, Any]:
    label = name if scheme == "int8" else f"{name}-{scheme}"
    out = kept.folder / f"{label}.edge"
    config = ConvertConfig(source=trained.path, out=out, quantize=scheme, name=label, force=True)
    return kept.once(
        f"convert-speech-{scheme}",
        f"converting the spotter to {scheme}",
        lambda: dataclasses.asdict(convert(config, progress=progress)),
        source={"model": file_digest(trained.model_path), "out": str(out), "tools": run.versions()},
        proof=lambda: bundle_digest(out),
    )


def _board(kept: Kept, trained: run.Run, bundle: Path, name: str) -> dict[str, Any]:
    """Install the spotter and let it hear unseen voices, each time anew: the board's own command is what is shown."""
    root, clips = kept.folder / "board", trained.path / "validation" / "positives"
    with kept.step("installing the spotter on the board root"):
        installed = device("install", bundle, root=root)
    files = sorted(clips.rglob("*.flac"))[:CLIPS]
    with kept.step("letting it hear voices that it does not know"):
        answers = device("run", name, *files, root=root)["results"] if files else []
    heard = sum(any(found["label"] for found in answer["detections"]) for answer in answers)
    command = shlex.join(["edgepress-listen", name, "--root", str(root)])
    return {"name": name, "selftest": installed["selftest"], "clips": len(files), "heard": heard, "command": command}
