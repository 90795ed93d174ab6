"""The validity record: what a reader needs to judge each figure and to get it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgepress_convert.report.gather import Model, Training
from edgepress_convert.report.tables import NOUNS, Row, energy, hours, judged_on, machine, share
from edgepress_runtime.manifest import Preprocessing, SpeechSpec, TextSpec


def validity(trainings: Sequence[Training], models: Sequence[Model]) -> tuple[tuple[str, tuple[Row, ...]], ...]:
    """What a reader needs to judge and repeat each figure, by its subject: (subject, rows of one cell)."""
    found = [(f"Training {t.run.path.name}", _of_training(t)) for t in trainings]
    for model in models:
        if model.bundle is not None or model.digest:
            found.append((f"Bundle {model.name}", _of_bundle(model)))
        for result in model.evaluations:
            found.append((f"Evaluation of {model.name}", _rows(_evaluation(result))))
        for result in model.streams:
            found.append((f"Streams through {model.name}", _rows(_stream(result))))
        for result in model.benches:
            found.append((f"Measurement of {model.name}", _rows(_measurement(result))))
    return tuple(found)


def _of_training(found: Training) -> tuple[Row, ...]:
    run, counts = found.run, found.run.data.get("counts", {})
    noun = NOUNS[type(run.preprocessing)]
    val = run.metrics.get("val") or {}
    return _rows(
        {
            "command": run.command,
            "finished": run.created,
            "data": ", ".join([str(run.data.get("name")), *(f"{part} {n:,}" for part, n in counts.items())]),
            "data fingerprint": run.data.get("fingerprint"),
            "files left out": run.data.get("skipped"),
            "seeds": f"training {run.config.get('seed')}, split {run.config.get('split_seed')}",
            "validation": f"{share(val['top1'])} of {val['n']:,} {noun}" if val else None,
            "seconds of training": run.metrics.get("train_seconds"),
            "versions": _versions(run.versions),
        }
    )


def _of_bundle(model: Model) -> tuple[Row, ...]:
    rows: dict[str, Any] = {"digest": model.digest}
    if model.bundle is not None:
        facts = model.bundle.manifest
        told = facts.recipe.get("quantize") or {}
        given = told.get("representative") or {}
        spec = facts.preprocessing
        rows |= {
            "made": facts.created,
            "quantization": ", ".join(str(told[key]) for key in ("scheme", "weights") if key in told),
            "representative data": f"{given['size']} of {given['source']} ({given['split']}), seed {given['seed']}"
            if {"size", "source", "split", "seed"} <= given.keys()
            else None,
            "preprocessing": _preprocessing(spec),
            "trained by": (facts.recipe.get("train") or {}).get("command"),
            "versions": _versions(facts.tools),
        }
    return _rows(rows)


def _evaluation(result: Mapping[str, Any]) -> dict[str, Any]:
    data = result["data"]
    return {
        "data": judged_on(result),
        "data fingerprint": data.get("fingerprint"),
        "files left out": len(result.get("skipped") or ()),
        "bundle digest": result["digest"],
    }


def _preprocessing(spec: Preprocessing) -> str:
    if isinstance(spec, SpeechSpec):
        shape = f"{1e3 * spec.window / spec.rate_hz:g} ms every {1e3 * spec.hop / spec.rate_hz:g} ms"
        kind = f"{spec.front_end} with PCEN" if spec.pcen else spec.front_end
        return f"{kind}, {spec.features} features of {shape}, {spec.rate_hz} Hz"
    if isinstance(spec, TextSpec):
        return f"{spec.length} of {spec.pieces:,} pieces, case: {spec.case}, accents: {spec.accents}"
    return f"{spec.height}x{spec.width}, channels: {spec.channels}, {spec.fit}"


def _stream(result: Mapping[str, Any]) -> dict[str, Any]:
    data = result["data"]
    noise = data.get("noise")
    wait = result.get("latency_ms")
    limit = result.get("at_most_per_hour")
    return {
        "positives": f"{data.get('positives')}, {result['clips']:,} clips" if result["clips"] else None,
        "noise": f"{noise['kind']} at {noise['snr_db']:g} dB, seed {noise['seed']}" if noise else None,
        "negatives": f"{data.get('negatives')}, {hours(result)}" if data.get("negatives") else None,
        "false alarms an hour": None if limit is None else f"below {limit:.2f} at 95 % confidence",
        "silence around each clip": f"{data['silence_around_s']:g} s" if data.get("silence_around_s") else None,
        "from the word's end to the report": f"{wait['p50']:.0f} ms, p90 {wait['p90']:.0f} ms" if wait else None,
        "files left out": len(result.get("skipped") or ()),
        "bundle digest": result["digest"],
    }


def _measurement(result: Mapping[str, Any]) -> dict[str, Any]:
    facts = result["machine"]
    temperature = facts.get("temperature_c")
    return {
        "machine": machine(facts),
        "system": ", ".join(f"{key} {facts[key]}" for key in ("architecture", "kernel", "python") if facts.get(key)),
        "clock governor": facts.get("governor") or "not told by this machine",
        "measured": facts.get("date"),
        "load average": _load(facts),
        "temperature": "not told by this machine" if temperature is None else f"{temperature} °C",
        "engine": f"{result['engine']}, threads: {result['threads']}",
        "calls": result["latency_ms"]["n"],
        "over the bare engine": f"{result['overhead_ratio']:.3f} times" if result.get("overhead_ratio") else None,
        "energy": energy(result),
        "bundle digest": result["digest"],
    }


def _load(facts: Mapping[str, Any]) -> str | None:
    """The 1-minute load average before and after; a busy machine measures itself slower."""
    before, after = facts.get("load_1min_before"), facts.get("load_1min_after")
    return None if before is None or after is None else f"{before} before, {after} after (1 minute)"


def _rows(values: Mapping[str, Any]) -> tuple[Row, ...]:
    return tuple(Row(name, (str(value),)) for name, value in values.items() if value not in (None, ""))


def _versions(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in sorted(found.items()))
