"""The platform that strategies plan for."""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import jax


class Target(NamedTuple):
    """A platform, and the parameters of a simulator of its kernels; None compiles them."""

    platform: str
    simulator: Any = None


_target: ContextVar[Target | None] = ContextVar("target", default=None)


def target() -> Target | None:
    """The target of `on_platform`; None outside of it."""
    return _target.get()


def platform() -> str | None:
    """The platform that plans are made for: "cpu", "gpu" or "tpu".

    None while a program is traced, since it may be lowered for any platform.
    """
    found = _target.get()
    return found and found.platform


def default_platform() -> str:
    """The platform of the device that JAX would use."""
    config: Any = jax.config
    device = config.jax_default_device or jax.default_backend()
    name = getattr(device, "platform", device)
    return "gpu" if name in ("cuda", "rocm") else name


@contextlib.contextmanager
def on_platform(name: str, *, simulator: Any = None) -> Iterator[None]:
    """Makes strategies plan for a platform, inside a `with` statement.

    A strategy that is given by name, such as `Fused()`, has a kernel for each platform.
    `unroll` takes the kernel of JAX's default platform; inside this context it takes the
    kernel of `name`. So a machine without a TPU can lower and compile a program for one.

    Args:
        name: "cpu", "gpu" or "tpu".
        simulator: parameters of a simulator of the platform's memory, with which its
            kernels run on any platform, slowly; for a TPU, `InterpretParams` of
            `jax.experimental.pallas.tpu`. None compiles the kernels.

    Raises:
        ValueError: if `name` is not one of these platforms, or if a simulator is given for
            another platform than "tpu".

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.LSTM(3, 4)
        >>> params = cell.init(jax.random.key(0))
        >>> run = lambda p, xs: jaxrnn.unroll(cell, p, xs, strategy=jaxrnn.Fused())
        >>> with jaxrnn.strategies.on_platform("tpu"):
        ...     traced = jax.jit(run).trace(params, jnp.ones((5, 2, 3)))
        >>> "tpu_custom_call" in traced.lower(lowering_platforms=("tpu",)).as_text()
        True
    """
    check_platform(name)
    if simulator is not None and name != "tpu":
        raise ValueError(
            f'on_platform({name!r}, simulator=...): only kernels for "tpu" take a simulator '
            "here; leave it out."
        )
    with on_target(Target(name, simulator)):
        yield


@contextlib.contextmanager
def on_target(target: Target | None) -> Iterator[None]:
    """Makes strategies plan for a target; None for any platform."""
    token = _target.set(target)
    try:
        yield
    finally:
        _target.reset(token)


def check_platform(platform: Any) -> None:
    """Checks that this is one of JAX's platforms."""
    if platform not in ("cpu", "gpu", "tpu"):
        raise ValueError(f'platform is {platform!r}; give "cpu", "gpu" or "tpu".')
