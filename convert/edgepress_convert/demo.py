"""The demo: from photos, and from a word, to measured models on a board root of this machine, in steps to repeat.

Every step is a public function or a command of the kit, and what it printed lies in `results/`.
"""

from __future__ import annotations

import dataclasses
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgepress_convert import demo_speech, quantize
from edgepress_convert.bench import bench
from edgepress_convert.convert import ConvertConfig, convert
from edgepress_convert.evaluate import evaluate
from edgepress_convert.importers.source import bundle_name
from edgepress_convert.kept import Kept, bundle_digest, file_digest
from edgepress_convert.local_board import device
from edgepress_convert.report.build import write_report
from edgepress_runtime import disk
from edgepress_train import run, train_image
from edgepress_train.config import SpeechConfig, TrainConfig, as_json, from_recipe
from edgepress_train.data import sources
from edgepress_train.progress import Progress, silent

RECIPE, DATA = "pv-cells-demo", "pv-cells"
PHOTOS = 16  # held-out photos that the board is shown
PARTS = ("image", "speech")
_STEPS = 9  # of the image half


def run_demo(
    out: str | Path,
    *,
    config: TrainConfig | None = None,
    speech: SpeechConfig | None = None,
    parts: Sequence[str] = PARTS,
    runs: int = 300,
    force: bool = False,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train, convert, judge, install, run and measure, all below the folder `out`; gives the keys of `demo --json`.

    `parts` are the halves that are shown, `image` and `speech`. `config` and `speech` replace their recipes (their
    `out` is not used); `runs` calls are timed. Steps that an earlier demo in `out` finished are used again if nothing
    they came from has changed; `force` begins anew. Raises EdgepressError, also when `out` holds something else.
    """
    total = 1 + ("image" in parts) * _STEPS + ("speech" in parts) * demo_speech.STEPS
    kept = Kept(Path(out).absolute(), total=total, progress=progress, force=force)
    image, inputs = _image(kept, config, runs, progress) if "image" in parts else (None, [])
    spotter = None
    if "speech" in parts:
        spotter, more = demo_speech.run_speech(kept, config=speech, runs=runs, progress=progress)
        inputs += more
    with kept.step("writing the report"):
        inputs += sorted((kept.folder / "results").glob("*.json"))
        report = write_report(inputs, kept.folder / "report.html", progress=progress)
    return {
        "image": image,
        "speech": spotter,
        "report": str(report),
        "steps": kept.steps,
        "seconds": round(sum(step["seconds"] for step in kept.steps), 1),
    }


def _image(kept: Kept, config: TrainConfig | None, runs: int, progress: Progress) -> tuple[dict[str, Any], list[Path]]:
    """The image half: the key `image` of `demo --json`, and what the report is about."""
    trained = _train(kept, config, progress)
    name = bundle_name(str(trained.data["name"]))
    float_bundle = _convert(kept, trained, "float32", f"{name}-float32", progress)
    bundle = _convert(kept, trained, "int8", name, progress)
    float_judged = _evaluate(kept, trained, "float32", float_bundle, progress)
    judged = _evaluate(kept, trained, "int8", bundle, progress)
    board = _board(kept, trained, bundle, name)
    measured, float_measured = _measure(kept, name, float_bundle, runs)
    told = {
        "bundle": str(bundle),
        "float_metric": float_judged["top1"],
        "int8_metric": judged["top1"],
        "float_bytes": float_judged["model_bytes"],
        "int8_bytes": judged["model_bytes"],
        "latency_ms_p50": measured["latency_ms"]["p50"],
        "latency_ms_p99": measured["latency_ms"]["p99"],
        "float_latency_ms_p50": float_measured["latency_ms"]["p50"],
        "float_f1": float_judged["f1"],
        "int8_f1": judged["f1"],
        "n": judged["n"],
        "data": judged["data"],
        "board": board,
    }
    return told, [trained.path, bundle, float_bundle]


def _train(kept: Kept, config: TrainConfig | None, progress: Progress) -> run.Run:
    """Train, go on with an unfinished training of this very configuration, or use a finished one again."""
    out = kept.folder / "run"
    command = ["edgepress", "train", "image", "--recipe", RECIPE, "--data", DATA, "--out", str(out)]
    if config is None:
        config = from_recipe(RECIPE, data=DATA)
    else:
        command = []  # a configuration of one's own has no such line; run.json holds it whole
    config = dataclasses.replace(config, out=out)
    wanted = as_json(config)
    with kept.step(f"training on {config.data}") as note:
        found = run.finished(out, wanted)
        if found is not None:
            note["reused"] = True
            return found
        resume = not (out / "run.json").is_file() and run.begun_with(out) == wanted
        return train_image.train(config, command=command, resume=resume, force=not resume, progress=progress)


def _convert(kept: Kept, trained: run.Run, scheme: str, name: str, progress: Progress) -> Path:
    out = kept.folder / f"{name}.edge"
    config = ConvertConfig(source=trained.path, out=out, quantize=scheme, name=name, force=True)
    kept.once(
        f"convert-{scheme}",
        f"converting to {scheme}",
        lambda: dataclasses.asdict(convert(config, progress=progress)),
        source={"model": file_digest(trained.model_path), "out": str(out), "tools": run.versions()},
        proof=lambda: bundle_digest(out),
    )
    return out


def _evaluate(kept: Kept, trained: run.Run, scheme: str, bundle: Path, progress: Progress) -> dict[str, Any]:
    return kept.once(
        f"evaluate-{scheme}",
        f"judging {scheme} on held-out photos",
        lambda: dataclasses.asdict(evaluate(bundle, trained.data["source"], progress=progress)),
        source={"bundle": bundle_digest(bundle), "data": trained.data["fingerprint"], "tools": run.versions()},
    )


def _board(kept: Kept, trained: run.Run, bundle: Path, name: str) -> dict[str, Any]:
    """Install the bundle and run it, each time anew: the board's own command is what is shown here."""
    root, photos = kept.folder / "board", kept.folder / "photos"
    with kept.step("installing on a board root of this machine"):
        installed = device("install", bundle, root=root)
    with kept.step("running there on held-out photos"):
        truth = _lay_out(trained, photos)
        answers = device("run", name, photos, root=root)["results"]
    right = sum(truth[Path(answer["file"]).name] == answer["label"] for answer in answers)
    command = shlex.join(["edgepress-device", "run", name, str(photos), "--root", str(root)])
    told = {"root": str(root), "name": name, "selftest": installed["selftest"]}
    return {**told, "photos": len(answers), "right": right, "command": command}


def _lay_out(trained: run.Run, folder: Path) -> dict[str, str]:
    """Copies of some held-out photos in `folder`, and what each of them shows, by file name."""
    disk.remove(folder)
    folder.mkdir()
    dataset = sources.reopen(trained.data)
    test = dataset.splits["test"]
    truth = {}
    for number, index in enumerate(quantize.stratified(test.labels, PHOTOS, seed=0)):
        label = dataset.labels[test.labels[index]]
        copy = folder / f"{number:02d}-{bundle_name(label)}-{test.paths[index].name}"
        shutil.copyfile(test.paths[index], copy)
        truth[copy.name] = label
    return truth


def _measure(kept: Kept, name: str, float_bundle: Path, runs: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure int8 on the board root and float32 beside it, each time anew: a measurement is of its moment."""
    with kept.step("measuring int8 there"):
        measured = device("bench", name, "--runs", str(runs), root=kept.folder / "board")
        kept.save("bench-int8", measured)
    with kept.step("measuring float32 beside it"):
        beside = bench(float_bundle, runs=runs)
        kept.save("bench-float32", beside)
    return measured, beside
