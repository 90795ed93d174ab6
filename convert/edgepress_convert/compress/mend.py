"""The pass `mend`: the quantization doctor. It measures, looks for what hurts, tries what helps against that, measures
again, and keeps only what helped.

Remedies are passes, written as in a recipe, so that what it did can be done again by `compress --recipe`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgepress_convert import planned, quantize
from edgepress_convert.compress import Candidate, recipe
from edgepress_convert.compress.diagnosis import LOOKED_AT, Health, LayerEvidence, examine, health, scores
from edgepress_convert.compress.job import Job
from edgepress_convert.compress.measure import held_out
from edgepress_convert.examples import Examples
from edgepress_convert.plan import Plan
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras
from edgepress_train.spec import Step

MAX_JUDGED = 2000  # validation examples that each remedy is judged on
# What counts as evidence. A channel 8 times smaller than the largest has 5 bits left of 8, and a range 4 times wider
# than nearly all of its values wastes 2; a healthy net's convolutions lose 1 to 3 dB each.
_UNEVEN = 8.0
_OUTLIER = 4.0
_CONSTANT = 0.25
_LOSES_DB = 3.0
_POOR_DB = 25.0
_LEAST_GAIN = 0.1  # of what quantization costs in cross-entropy, for a remedy to count as a help
_SURE = 2.0  # standard errors
_LAST = "correct-bias"
_KEPT_LAYERS = 4  # that may become int16


@dataclass(frozen=True)
class Remedy:
    """A step that may help. `cost` orders them: 0 seconds, 1 a slower model, 2 training. `because` tells the evidence
    for it, empty where there is none."""

    step: Step
    cost: int
    because: Callable[[Sequence[LayerEvidence], Plan], str]


@dataclass(frozen=True)
class Treatment:
    """One thing that was tried: `remedy` as a recipe has it, the `evidence` for it, how the net was `before` and
    `after` (None where it could not be done), and whether it was kept in the end; `problem` says why it was not, where
    that is more than that it did not help."""

    remedy: str
    evidence: str
    before: Health
    after: Health | None
    kept: bool
    problem: str = ""


@dataclass(frozen=True)
class Mended:
    """What came of it. `verdict` is the end in one sentence; `worst` the layer that the signal falls most in then."""

    candidate: Candidate
    start: Health
    end: Health
    account: tuple[Treatment, ...]
    verdict: str
    worst: LayerEvidence | None = None


def mend(model: keras.Model, job: Job, *, max_drop: float = 0.5, epochs: int = 3) -> Candidate:
    """`model` and `job.plan`, or what has to be made of them for the quantized model to lose at most `max_drop` points.

    Measured on validation examples. Cheap remedies come first, those that the evidence suggests before the others, then
    layers kept in int16, then `epochs` of training for int8 (none for 0). A model that needs nothing is returned as it
    is. Where nothing brings the loss within `max_drop` the best that was found is returned, and a note tells the loss
    and the layer. Raises EdgepressError as `check` does.
    """
    done = treat(model, job, max_drop=max_drop, epochs=epochs)
    for treatment in done.account:
        job.note(told(treatment))
    job.note(done.verdict)
    return done.candidate


def check(model: keras.Model, job: Job, *, max_drop: float = 0.5, epochs: int = 3) -> None:
    """Whether there is something to mend, and to judge it by. Raises EdgepressError."""
    if job.lessons.val is None:
        raise EdgepressError(
            "mend judges by validation examples, and there are none",
            "train with --val-fraction 0.15, or leave mend out",
        )
    if quantize.scheme(job.plan.scheme).activations == "float32":
        raise EdgepressError(
            f"{job.plan.scheme} quantizes no activations: there is nothing to mend", "leave mend out, or plan for int8"
        )
    if max_drop < 0 or epochs < 0:
        raise EdgepressError("max_drop and epochs must not be negative", "write mend:0.5:epochs=3")


def treat(model: keras.Model, job: Job, *, max_drop: float, epochs: int) -> Mended:
    """What `mend` does, with the account of it."""
    check(model, job, max_drop=max_drop, epochs=epochs)
    held = held_out(job.lessons, limit=MAX_JUDGED)
    assert held.labels is not None
    expected = np.concatenate([model.predict(batch, verbose=0) for batch in held.batches()])
    ward = _Ward(job, held, expected)
    state = start = base = ward.admit(Candidate(model, job.plan))
    if _well(start.health, max_drop):
        lost = _points(start.health)
        verdict = f"mend left the model as it is: {job.plan.scheme} loses {lost} of at most {max_drop:g} points"
        return Mended(start.candidate, start.health, start.health, (), verdict)
    evidence = ward.look(state)
    account: list[Treatment] = []
    waiting = remedies(max_drop, epochs)
    while waiting and not _well(state.health, max_drop):
        reasons = [remedy.because(evidence, state.candidate.plan) for remedy in waiting]
        # the first of the cheapest, those with a reason before those without
        chosen = min(range(len(waiting)), key=lambda n: (waiting[n].cost, not reasons[n], n))
        remedy, reason = waiting.pop(chosen), reasons[chosen]
        job.progress("mend", len(account), len(account) + len(waiting) + 1, str(remedy.step))
        try:
            # Biases are corrected for one way of rounding: whatever changes that begins with the uncorrected ones.
            after = ward.give(remedy.step, base, number=len(account) + 1)
        except EdgepressError as error:
            account.append(Treatment(str(remedy.step), reason, state.health, None, False, error.what))
            continue
        kept = helped(state, after, max_drop)
        account.append(Treatment(str(remedy.step), reason, state.health, after.health, kept))
        if not kept:
            continue
        if remedy.step.name != _LAST:
            account = [_undone(old, remedy) if old.kept and old.remedy == _LAST else old for old in account]
            if state is not base:
                waiting += [one for one in remedies(max_drop, epochs) if one.step.name == _LAST]
            base = after
        state = after
        evidence = ward.look(state)
    worst = max(evidence, key=lambda layer: layer.loss_db, default=None)
    verdict = _verdict(start.health, state.health, account, worst, max_drop, job.plan)
    return Mended(state.candidate, start.health, state.health, tuple(account), verdict, worst)


def _undone(treatment: Treatment, by: Remedy) -> Treatment:
    return replace(treatment, kept=False, problem=f"undone for {by.step}")


def remedies(max_drop: float, epochs: int) -> list[Remedy]:
    """All that can be tried, in the order that is taken among equals."""
    found = [
        Remedy(Step("equalize"), 0, _uneven),
        Remedy(Step("equalize", None, {"by": "activations"}), 0, _uneven),
        Remedy(Step("ranges", "mse"), 0, _outliers),
        Remedy(Step("ranges", "percentile"), 0, _outliers),
        Remedy(Step("correct-bias"), 0, _constant),
        Remedy(Step("mixed", _KEPT_LAYERS, {"max_drop": max_drop}), 1, _losing),
    ]
    return found + ([Remedy(Step("qat", epochs), 2, _losing)] if epochs else [])


@dataclass(frozen=True)
class State:
    """A candidate under treatment: its file, which of the examples it answers right (n,) bool, and its health."""

    candidate: Candidate
    built: bytes
    right: np.ndarray
    health: Health


def helped(before: State, after: State, max_drop: float) -> bool:
    """Whether a remedy is worth keeping.

    It is when LiteRT could not run the net before and now can, and is not the other way round. Otherwise it is when it
    answers more right than chance explains (paired, 2 standard errors), and is not when it answers fewer. A gain that
    may be chance has to reach `max_drop`, or to come with a tenth off what quantization costs in cross-entropy.
    """
    if bool(before.health.deadly) != bool(after.health.deadly):
        return not after.health.deadly
    gained = after.right.astype(np.float64) - before.right
    gain, error = gained.mean(), gained.std() / np.sqrt(len(gained))
    if abs(gain) > _SURE * error:
        return bool(gain > 0)
    if gain > 0 and _well(after.health, max_drop):
        return True
    cost = before.health.cross_entropy - before.health.float_cross_entropy
    saved = before.health.cross_entropy - after.health.cross_entropy
    return bool(gain >= 0) and cost > 0 and saved >= _LEAST_GAIN * cost


class _Ward:
    """What all candidates are judged by, and float versions of their models, each made once."""

    def __init__(self, job: Job, held: Examples, expected: np.ndarray) -> None:
        self.job, self.held, self.expected = job, held, expected
        self._prepared: tuple[keras.Model, planned.Prepared] | None = None

    def admit(self, candidate: Candidate) -> State:
        """Quantize and measure."""
        if candidate.plan.plain:
            built = quantize.from_plan(candidate.model, candidate.plan, self.job.representative)
        else:
            built = planned.build(self._float(candidate.model), candidate.plan)
        found, deadly = scores(built, self.held)
        labels = self.held.labels
        assert labels is not None
        return State(candidate, built, found.argmax(axis=1) == labels, health(self.expected, found, labels, deadly))

    def give(self, step: Step, state: State, *, number: int) -> State:
        """The state after one remedy. Raises EdgepressError where it cannot be given."""
        (bound,) = recipe.bind((step,))
        if state.health.deadly and step.name == "mixed":
            raise EdgepressError(f"it runs LiteRT, which {state.health.deadly} makes abort")
        model, plan = state.candidate.model, state.candidate.plan
        job = replace(self.job, plan=plan, scratch=self.job.scratch / f"{number:02d}-{step.name}")
        if bound.check is not None:
            bound.check(model, job, **bound.options)
        made = bound.function(model, job, **bound.options)
        if isinstance(made, Plan):
            made = Candidate(model, made)
        if not isinstance(made, Candidate):
            made = Candidate(made, plan)
        if made.model is model and made.plan == plan:
            raise EdgepressError("it found nothing to change")
        return self.admit(made)

    def look(self, state: State) -> tuple[LayerEvidence, ...]:
        """What hurts."""
        prepared = self._float(state.candidate.model)
        assert prepared.layers is not None
        some = np.unique(np.linspace(0, len(self.held) - 1, min(LOOKED_AT, len(self.held))).astype(np.int64))
        return examine(prepared.float_model, state.built, prepared.layers, self.held.take(some))

    def _float(self, model: keras.Model) -> planned.Prepared:
        if self._prepared is None or self._prepared[0] is not model:
            self._prepared = (model, planned.prepare(model, self.job.representative))
        return self._prepared[1]


def _hurt(evidence: Sequence[LayerEvidence]) -> list[LayerEvidence]:
    """Layers that lose more of the signal than rounding alone explains, or in which little of it is left."""
    return [e for e in evidence if e.loss_db >= _LOSES_DB or e.channel_snr_db < _POOR_DB]


def _uneven(evidence: Sequence[LayerEvidence], plan: Plan) -> str:
    kernel = max(evidence, key=lambda e: e.weight_ratio, default=None)
    if kernel is not None and kernel.weight_ratio >= _UNEVEN and plan.weights == "per-tensor":
        return f"the weights of {kernel.name} are {kernel.weight_ratio:.0f} times as large in one channel as in most"
    worst = max(_hurt(evidence), key=lambda e: e.channel_ratio, default=None)
    if worst is None or worst.channel_ratio < _UNEVEN:
        return ""
    return f"one channel of {worst.name} is {worst.channel_ratio:.0f} times as large as most"


def _outliers(evidence: Sequence[LayerEvidence], plan: Plan) -> str:
    worst = max(_hurt(evidence), key=lambda e: e.outlier, default=None)
    if worst is None or worst.outlier < _OUTLIER:
        return ""
    return f"the range of {worst.name} is {worst.outlier:.0f} times as wide as 99.9 % of its values need"


def _constant(evidence: Sequence[LayerEvidence], plan: Plan) -> str:
    worst = max(_hurt(evidence), key=lambda e: e.mean_share, default=None)
    if worst is None or worst.mean_share < _CONSTANT:
        return ""
    return f"{100 * worst.mean_share:.0f} % of the error of {worst.name} is the same for all inputs"


def _losing(evidence: Sequence[LayerEvidence], plan: Plan) -> str:
    worst = max(evidence, key=lambda e: e.loss_db, default=None)
    return "" if worst is None else _where(worst)


def _where(layer: LayerEvidence) -> str:
    before = layer.channel_snr_db + layer.loss_db
    return f"the signal falls most in {layer.name} ({layer.op}), from {before:.0f} to {layer.channel_snr_db:.0f} dB"


def told(treatment: Treatment) -> str:
    """One treatment as a sentence."""
    reason = treatment.evidence or "no evidence for it, but cheap"
    if treatment.after is None:
        return f"{treatment.remedy} ({reason}): not possible, {treatment.problem}"
    before, after = 100 * treatment.before.top1, 100 * treatment.after.top1
    end = "kept" if treatment.kept else treatment.problem or "dropped"
    return f"{treatment.remedy} ({reason}): {before:.1f} % became {after:.1f} %, {end}"


def _verdict(
    start: Health, end: Health, account: Sequence[Treatment], worst: LayerEvidence | None, max_drop: float, plan: Plan
) -> str:
    kept = ",".join(treatment.remedy for treatment in account if treatment.kept)
    by = f" by {kept}" if kept else ""
    was = f"{plan.scheme} lost {_points(start)} points ({100 * start.float_top1:.1f} % became {100 * start.top1:.1f} %)"
    if _well(end, max_drop):
        return f"mended{by}: {was}, now {_points(end)} (allowed: {max_drop:g})"
    where = f"; {_where(worst)}" if worst is not None else ""
    where += f"; {end.deadly} has a multiplier that makes LiteRT abort" if end.deadly else ""
    return f"not mended: {was}, and still loses {_points(end)} (allowed: {max_drop:g}){by}{where}"


def _well(now: Health, max_drop: float) -> bool:
    return now.drop_points <= max_drop and not now.deadly


def _points(now: Health) -> str:
    return f"{now.drop_points:.1f}"
