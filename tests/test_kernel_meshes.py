"""Kernels on several devices: each runs its own sequences of the batch."""

import os
import subprocess
import sys
from pathlib import Path


SCRIPT = Path(__file__).with_name("kernel_mesh_check.py")


def test_each_device_runs_its_own_sequences():
    flags = "--xla_force_host_platform_device_count=4"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(SCRIPT)]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "ok"
