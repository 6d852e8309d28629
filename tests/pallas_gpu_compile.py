"""Compiles `Fused()` for a GPU that is not there: `python tests/pallas_gpu_compile.py CONFIG`.

CONFIG is a file with XLA's GpuTargetConfigProto of the GPU. JAX 0.12 with its CUDA plugin and
ptxas are needed, and no driver. For each kernel it prints what ptxas reports: registers and
spilled bytes of a thread. Nothing runs, so nothing is known about time or values.
"""

import argparse
import os
import re
import subprocess
import sys
import time

import jax
import jax.numpy as jnp

import jaxrnn
from jaxrnn.strategies import on_platform


CELLS = {
    "LSTM": jaxrnn.LSTM,
    "LSTM-coupled": lambda *sizes: jaxrnn.LSTM(*sizes, coupled=True),
    "GRU-after": jaxrnn.GRU,
    "GRU-before": lambda *sizes: jaxrnn.GRU(*sizes, reset_after=False),
    "Elman": jaxrnn.Elman,
    "MGU": jaxrnn.MGU,
    "PeepholeLSTM": jaxrnn.PeepholeLSTM,
    "IndRNN": jaxrnn.IndRNN,
}
NAME = "NVIDIA H100 80GB HBM3"


def compiled(run, args, config):
    """The executable of `run` for shapes `args`, for the GPU of a target config."""
    from jax._src import xla_bridge  # no public function makes a plugin known by itself
    from jax.experimental import topologies
    from jax.sharding import AbstractDevice, AbstractMesh, SingleDeviceSharding

    xla_bridge.discover_pjrt_plugins()
    device = topologies.get_topology_desc(
        platform="cuda", topology_name="", topology="1x1x1", target_config=config
    ).devices[0]
    on = SingleDeviceSharding(device)
    args = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=on), args
    )
    # Pallas asks for the kind of GPU while it lowers
    device = AbstractDevice(NAME, 132, "gpu")
    with jax.sharding.use_abstract_mesh(
        AbstractMesh((1,), ("d",), abstract_device=device)
    ):
        lowered = jax.jit(run).trace(*args).lower(lowering_platforms=("cuda",))
    return lowered.compile()


def compile_cell(name, dtype, time_steps, batch, hidden, config):
    cell = CELLS[name](hidden, hidden)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0)))
    shaped = lambda *shape, dtype=dtype: jax.ShapeDtypeStruct(shape, jnp.dtype(dtype))
    params = jax.tree.map(lambda p: shaped(*p.shape), params)
    lengths = shaped(batch, dtype="int32")
    resets = shaped(time_steps, batch, dtype="bool")

    def loss(params, xs, lengths, resets):
        _, ys = jaxrnn.unroll(
            cell, params, xs, lengths=lengths, resets=resets, strategy=jaxrnn.Fused()
        )
        return jnp.sum(ys.astype(jnp.float32) ** 2)

    args = (params, shaped(time_steps, batch, hidden), lengths, resets)
    with on_platform("gpu"):
        return compiled(jax.value_and_grad(loss, (0, 1)), args, config)


def main():
    parse = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parse.add_argument("config")
    parse.add_argument("--cells", nargs="*", default=list(CELLS), choices=list(CELLS))
    parse.add_argument("--dtypes", nargs="*", default=["float32", "bfloat16"])
    parse.add_argument("--sizes", nargs=3, type=int, default=(128, 32, 256))
    parse.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    given = parse.parse_args()
    if given.one:
        with open(given.config) as file:
            config = file.read()
        begin = time.monotonic()
        (cell,), (dtype,) = given.cells, given.dtypes
        found = compile_cell(cell, dtype, *given.sizes, config)
        temp = found.memory_analysis().temp_size_in_bytes / 2**20
        print(f"compiled in {time.monotonic() - begin:.0f} s, {temp:.0f} MiB temporary")
        return
    for cell in given.cells:
        for dtype in given.dtypes:
            print(f"{cell} {dtype} T, B, H = {given.sizes}: ", end="", flush=True)
            report(given.config, cell, dtype, given.sizes)


def report(config, cell, dtype, sizes):
    # a process each: ptxas's report goes to the standard error of the process
    flags = ["--one", "--cells", cell, "--dtypes", dtype, "--sizes", *map(str, sizes)]
    found = subprocess.run(
        [sys.executable, __file__, config, *flags],
        capture_output=True,
        text=True,
        env=os.environ | {"MOSAIC_GPU_DUMP_PTXAS": "1", "JAX_PLATFORMS": "cpu"},
    )
    text = found.stdout + found.stderr
    if found.returncode:
        errors = re.findall(r"^[\w.]+(?:Error|Refused): .*", text, re.MULTILINE)
        print("refused or failed:", errors[-1] if errors else text[-500:])
        return
    registers = re.findall(r"Used (\d+) registers", text)
    spills = re.findall(r"(\d+) bytes spill stores", text)[-len(registers) :]
    print(re.findall(r"compiled in .*", text)[0])
    print(f"    registers {', '.join(registers)}; bytes spilled {', '.join(spills)}")


if __name__ == "__main__":
    main()
