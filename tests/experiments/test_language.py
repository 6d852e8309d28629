"""Language models: the four are the same size, and each learns."""

import random

from experiments.__main__ import main
from experiments.language.model import BUILDERS, make_model, parameters

from .helpers import losses, small


def test_the_models_have_the_same_number_of_parameters():
    for cell in BUILDERS:
        assert 0.93 < parameters(make_model(cell, 1_350_000, 0.1)) / 1_350_000 <= 1


def test_each_learns(tmp_path):
    pick = random.Random(0)
    words = "to be or not to be that is the question".split()
    folder = tmp_path / "data" / "tinyshakespeare"
    folder.mkdir(parents=True)
    text = " ".join(pick.choice(words) for _ in range(2000))
    (folder / "input.txt").write_text(text)
    results, run = small("language", tmp_path)
    assert [row["cell"] for row in results["rows"]] == ["LSTM", "RGLRU"]
    for row in results["rows"]:
        assert losses(run / row["cell"])[-1] < 0.7 * losses(run / row["cell"])[0]
        assert row["values"][0] < row["baselines"]["unigram"]
        assert len((run / row["cell"] / "sample.txt").read_text()) == 100


def test_a_text_that_is_missing_is_refused(tmp_path, capsys):
    given = ["--data-dir", str(tmp_path), "--runs", str(tmp_path / "runs")]
    assert main(["run", "language", *given]) == 2
    assert "Get the data from github.com/karpathy" in capsys.readouterr().err
    assert not list((tmp_path / "runs").iterdir())
