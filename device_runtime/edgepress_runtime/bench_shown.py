"""A measurement for people."""

from __future__ import annotations

from collections.abc import Iterator

from edgepress_runtime.bench import BenchResult
from edgepress_runtime.compare import Comparison


def lines(result: BenchResult) -> Iterator[str]:
    """What was measured, a line a subject; then whether it may be believed."""
    ms = result.latency_ms
    memory = "" if result.peak_rss_mb is None else f", {result.peak_rss_mb:.0f} MB at peak"
    yield f"{result.name} {result.model_bytes / 1e3:.0f} kB: {ms['n']} runs, {result.engine}, threads {result.threads}"
    yield f"latency  p50 {ms['p50']:.3f} ms, p90 {ms['p90']:.3f} ms, p99 {ms['p99']:.3f} ms, mean {ms['mean']:.3f} ms"
    yield f"start    load {result.load_ms:.1f} ms, first call {result.first_ms:.2f} ms{memory}"
    if result.cpu_s_per_audio_s is not None:
        yield f"sound    {result.cpu_s_per_audio_s:.5f} CPU s a second, from samples to decisions"
    yield f"overhead {result.overhead_ratio:.3f} of the bare engine's time; energy: {_energy(result)}"
    for row in result.sweep or ():
        times = f"p50 {row.latency_ms['p50']:.3f} ms, p90 {row.latency_ms['p90']:.3f} ms"
        yield f"threads  {row.threads}: {times}, {row.speedup:.2f} times as fast" + _doubt(row.reasons)
    if result.against is not None:
        yield from _against(result.name, result.against)
    if result.valid:
        yield "valid    nothing speaks against these figures"
    else:
        yield f"INVALID  {'; '.join(result.reasons)}"


def _against(name: str, other: Comparison) -> Iterator[str]:
    measured = f"p50 {other.measured_ms['p50']:.3f} against {other.latency_ms['p50']:.3f} ms"
    interval = f"{other.low:.3f} to {other.high:.3f} at 95 %"
    yield (
        f"against  {other.name}: {name} takes {other.ratio:.3f} of its time ({interval}, {measured}, "
        f"{other.latency_ms['n']} turns): {other.verdict}" + _doubt(other.reasons)
    )


def _energy(result: BenchResult) -> str:
    used = result.energy
    if used.mj is None:
        return f"not measured: {used.reason}" + (f" ({used.remedy})" if used.remedy else "")
    return f"{used.mj:.3f} mJ a call over {used.idle_w:.2f} W idle, by {used.source}"


def _doubt(reasons: object) -> str:
    return " (in doubt)" if reasons else ""
