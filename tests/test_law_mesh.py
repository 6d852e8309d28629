"""Law W over devices: in a process that has two of them."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import jaxrnn
from jaxrnn import testing


ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "rows", ["some", pytest.param("all", marks=[pytest.mark.slow])]
)
@pytest.mark.timeout(900)
def test_two_devices_give_what_one_gives(rows):
    flags = "--xla_force_host_platform_device_count=2 "
    flags += "--xla_backend_optimization_level=0"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.mesh_law_check", rows]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("all equal\n"), done.stdout[-6000:]


def test_one_device_is_refused_in_words():
    assert len(jax.devices()) == 1
    with pytest.raises(RuntimeError, match=r"needs 2 devices.*XLA_FLAGS"):
        testing.check_mesh(jaxrnn.MGU(3, 4))
