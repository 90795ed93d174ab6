"""The pass `mixed`: the few layers that int8 hurts most are kept in 16 bits, or in float."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edgepress_convert import planned, quantize, verify
from edgepress_convert.compress import sensitivity
from edgepress_convert.compress.job import Job
from edgepress_convert.plan import Plan
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras

_TRIED = 6  # of the most damaging layers, each time


def mixed(model: keras.Model, job: Job, *, keep: int = 2, scheme: str = "int16x8", max_drop: float = 0.0) -> Plan:
    """`job.plan`, in which up to `keep` layers are stored by `scheme`, one of `quantize.KEPT`, each with its readers.

    A layer is only as precise as what it is read by: its 16-bit output would be rounded at the door of an int8 layer.
    So the plan names a layer, what hands its output on, and what computes from it. Chosen one after the other: of those
    layers that alone do most damage (`sensitivity`), the one without which the quantized model's scores are nearest to
    the float model's; none that does not help. With `max_drop`, no more are kept once the accuracy on validation
    examples is within so many points of the float model's. Measured on examples that were not trained on.
    """
    check(model, job, keep=keep, scheme=scheme, max_drop=max_drop)
    prepared = planned.prepare(model, job.representative)
    held = sensitivity.judged_on(job, sensitivity.MAX_EXAMPLES)
    expected = verify.scores(prepared.float_model, held)
    ranked = [row for row in sensitivity.measure(prepared, held, job.plan) if row.damage > 0]

    def judged(plan: Plan) -> tuple[float, float | None]:
        found = verify.scores(planned.build(prepared, plan), held)
        return sensitivity.divergence(expected, found), sensitivity.drop(expected, found, held.labels)

    plan = job.plan
    (now, lost), chosen = judged(plan), 0
    for _ in range(keep):
        if max_drop and lost is not None and lost <= max_drop:
            break
        tries = []
        for row in ranked:
            wider = _kept_with_readers(prepared, plan, row.name, scheme)
            if wider is None or wider == plan:
                continue
            tries.append((judged(wider), row.name, wider))
            if len(tries) == _TRIED:
                break
        best = min(tries, key=lambda one: one[0][0], default=None)
        if best is None or best[0][0] >= now:
            break
        job.note(f"keeps {best[1]} in {scheme}, with what reads it: {', '.join(set(best[2].keep) - set(plan.keep))}")
        (now, lost), _, plan = best
        chosen += 1
    if not chosen:
        job.note(f"no layer kept in {scheme} brings the scores nearer to the float model's")
    return plan


def check(model: keras.Model, job: Job, *, keep: int = 2, scheme: str = "int16x8", max_drop: float = 0.0) -> None:
    """Whether layers can be kept apart so. Raises EdgepressError."""
    if keep < 1:
        raise EdgepressError(f"mixed keeps 1 layer or more, not {keep}", "leave mixed out to keep none")
    if max_drop < 0:
        raise EdgepressError(f"max_drop is {max_drop:g} points, but must not be negative")
    if max_drop and job.lessons.val is None:
        raise EdgepressError("max_drop is measured on validation examples, and there are none", "leave max_drop out")
    wanted = replace(job.plan, keep={**job.plan.keep, model.layers[-1].name: scheme})
    quantize.check_plan(wanted)


def _kept_with_readers(prepared: planned.Prepared, plan: Plan, name: str, scheme: str) -> Plan | None:
    """`plan` in which layer `name` and its readers are kept, too; None where `scheme` cannot."""
    assert prepared.layers is not None
    wanted: Mapping[str, str] = {
        one.name: plan.keep.get(one.name, scheme)
        for unit in prepared.layers.of(name)
        for one in sensitivity.readers(prepared, unit)
    }
    wider = replace(plan, keep={**plan.keep, **wanted})
    try:
        planned.operators(prepared, wider.keep)
    except EdgepressError:
        return None
    return wider
