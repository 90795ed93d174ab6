"""The shared memory of a search: one Optuna study that any number of processes and machines work on.

A process that dies leaves its trial behind; a heartbeat tells the others, and one of them takes the trial up again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import optuna
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

from edgepress_convert.search.front import Point
from edgepress_runtime.errors import EdgepressError

HEARTBEAT_S = 20
GRACE_S = 90  # without a heartbeat for so long, a trial's process is taken for dead
_RETRIES = 2
_STARTUP = 12  # trials before the sampler begins to learn

optuna.logging.set_verbosity(optuna.logging.ERROR)


def connect(url: str, name: str, *, seed: int, heartbeat_s: int = HEARTBEAT_S, grace_s: int = GRACE_S) -> optuna.Study:
    """The study `name` in the storage `url` (SQLAlchemy's form), made when it is not there yet.

    Values are accuracy (up), bytes (down) and latency (down) of the cheap first rung. Raises EdgepressError.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            storage = RDBStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {},
                heartbeat_interval=heartbeat_s,
                grace_period=grace_s,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(max_retry=_RETRIES),
            )
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                directions=["maximize", "minimize", "minimize"],
                load_if_exists=True,
            )
        except Exception as error:  # noqa: BLE001  (drivers of databases raise their own kinds)
            reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise EdgepressError(f"the search's storage {url} cannot be used: {reason}", "check --storage") from None
        # Processes that begin with the same seed must not propose the same recipes.
        study.sampler = optuna.samplers.TPESampler(
            seed=seed + 1000 * len(study.get_trials(deepcopy=False)), n_startup_trials=_STARTUP, multivariate=False
        )
    return study


def begin(study: optuna.Study, source: Mapping[str, Any], first: Sequence[Mapping[str, Any]]) -> None:
    """Note what the study is about, and queue the trials that come first, once for all processes.

    Raises EdgepressError when the study was begun for something else.
    """
    known = study.user_attrs.get("source")
    if known is None:
        study.set_user_attr("source", dict(source))
    elif known != dict(source):
        changed = sorted(key for key in {*known, *source} if known.get(key) != source.get(key))
        raise EdgepressError(
            f"this search was begun with another {changed[0]}", "give another --out, or the same options as before"
        )
    for parameters in first:
        study.enqueue_trial(dict(parameters), user_attrs={"first": True}, skip_if_exists=True)


def optimize(study: optuna.Study, objective: Callable[[optuna.Trial], tuple[float, float, float]]) -> None:
    """Run one trial, after those that died were queued again. A recipe that cannot be done fails its trial alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.optimize(objective, n_trials=1, catch=(EdgepressError,))


def original_number(trial: optuna.Trial) -> int:
    """The number of the trial that `trial` takes up again, else its own: what was kept under it can be used."""
    found = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial.storage.get_trial(trial._trial_id))
    return trial.number if found is None else found


def points(study: optuna.Study, attribute: str) -> list[Point]:
    """What the finished trials noted under `attribute`, `proxy` or `full`."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))
    return [point_of(trial, attribute) for trial in trials if attribute in trial.user_attrs]


def point_of(trial: FrozenTrial, attribute: str) -> Point:
    """The point that one trial noted."""
    return Point(**trial.user_attrs[attribute])


def note(trial: optuna.Trial, attribute: str, point: Point) -> None:
    """Keep `point` with the trial."""
    trial.set_user_attr(attribute, asdict(point))


def counts(study: optuna.Study) -> dict[str, int]:
    """How many trials are in each state, by its name in small letters."""
    trials = study.get_trials(deepcopy=False)
    return {state.name.lower(): sum(t.state == state for t in trials) for state in TrialState}
