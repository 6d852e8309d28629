"""The benchmark of gradient methods: its gate, its refusals and its page."""

import importlib.util

import jax
import numpy as np
import pytest

import jaxrnn
from benchmarks.gradients import page
from benchmarks.gradients.__main__ import main
from benchmarks.gradients.contender import Worker
from benchmarks.gradients.methods import BRAINTRACE, METHODS, reference_of
from benchmarks.gradients.problem import make, named, program


SPEC = {"units": 4}


def reference(title, path, factor=1.0):
    """The answer of BPTT, with every gradient multiplied by a factor."""
    one = METHODS[title]
    value, grads = program(one, jaxrnn.BPTT(), 4)(*make(one, 4, "float32"))
    grads = jax.tree.map(lambda g: factor * g, grads)
    arrays = named(value, grads, False)
    np.savez(path, **{name: np.asarray(v, np.float64) for name, v in arrays.items()})
    return str(path)


@pytest.mark.parametrize("title", ["RTRL", "DiagonalRTRL"])
def test_an_exact_method_passes_the_gate(title, tmp_path):
    worker = Worker(title)
    assert worker.accept(SPEC)["computes"] in (title, "BPTT")
    answer = worker.prepare(SPEC, "", reference(title, tmp_path / "r.npz"), "")
    assert answer["gate"]["red"] == [] and worker.prepared
    params = make(METHODS[title], 4, "float32")[0]
    cell = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert answer["trace_bytes"] == 4 * cell * (4 if title == "RTRL" else 1)
    worker.run("sequence")


def test_a_wrong_gradient_gets_no_time(tmp_path):
    worker = Worker("RTRL")
    wrong = reference("RTRL", tmp_path / "r.npz", factor=1.001)
    answer = worker.prepare(SPEC, "", wrong, "")
    assert "d .u" in answer["gate"]["red"] and not worker.prepared
    worker = Worker("EProp")  # another rule
    answer = worker.prepare(SPEC, "", reference("EProp", tmp_path / "r.npz"), "")
    assert answer["gate"]["red"] and "value" not in answer["gate"]["red"]


def test_a_method_that_would_take_minutes_is_refused():
    assert "multiplications" in Worker("ForwardMode").accept({"units": 256})["refused"]
    assert "computes" in Worker("RTRL").accept({"units": 256})


def test_every_contender_has_a_reference_of_the_same_cell():
    for title, one in (METHODS | BRAINTRACE).items():
        other = (METHODS | BRAINTRACE)[reference_of(one)]
        assert other.cell == one.cell and other.rule is not None, title
        assert one.rule in (None, other.rule)


def test_without_braintrace_the_command_says_how_to_install_it(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["--braintrace"]) == 2
    assert "pip install braintrace" in capsys.readouterr().err


def test_the_page_has_the_tables_of_the_committed_results():
    assert page.write(check=True) == 0


def test_the_page_shows_refusals_and_red_gates():
    shown = lambda entry: page._cell(entry, page._time)
    quick = {"figures": {"sequence": {"seconds": 16e-6, "quartiles": [0, 0, 32e-6]}}}
    assert shown(quick) == "1 (2) µs"
    assert shown({"refused": "too much"}) == "not run: too much"
    assert shown(quick | {"gate": {"red": ["d .u"]}}) == "RED"
    assert shown({"failed": "it died"}) == "failed"
