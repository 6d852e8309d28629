"""The machine, and its ceilings: copied bytes and the matmuls of XLA a second."""

import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ..harness import machine
from ..peers import DISTRIBUTIONS
from .lines import Say, brief


_QUERY = (
    "name,driver_version,memory.total,clocks.sm,clocks.mem,clocks.max.sm,power.limit,"
    "temperature.gpu"
)


def describe(say: Say, rehearse: bool) -> None:
    """Writes what the machine is, and the fastest rates seen on it."""
    say(machine=machine.describe_machine(), smi=_smi())
    devices = [str(device.device_kind) for device in jax.devices()]
    names = (*DISTRIBUTIONS, "triton", "jax-cuda13-plugin")
    say(
        platform=jax.default_backend(),
        devices=devices,
        versions=machine.versions(names),
        rehearsal=rehearse,
    )
    size = 256 if rehearse else 8192
    say(ceiling="copy", unit="GB/s", rate=_copied(2**20 if rehearse else 2**29))
    for name, dtype, precision in (
        ("bfloat16 matmul", jnp.bfloat16, None),
        ("float32 matmul, TF32 allowed", jnp.float32, None),
        ("float32 matmul, highest", jnp.float32, "highest"),
    ):
        rate = _multiplied(size, dtype, precision)
        say(ceiling=name, unit="TFLOP/s", rate=rate)
    try:
        say(ceiling="bfloat16 matmul by PyTorch", unit="TFLOP/s", rate=_by_torch(size))
    except ImportError as error:
        say(ceiling="bfloat16 matmul by PyTorch", absent=brief(error))


def _smi() -> str:
    command = ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired) as error:
        return brief(error)
    return (found.stdout or found.stderr).strip()


def _seconds(call: Callable[[], Any], calls: int = 20) -> float:
    """The median time of a call that waits for its result."""
    times = []
    for _ in range(calls + 3):  # three to warm up
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:])


def _copied(count: int) -> float:
    """GB/s, read and written, of negating an array of float32."""
    x = jax.random.normal(jax.random.key(0), (count,))
    negate = jax.jit(lambda x: -x)
    return 2 * x.nbytes / _seconds(lambda: negate(x).block_until_ready()) / 1e9


def _multiplied(size: int, dtype: Any, precision: Any) -> float:
    """TFLOP/s of a square matmul of random numbers, which take more power than zeros."""
    a = jax.random.normal(jax.random.key(0), (size, size)).astype(dtype)
    matmul = jax.jit(lambda a: jnp.matmul(a, a, precision=precision))
    return 2 * size**3 / _seconds(lambda: matmul(a).block_until_ready()) / 1e12


def _by_torch(size: int) -> float:
    import torch

    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)

    def call() -> None:
        a @ a
        if cuda:
            torch.cuda.synchronize()

    return 2 * size**3 / _seconds(call) / 1e12
