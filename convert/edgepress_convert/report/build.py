"""`write_report`: RUN folders, searches, bundles and results in, one self-contained HTML page out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from edgepress_convert.report import chapters, figures, speech, steps, tables, validity
from edgepress_convert.report.gather import Findings, Model, gather
from edgepress_convert.report.samples import Sample, pick
from edgepress_runtime import disk
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import ImageSpec
from edgepress_train import run
from edgepress_train.progress import Progress, silent


def write_report(paths: Sequence[str | Path], out: str | Path, *, progress: Progress = silent) -> Path:
    """Write the page `out` about `paths` and give its path; an older page is replaced whole or not at all.

    `paths` are RUN folders, trained or compressed, what `search` left, `.edge` bundles, and JSON files that `evaluate`,
    `bench`, `convert`, `inspect`, `compress` and `search` printed with `--json`. Sample pictures are shown when their
    data is at hand. Raises EdgepressError for a path that is missing or foreign.
    """
    out = Path(out)
    if out.is_dir():
        raise EdgepressError(f"{out} is a folder", "give a file name, such as report.html")
    findings = gather(paths)
    leader = tables.leading(findings.models)
    samples, missing = _samples(findings, leader, progress)
    page = render(findings, samples=samples, missing=missing, created=run.now())
    disk.make_dir(out.absolute().parent)
    disk.write_bytes(out, page.encode("utf-8"))
    return out


def render(findings: Findings, *, samples: Sequence[Sample] = (), missing: str = "", created: str = "") -> str:
    """The page as text. `missing` says why there are no sample pictures; `created` is ISO 8601."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        **_contents(findings), samples=samples, missing=missing, created=created
    )


def _contents(findings: Findings) -> dict[str, Any]:
    leader = tables.leading(findings.models)
    models = sorted(findings.models, key=lambda model: model is not leader)
    reference = tables.baseline(models, leader) if leader else None
    judged = leader.evaluations[0] if leader and leader.evaluations else None
    heard = leader.streams[0] if leader and leader.streams else None
    return {
        "title": _title(findings, leader),
        "leader": leader,
        "tiles": tables.tiles(leader, reference) if leader else (),
        "models": models,
        "comparison": tables.comparison(models),
        "scatter": figures.size_and_accuracy(models, judged["data"] if judged else None),
        "training": [(f"{t.run.data['name']} ({t.run.path.name})", figures.training(t)) for t in findings.trainings],
        "judged": judged,
        "heard": heard,
        "heard_hours": tables.hours(heard) if heard else "",
        "trade": speech.trade(models, heard["data"]) if heard else None,
        "spoken": speech.example(heard) if heard else None,
        "conditions": speech.conditions(leader) if leader and len(leader.streams) > 1 else (),
        "keywords": speech.per_keyword(heard) if heard else (),
        "kind": tables.kind(judged) if judged else "",
        "confusion": tables.confusion(judged) if judged else None,
        "median": tables.milliseconds(leader.p50_ms) if leader and leader.p50_ms else "",
        "latencies": [figure for model in models for figure in figures.latency(model)],
        "layers": [figure for model in models if (figure := figures.layers(model))],
        "summaries": [(c.recipe, steps.summary(c)) for c in findings.compressions],
        "chapters": [chapters.of_compression(c) for c in findings.compressions]
        + [chapters.of_search(s) for s in findings.searches],
        "validity": (
            *validity.validity(findings.trainings, models),
            *((f"Compression to {c.name}", steps.record(c)) for c in findings.compressions),
        ),
        "sources": [Path(source).name for source in findings.sources],
    }


def _title(findings: Findings, leader: Model | None) -> str:
    """What the page is about: a model, else the first of what was given."""
    if leader is not None:
        return leader.name
    names = [t.run.path.name for t in findings.trainings]
    return [*names, *(c.name for c in findings.compressions), *(s.name for s in findings.searches)][0]


def _samples(findings: Findings, leader: Model | None, progress: Progress) -> tuple[tuple[Sample, ...], str]:
    """Pictures with the leading model's answers, or the reason why there are none."""
    if leader is None and (findings.compressions or findings.searches):
        return (), ""  # pictures are not what such a page is for
    if leader is None or leader.bundle is None:
        return (), "no bundle was given"
    if not isinstance(leader.bundle.manifest.preprocessing, ImageSpec):
        return (), ""
    sources = [str(result["data"].get("source")) for result in leader.evaluations]
    trained = leader.bundle.manifest.recipe.get("data") or {}
    sources += [str(trained["source"])] if findings.trainings and trained.get("source") else []
    if not sources:
        return (), "no evaluation of this bundle was given"
    try:
        return pick(leader.bundle, sources[0], progress=progress), ""
    except EdgepressError as error:
        # A report is read far from the data it is about: it is worth having without pictures.
        return (), error.what
