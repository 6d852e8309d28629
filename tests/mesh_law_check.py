"""Checks, in a process with 2 CPU devices, the law of meshes over the table of layers.

`python -m tests.mesh_law_check [all]` prints a line for each layer that breaks it, or
"all equal"; `test_law_mesh.py` starts it.
"""

import sys

import jax

from jaxrnn import testing
from tests.helpers import example
from tests.test_law_world import ALL, SOME, symbols


if __name__ == "__main__":
    assert jax.device_count() == 2
    every = "all" in sys.argv
    broken = 0
    for layer in ALL if every else SOME:
        for way in testing.WAYS:
            try:
                testing.check_mesh(
                    layer, [way], x=(example if every else symbols)(layer)
                )
            except Exception as error:
                broken += 1
                print(f"{layer}, {way}: {type(error).__name__}: {str(error)[:300]}")
    print(f"{broken} broken" if broken else "all equal")
