"""The law of export: programs exported with symbolic sizes equal those compiled here."""

import importlib.util
from typing import Any

import jax
from jax import export

from .._layer import Layer
from .._unroll import unroll
from ..strategies import Auto
from ._case import Case, case_of, label_of, make_case
from ._compare import LawBroken, assert_close


PLATFORMS = (("cpu",), ("cuda",), ("tpu",), ("cpu", "cuda", "tpu"))
FLOAT32 = 1e-5  # of the largest entry


def check_export(layer: Layer, **how: Any) -> None:
    """Checks that a layer exports for CPU, CUDA and TPU, and gives the same results.

    The layer is exported once for each platform and once for all of them, with T and B
    symbolic, and then called with two sizes. If the package `flatbuffers` is installed, the
    program is also serialized and read back; JAX needs that package for it.

    Args:
        layer: any layer.
        **how: `x` and `seed` as for `check_cell`; `time` and `batch`; `strategy`.

    Raises:
        LawBroken: with the platform and the reason.
    """
    strategy = how.pop("strategy", Auto())
    case = case_of(layer, how)
    label = label_of(case, strategy)

    structure: Any = jax.tree.structure((case.params, case.xs))

    # over leaves, since a serialized program can hold only pytrees that are registered
    def run(*leaves):
        params, xs = jax.tree.unflatten(structure, leaves)
        return jax.tree.leaves(unroll(layer, params, xs, strategy=strategy))

    for platforms in PLATFORMS:
        exporter = export.export(jax.jit(run), platforms=platforms)
        try:
            exported = exporter(*jax.tree.leaves((case.params, _symbolic(case))))
        except Exception as error:
            raise LawBroken(
                f"export: {label} for {platforms}: {type(error).__name__}: {error}"
            ) from error
    if importlib.util.find_spec("flatbuffers"):
        exported = export.deserialize(exported.serialize())
    given: dict[str, Any] = {"x": how.get("x"), "seed": case.seed}
    for other in (case, make_case(layer, case.time + 3, case.batch + 1, **given)):
        leaves = jax.tree.leaves((case.params, other.xs))
        got, want = jax.jit(exported.call)(*leaves), jax.jit(run)(*leaves)
        assert_close("export", label_of(other, strategy), got, want, FLOAT32)


def _symbolic(case: Case) -> Any:
    time, batch = export.symbolic_shape("t, b")
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((time, batch, *x.shape[2:]), x.dtype), case.xs
    )
