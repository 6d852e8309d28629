"""Strict settings for every test: no implicit rank or dtype promotion; warnings are errors."""

import os
from importlib.metadata import version


os.environ.setdefault(
    "XLA_FLAGS",
    # The tests do not need LLVM's optimizer, which takes a third of the time; XLA's passes
    # all run. One piece of code per program compiles in less processor time than many do.
    # XLA's older CPU emitters compile in half the time; JAX 0.12 no longer has them.
    "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
    + " --xla_cpu_use_fusion_emitters=false" * version("jaxlib").startswith("0.10."),
)

import jax
import pytest


jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")


def pytest_configure(config):
    """Keeps compiled programs between runs, in a cache for each worker.

    The workers do not share one, since two processes may write the same entry at the same time.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    jax.config.update(
        "jax_compilation_cache_dir", str(config.cache.mkdir(f"jax-{worker}"))
    )
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


SLOW = {
    f"test_{name}.py"
    for name in """
    attention benchmarks char_lm exact_chunks fused gradient_rules gradients hypothesis
    kernel_meshes law_linear law_mesh
    law_strategies law_transformations law_unroll law_world linear_init mask meshes newton
    numerics oracle_torch platforms primitives resets sequence_parallel state_keys
    strategy_derivatives toy_kernel training world_inputs
    """.split()
}
"""The files of laws and of whole programs: each takes half a minute or more."""


QUICK = ("test_experiments.py", "test_char_lm.py")
"""The files of `tests/experiments` that `make test` runs; the others train a model each."""

SINCE = {"test_pallas_gpu.py": (0, 12)}
"""The files that need a newer JAX than the oldest supported one, which they name."""

_VERSION = tuple(int(n) for n in version("jax").split(".")[:2])
collect_ignore = [name for name, since in SINCE.items() if _VERSION < since]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Marks the tests of these files as slow, and those that only a full run contains."""
    for item in items:
        if item.path.parent.name == "experiments" and item.path.name not in QUICK:
            item.add_marker("full")
        if item.path.name in SLOW or item.get_closest_marker("full"):
            item.add_marker("slow")


@pytest.fixture
def x64():
    """float64 for one test."""
    with jax.enable_x64(True):
        yield


_TESTS_BETWEEN = 50
_finished = 0


def pytest_runtest_teardown():
    """Clears compiled programs now and then.

    Each holds memory mappings. Linux allows a process 65,530 of them by default, and LLVM
    aborts when there are no more.
    """
    global _finished
    _finished += 1
    if _finished % _TESTS_BETWEEN == 0:
        jax.clear_caches()
