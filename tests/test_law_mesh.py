"""Law W over devices, in a process that has two."""

import jax
import pytest

import jaxrnn
from jaxrnn import testing

from .helpers import on_devices


@pytest.mark.parametrize(
    "rows", ["some", pytest.param("all", marks=[pytest.mark.full])]
)
@pytest.mark.timeout(900)
def test_two_devices_give_what_one_gives(rows):
    assert on_devices(2, "mesh_law_check", rows) == "all equal\n"


def test_one_device_is_refused_in_words():
    assert len(jax.devices()) == 1
    with pytest.raises(RuntimeError, match=r"needs 2 devices.*XLA_FLAGS"):
        testing.check_mesh(jaxrnn.MGU(3, 4))
