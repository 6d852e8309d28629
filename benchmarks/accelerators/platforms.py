"""One trace for several platforms, devices that are not the default, and explicit shardings."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax import export
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxrnn
from jaxrnn.kernels import _native

from .checks import cpu_calls
from .hlo import Module
from .programs import Case
from .targets import Compiler, Target, devices


CASE = Case(jaxrnn.LSTM(128, 128), jaxrnn.Auto())

PLATFORMS = ("cpu", "cuda", "tpu")


def check_platforms(target: Target, compiler: Compiler) -> dict[str, list[str]]:
    """The faults of each check by its name; an empty list if there are none."""
    return {
        "the C++ kernels are installed": list(_kernels()),
        "one trace, lowered for cpu, cuda and tpu": list(_one_trace()),
        "one exported program for cpu, cuda and tpu": list(_exported()),
        "with a CPU as jax.default_device": list(_default_device(compiler)),
        "a batch divided over the devices": list(_sharded(target)),
    }


def _kernels() -> Iterator[str]:
    """Without them, no program could call one by mistake."""
    if reason := _native.missing():
        yield f"nothing is shown about calls of them, since {reason}"


def _one_trace() -> Iterator[str]:
    traced = jax.jit(CASE.function()).trace(*CASE.arguments())
    for platform in PLATFORMS:
        found = cpu_calls(traced.lower(lowering_platforms=(platform,)).as_text())
        if platform == "cpu" and not found:
            yield "the program for a CPU calls no kernel"
        if platform != "cpu":
            yield from found


def _exported() -> Iterator[str]:
    program = export.export(jax.jit(CASE.function()), platforms=PLATFORMS)
    found = program(*CASE.arguments())
    if set(found.platforms) != set(PLATFORMS):
        yield f"the platforms are {found.platforms}"
    yield from cpu_calls(found.mlir_module())


def _default_device(compiler: Compiler) -> Iterator[str]:
    with jax.default_device(jax.devices("cpu")[0]):
        yield from cpu_calls(compiler.compile(CASE.function(), *CASE.arguments()).hlo)


def _sharded(target: Target) -> Iterator[str]:
    """Weights on every device, the batch divided: gradients are summed after the loops."""
    found = devices(target)
    mesh = Mesh(np.array(found), ("data",))
    params, xs, d_ys = CASE.arguments()
    everywhere = NamedSharding(mesh, PartitionSpec())
    rows = NamedSharding(mesh, PartitionSpec(None, "data"))

    def placed(tree: Any, sharding: Any) -> Any:
        place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
        return jax.tree.map(place, tree)

    args = (placed(params, everywhere), placed(xs, rows), placed(d_ys, rows))
    # a host with one device takes it that nothing is sharded, unless there is a mesh
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        traced = jax.jit(CASE.function()).trace(*args)
        compiled = traced.lower(lowering_platforms=(target.platform,)).compile()
    text = compiled.as_text()
    yield from cpu_calls(text)
    if len(found) > 1 and "all-reduce" not in text:
        yield "the gradients of the weights are not summed over devices"
    for loop, operation in Module(text).in_loops():
        if operation.op.startswith(("all-gather", "all-to-all")):
            yield f"a loop of {loop.trips} steps gathers from other devices"
    ys = compiled.output_shardings[0]
    if len(found) > 1 and not ys.is_equivalent_to(rows, ndim=3):
        yield f"the outputs are not divided like the inputs: {ys}"
