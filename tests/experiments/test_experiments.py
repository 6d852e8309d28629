"""The frame of the experiments: options, runs, data, results and tables."""

import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import tables
from experiments.__main__ import main
from experiments.common import (
    DataError,
    Options,
    Result,
    Results,
    Run,
    find,
    fit,
    write_whole,
)
from experiments.common._options import arguments, settings
from experiments.common._results import table, write_results
from experiments.common._run import Metrics


@dataclass(frozen=True)
class Config(Options):
    """Options of each kind."""

    sizes: tuple[int, ...] = (1, 2)
    file: Path | None = None
    rate: float = 0.1
    on: bool = False


def loss(params, carry, key, batch):
    return jnp.sum((params - batch) ** 2), carry + 1


def train(run: Run, updates: int = 20, **options):
    return fit(
        run,
        "training",
        jnp.ones(3),
        loss,
        lambda position: np.full(3, float(position % 2), np.float32),
        optax.sgd(0.1),
        updates=updates,
        carry=jnp.zeros((), jnp.int32),
        **options,
    )


def test_settings_survive_the_file():
    config = Config(sizes=(3,), file=Path("a/b.txt"), rate=0.5, on=True, name="x")
    again = Config.from_json(json.loads(json.dumps(config.as_json())))
    assert again.file == Path("a/b.txt").absolute()
    assert again.sizes == (3,) and again.on and again.rate == 0.5
    assert arguments(config) == "--sizes 3 --file a/b.txt --rate 0.5 --on"
    assert settings(config)["file"] == "b.txt"  # no path of this machine
    assert "data_dir" not in settings(config)


def test_a_name_that_is_taken_gets_a_number(tmp_path):
    names = [Run("a", Config(runs=tmp_path)).folder.name for _ in range(3)]
    assert names == ["a", "a-2", "a-3"]


def test_a_line_cut_short_by_a_crash_is_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"update": 1}\n{"update": 2}\n{"upda')
    with Metrics(tmp_path, 1) as metrics:
        metrics.log(update=2, loss=0.5)
    kept = (tmp_path / "metrics.jsonl").read_text()
    assert kept == '{"update": 1}\n{"update": 2, "loss": 0.5}\n'


def test_the_best_parameters_are_returned(tmp_path):
    evaluations = iter([3.0, 1.0, 2.0, 5.0])
    seen = []

    def evaluate(params):
        seen.append(np.asarray(params))
        return {"error": next(evaluations)}

    run = Run("a", Config(runs=tmp_path))
    best = train(run, evaluate=evaluate, evaluate_every=5, choose="error")
    np.testing.assert_array_equal(best.params, seen[1])
    measured = [m["error"] for m in run.metrics("training") if "error" in m]
    assert measured == [3.0, 1.0, 2.0, 5.0]
    # a resumed run reads the finished training: nothing is evaluated again
    again = train(
        Run("a", Config(resume=run.folder)), evaluate=evaluate, choose="error"
    )
    np.testing.assert_array_equal(again.params, best.params)


def test_the_average_follows_the_parameters(tmp_path):
    plain = train(Run("a", Config(runs=tmp_path)))
    averaged = train(Run("a", Config(runs=tmp_path)), average=0.5)
    want, moving = np.ones(3), np.ones(3)
    for step in range(20):
        want = want - 0.2 * (want - step % 2)
        weight = min(0.5, (2 + step) / (11 + step))
        moving = weight * moving + (1 - weight) * want
    np.testing.assert_allclose(plain.params, want, rtol=1e-5)
    np.testing.assert_allclose(averaged.params, moving, rtol=1e-5)


def test_a_loss_that_is_not_finite_ends_the_run_in_words(tmp_path):
    run = Run("a", Config(runs=tmp_path))
    with pytest.raises(FloatingPointError, match="loss of update 1 is nan"):
        fit(
            run, "t", jnp.ones(3), loss, lambda _: np.full(3, np.nan, np.float32),
            optax.sgd(0.1), updates=3, carry=jnp.zeros((), jnp.int32),
        )  # fmt: skip


def test_a_value_is_computed_once(tmp_path):
    run = Run("a", Config(runs=tmp_path))
    assert run.once("baselines", lambda: {"knn": 0.5}) == {"knn": 0.5}
    again = Run("a", Config(resume=run.folder))
    assert again.once("baselines", lambda: pytest.fail("computed again")) == {
        "knn": 0.5
    }
    assert again.seconds >= 0


def test_missing_data_are_refused_with_their_source(tmp_path):
    with pytest.raises(
        DataError, match=r"recordings does not exist. Get the data from X"
    ):
        find(tmp_path, "fsdd/recordings", "X")


ROW = Result(
    "a task (many-to-one)", "GRU", 1234, "accuracy", (0.5, 0.7), 12.0,
    goal="at least 0.98", baselines={"1-NN": 0.4}, published={"Kudo 1999": 0.941},
)  # fmt: skip


def test_the_table_says_what_came_out(tmp_path):
    run = Run("a", Config(runs=tmp_path, rate=0.5))
    write_results(run, "a", Results((ROW,), {"note": 1}))
    results = json.loads((run.folder / "results.json").read_text())
    assert results["command"] == "python -m experiments run a --rate 0.5"
    assert results["settings"]["sizes"] == [1, 2] and results["facts"] == {"note": 1}
    assert {"python", "jax"} <= set(results["versions"]) and "cores" in results[
        "machine"
    ]
    (cells,) = table(results)
    assert cells == [
        "a task (many-to-one)", "GRU", "1,234", "12",
        "accuracy **0.600** ± 0.141 (n = 2)", "at least 0.98", "1-NN 0.400",
        "Kudo 1999 0.941",
    ]  # fmt: skip


def test_the_readme_is_replaced_between_its_marks_only():
    text = f"before\n{tables.START}\nold\n{tables.END}\nafter"
    new = tables.replaced(text, "new")
    assert new == f"before\n{tables.START}\n\nnew\n\n{tables.END}\nafter"
    assert tables.replaced(new, "new") == new
    with pytest.raises(ValueError, match="needs the lines"):
        tables.replaced("no marks", "new")


def test_the_tables_are_those_of_the_committed_results():
    assert main(["table", "--check"]) == 0


UNPUBLISHED: set[str] = set()
"""Experiments whose committed run is still to come."""


@pytest.mark.parametrize("name", tables.names())
def test_each_folder_is_complete(name):
    assert tables.question(name).endswith("?")
    folder = tables.HERE / name
    assert len((folder / "train.py").read_text().splitlines()) <= 150
    readme = (folder / "README.md").read_text()
    assert tables.START in readme and "picture.png" in readme
    results = tables.load(name)
    assert (results is None) == (name in UNPUBLISHED)
    if results is not None:
        assert (folder / "picture.png").is_file()
        assert results["rows"] and results["seconds"] > 0


def test_a_small_run_is_not_published(tmp_path, capsys):
    folder = Run("char_lm", Config(runs=tmp_path), small=True).folder
    write_whole(folder / "results.json", "{}")
    assert main(["publish", str(folder)]) == 2
    assert "Publish a whole one" in capsys.readouterr().err
    assert main(["publish", str(tmp_path)]) == 2


def test_commands_that_are_wrong_say_what_there_is(capsys):
    assert main([]) == main(["run"]) == main(["list", "x"]) == 2
    assert main(["run", "nothing"]) == 2
    known = capsys.readouterr().out
    assert "there are: " in known and "char_lm" in known
    assert main(["list"]) == 0
    assert "How well does" in capsys.readouterr().out


def test_ctrl_c_in_the_last_evaluation_ends_the_run_as_well(tmp_path):
    run = Run("a", Config(runs=tmp_path))

    def evaluate(params):
        os.kill(os.getpid(), signal.SIGINT)
        return {"error": 0.0}

    with pytest.raises(KeyboardInterrupt):
        train(run, evaluate=evaluate)
    assert train(run).params.shape == (3,)  # it was saved
