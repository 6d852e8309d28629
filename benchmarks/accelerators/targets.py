"""The devices that programs are compiled for, and the compiler."""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import registers


@dataclass(frozen=True)
class Target:
    """A device that XLA compiles for without one.

    Attributes:
        name: its name on the command line.
        platform: the platform's name when a program is lowered.
        topology: the name that libtpu knows the device by; empty for a GPU, which a
            description in a file defines.
    """

    name: str
    platform: str
    topology: str = ""

    @property
    def kind(self) -> str:
        """The platform as `explain` names it: "tpu" or "gpu"."""
        return "gpu" if self.platform == "cuda" else self.platform


TARGETS = {
    target.name: target
    for target in (
        Target("v5e", "tpu", "v5e:2x2"),
        Target("v6e", "tpu", "v6e:2x2"),
        Target("h100", "cuda"),
    )
}


@dataclass(frozen=True)
class Program:
    """A compiled program.

    Attributes:
        hlo: the optimized HLO, as text; empty if the device has too little memory for it.
        temporary: bytes of temporary memory.
        seconds: the time that tracing, lowering and compiling took.
    """

    hlo: str
    temporary: int
    seconds: float


def prepare_environment() -> None:
    """Sets the variables that must be set before JAX and libtpu are loaded."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # JAX must not look for a device
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"  # nor libtpu for a server that describes one
    # libtpu locks a file so that one process has the device; without a device, several
    # processes may compile at once
    os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    os.environ.update(registers.ENVIRONMENT)


def devices(target: Target) -> list[Any]:
    """The devices of a target, which can be compiled for and nothing else."""
    from jax.experimental import topologies

    if target.platform == "tpu":
        name = target.topology
        return topologies.get_topology_desc(platform="tpu", topology_name=name).devices
    import jax

    jax.devices("cpu")  # finds the plugins of JAX, and the one of CUDA among them
    config = Path(__file__).with_name(f"{target.name}.txtpb").read_text()
    return topologies.get_topology_desc(
        platform=target.platform,
        topology_name="",
        topology="1x1x1",
        target_config=config,
    ).devices


class Compiler:
    """Compiles functions for one target."""

    def __init__(self, target: Target) -> None:
        from jax.sharding import SingleDeviceSharding

        self.target = target
        self.sharding = SingleDeviceSharding(devices(target)[0])

    def lower(self, fn: Callable, *args: Any) -> Any:
        """Lowers `fn` for arguments with these shapes and dtypes, placed on the target."""
        import jax

        place = lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self.sharding)
        placed = jax.tree.map(place, args)
        traced = jax.jit(fn).trace(*placed)
        return traced.lower(lowering_platforms=(self.target.platform,))

    def compile(self, fn: Callable, *args: Any) -> Program:
        """Compiles `fn` for arguments with these shapes and dtypes."""
        start = time.monotonic()
        return self.compile_lowered(self.lower(fn, *args), start)

    def compile_lowered(self, lowered: Any, start: float) -> Program:
        """Compiles what `lower` returned; `start` is the time at which it began."""
        try:
            compiled = lowered.compile()
        except Exception as error:  # JaxRuntimeError has no code that tells them apart
            needed = _bytes_needed(str(error))
            if needed is None:
                raise
            return Program("", needed, time.monotonic() - start)
        seconds = time.monotonic() - start
        memory = compiled.memory_analysis()
        return Program(compiled.as_text(), memory.temp_size_in_bytes, seconds)


def _bytes_needed(message: str) -> int | None:
    """The temporary memory in libtpu's message that a program does not fit; else None."""
    found = re.search(r"required for HLO temporaries \(([\d.]+)([KMG])\)", message)
    if found is None:
        return None
    return round(float(found[1]) * 2 ** {"K": 10, "M": 20, "G": 30}[found[2]])
