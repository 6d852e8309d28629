"""Kernels on several devices: each runs its own sequences of the batch."""

from .helpers import on_devices


def test_each_device_runs_its_own_sequences():
    assert on_devices(4, "kernel_mesh_check") == "all equal\n"
