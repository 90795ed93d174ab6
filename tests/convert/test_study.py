"""One study, several processes: killed ones lose nothing, and nobody does the same thing twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from edgepress_convert.search import study as studies
from edgepress_convert.search.space import Space, single_passes, suggest
from edgepress_runtime.errors import EdgepressError

WORKER = """
import sys, time
from pathlib import Path
from edgepress_convert.search import study as studies
url, folder, pause = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
study = studies.connect(url, "test", seed=0, heartbeat_s=1, grace_s=3)
studies.begin(study, {"model": "m"}, [{"x": 1}, {"x": 2}])

def objective(trial):
    x = trial.suggest_int("x", 0, 1000)
    (folder / f"begun-{studies.original_number(trial)}").touch()
    time.sleep(pause)
    return x, 1.0, 1.0

for _ in range(int(sys.argv[4])):
    studies.optimize(study, objective)
"""


def worker(url: str, folder: Path, pause: float, trials: int) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.Popen([sys.executable, "-c", WORKER, url, str(folder), str(pause), str(trials)], env=environment)


def test_a_killed_process_loses_nothing(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    victim = worker(url, tmp_path, 600.0, 1)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "begun-0").exists():
            assert time.monotonic() < deadline
            assert victim.poll() is None
            time.sleep(0.1)
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    time.sleep(5)  # past the grace: only then is it taken for dead
    assert worker(url, tmp_path, 0.0, 4).wait(timeout=120) == 0
    study = studies.connect(url, "test", seed=0)
    trials = study.get_trials()
    counts = studies.counts(study)
    assert counts["running"] == 0
    assert counts["fail"] == 1
    again = [t for t in trials if t.user_attrs == trials[0].user_attrs and t.number and t.params == {"x": 1}]
    assert [t.state.name for t in again] == ["COMPLETE"]
    assert sorted(t.params["x"] for t in trials if t.state.name == "COMPLETE")[:2] == [1, 2]


def test_two_processes_share_the_first_trials(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    studies.begin(studies.connect(url, "test", seed=0), {"model": "m"}, [{"x": 1}, {"x": 2}])
    both = [worker(url, tmp_path, 0.2, 5) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    trials = studies.connect(url, "test", seed=0).get_trials()
    assert [t.state.name for t in trials] == ["COMPLETE"] * 10
    firsts = [t.params["x"] for t in trials if t.user_attrs.get("first")]
    assert sorted(firsts) == [1, 2]


def test_another_search_in_the_same_place_is_refused(tmp_path):
    study = studies.connect(f"sqlite:///{tmp_path / 'study.db'}", "test", seed=0)
    studies.begin(study, {"model": "a", "epochs": 4}, [])
    studies.begin(study, {"model": "a", "epochs": 4}, [])
    with pytest.raises(EdgepressError, match="begun with another epochs"):
        studies.begin(study, {"model": "a", "epochs": 2}, [])


def test_a_storage_that_cannot_be_is_one_sentence():
    with pytest.raises(EdgepressError, match="the search's storage nonsense cannot be used"):
        studies.connect("nonsense", "test", seed=0)


def in_memory() -> optuna.Study:
    return optuna.create_study(
        directions=["maximize", "minimize", "minimize"], sampler=optuna.samplers.RandomSampler(0)
    )


def test_the_first_trials_are_the_model_as_it_is_and_single_passes():
    study = in_memory()
    space = Space(epochs=2)
    studies.begin(study, {}, single_passes(space))
    recipes = []
    for _ in single_passes(space):
        trial = study.ask()
        recipes.append(",".join(map(str, suggest(trial, space))))
        study.tell(trial, (0.0, 0.0, 0.0))
    assert recipes == [
        "",
        "prune-channels:0.3:criterion=taylor:epochs=0,finetune:epochs=2",
        "prune-channels:0.6:criterion=taylor:epochs=0,finetune:epochs=2",
        "prune-channels:0.8:criterion=taylor:epochs=0,finetune:epochs=2",
        "qat:epochs=2",
        "prune:0.8:epochs=2",
        "cluster:16:epochs=2",
    ]


def test_every_recipe_that_can_be_proposed_can_be_bound():
    from edgepress_convert.compress import recipe

    study = in_memory()
    seen = set()
    for _ in range(60):
        trial = study.ask()
        steps = suggest(trial, Space())
        recipe.bind(steps)
        seen.update(step.name for step in steps)
        study.tell(trial, (0.0, 0.0, 0.0))
    assert seen == {"prune-channels", "finetune", "distil", "prune", "cluster", "qat", "equalize", "ranges"}
