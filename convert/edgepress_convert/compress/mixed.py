"""The pass `mixed`: the few layers that int8 hurts most are kept in 16 bits, or in float."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edgepress_convert import planned, quantize, verify
from edgepress_convert.compress import sensitivity
from edgepress_convert.compress.job import Job
from edgepress_convert.compress.measure import held_out
from edgepress_convert.examples import Examples
from edgepress_convert.plan import Plan
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras

_TRIED = 6  # of the most damaging layers, each time
_WORTH = 0.1  # the share of the divergence that a layer must take away, since 16 bits are slow


def mixed(model: keras.Model, job: Job, *, keep: int = 2, scheme: str = "int16x8", max_drop: float = 0.0) -> Plan:
    """`job.plan`, in which up to `keep` layers are stored by `scheme`, one of `quantize.KEPT`, each with its readers.

    A layer is only as precise as what reads it: its 16-bit output would be rounded at the door of an int8 layer. So the
    plan names a layer, what hands its output on, and what computes from it. Chosen one after the other: of those layers
    that alone do most damage (`sensitivity`), the one that brings the scores of the quantized model nearest to the
    float model's; where no one does, the worst several at once, since two rounded tensors in a row hide each other.
    What does not take a tenth off the divergence is left alone. With `max_drop`, no more are kept once the accuracy is
    within so many points of the float model's.

    Scores are compared on the job's representative examples, which are not those that the chain judges by; only
    `max_drop` looks at validation examples, for when to stop.
    """
    check(model, job, keep=keep, scheme=scheme, max_drop=max_drop)
    prepared = planned.prepare(model, job.representative)
    seen = Examples(job.representative[: sensitivity.MAX_EXAMPLES], lambda part: part, None, "examples")
    expected = verify.scores(prepared.float_model, seen)
    ranked = [row.name for row in sensitivity.measure(prepared, seen, job.plan) if row.damage > 0]

    def judged(plan: Plan, names: Sequence[str] = ()) -> _Try:
        built = planned.build(prepared, plan)
        divergence = sensitivity.divergence(expected, verify.scores(built, seen))
        return _Try(plan, tuple(names), divergence, built)

    def nearest(now: _Try, sets: Iterable[Sequence[str]]) -> _Try | None:
        wider = ((names, _wider(prepared, now.plan, names, scheme)) for names in sets)
        tries = [judged(plan, names) for names, plan in wider if plan is not None]
        best = min(tries, key=lambda one: one.divergence, default=None)
        return best if best is not None and best.divergence <= (1 - _WORTH) * now.divergence else None

    now, left = judged(job.plan), keep
    while left and not (max_drop and _lost(prepared, now, job) <= max_drop):
        able = [name for name in ranked if _wider(prepared, now.plan, [name], scheme) is not None][:_TRIED]
        best = nearest(now, ([name] for name in able)) or nearest(now, (able[:n] for n in range(2, left + 1)))
        if best is None:
            job.note(f"no {'more layers' if left < keep else 'layer'} kept in {scheme} would bring the scores nearer")
            break
        along = [name for name in best.plan.keep if name not in now.plan.keep and name not in best.names]
        job.note(f"keeps {' and '.join(best.names)} in {scheme}, with what reads it: {', '.join(along) or 'nothing'}")
        now, left = best, left - len(best.names)
    return now.plan


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


@dataclass(frozen=True)
class _Try:
    """A plan with the layers `names` added, how far its scores are from the float model's, and what was built by it."""

    plan: Plan
    names: tuple[str, ...]
    divergence: float
    built: bytes


def _lost(prepared: planned.Prepared, tried: _Try, job: Job) -> float:
    """Points of accuracy that `tried` loses against the float model, on validation examples."""
    held = held_out(job.lessons, limit=sensitivity.MAX_EXAMPLES)
    expected, found = verify.scores(prepared.float_model, held), verify.scores(tried.built, held)
    lost = sensitivity.drop(expected, found, held.labels)
    assert lost is not None  # validation examples have labels
    return lost


def _wider(prepared: planned.Prepared, plan: Plan, names: Sequence[str], scheme: str) -> Plan | None:
    """`plan` in which the layers `names` and their readers are kept, too; None where they are, or `scheme` cannot."""
    assert prepared.layers is not None
    units = [one for name in names for unit in prepared.layers.of(name) for one in sensitivity.readers(prepared, unit)]
    before = planned.operators(prepared, plan.keep)
    added = {unit.name: scheme for unit in units if not any(n in before for n in unit.ops)}
    wider = replace(plan, keep={**plan.keep, **added})
    try:
        planned.operators(prepared, wider.keep)
    except EdgepressError:
        return None
    return wider if added else None
