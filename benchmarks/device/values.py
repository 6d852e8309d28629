"""Values and gradients on this device against `Scan()` in float64 on the CPU.

Errors are relative norms, |got - want| / |want|, of the worst output or gradient. The
yardstick is the error of `Scan()` on this device, in the same dtype and precision: a
strategy may have eight times that, and in float32 never less than 1e-6, in bfloat16 1e-2.
"""

import dataclasses
import inspect
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxrnn

from ..cases import HEADS
from .lines import Say, brief


_SLACK = 8
_LEAST = {"float32": 1e-6, "bfloat16": 1e-2}
_PRECISIONS = ("highest", None)


@dataclasses.dataclass(frozen=True)
class Check:
    """One comparison: a layer under some strategies, in one dtype and precision."""

    layer: jaxrnn.Layer
    strategies: tuple[jaxrnn.Strategy, ...]
    dtype: str = "float32"
    precision: str | None = "highest"
    padded: bool = False


def check_fused(say: Say, rehearse: bool) -> None:
    """Writes how far `Fused()` is from the reference."""
    x, h = (5, 8) if rehearse else (96, 128)
    how = (("float32", "highest"), ("float32", None), ("bfloat16", None))
    checks = [
        Check(cell, (jaxrnn.Fused(),), dtype, precision, padded)
        for padded in (False, True)
        for dtype, precision in how
        for cell in (jaxrnn.LSTM(x, h), jaxrnn.GRU(x, h), jaxrnn.MGU(x, h))
    ]
    _write_all(say, checks, rehearse)


def check_cudnn(say: Say, rehearse: bool) -> None:
    """Writes how far `CuDNN()` is from the reference."""
    x, h = (5, 8) if rehearse else (96, 128)
    lstm = jaxrnn.LSTM(x, h)
    stack = jaxrnn.Stack((lstm, jaxrnn.LSTM(h, h)))
    checks = [
        Check(layer, (jaxrnn.CuDNN(),), "float32", precision, padded)
        for padded in (False, True)
        for precision in _PRECISIONS
        for layer in (lstm, stack, jaxrnn.Bidirectional(lstm))
    ]
    _write_all(say, checks, rehearse)


def check_laws(say: Say, rehearse: bool) -> None:
    """Writes how far `Hoisted()` and `Chunked()` are from it, for as many cells as fit."""
    checks = [
        Check(cell, strategies, "float32", precision, True)
        for precision in _PRECISIONS
        for cell, strategies in _cells(*((8, 8) if rehearse else (64, 64)))
    ]
    _write_all(say, checks, rehearse)


def _write_all(say: Say, checks: list[Check], rehearse: bool) -> None:
    """Writes all comparisons for which there is time.

    Compiling takes most of it, and XLA compiles in several threads at once.
    """
    seconds = float(os.environ.get("DEVICE_SECONDS", 300))
    pool = ThreadPoolExecutor(min(12, os.cpu_count() or 1))
    futures = [pool.submit(_write, say, check, rehearse) for check in checks]
    _, late = wait(futures, seconds)
    # threads that still compile end with the process
    pool.shutdown(wait=False, cancel_futures=True)
    if late:
        say(checks=len(checks), unfinished=len(late))


def _cells(inputs: int, hidden: int) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Every cell of the library, and the strategies to compare with `Scan()`."""
    sizes = {"input_size": inputs, "hidden_size": hidden, "heads": HEADS}
    sizes["projection_size"] = hidden // 2
    for name in dir(jaxrnn.cells):
        make: Any = getattr(jaxrnn.cells, name)
        if not (inspect.isclass(make) and issubclass(make, jaxrnn.Cell)):
            continue
        fields = inspect.signature(make).parameters
        cell = make(**{name: size for name, size in sizes.items() if name in fields})
        chunked = isinstance(cell, jaxrnn.LinearCell | jaxrnn.MatrixCell)
        more = (jaxrnn.Chunked(16),) if chunked else ()
        yield cell, (jaxrnn.Hoisted(), *more)


def _named(check: Check) -> dict[str, Any]:
    return {
        "layer": str(check.layer),
        "dtype": check.dtype,
        "precision": check.precision or "default",
        "padded": check.padded,
    }


def _write(say: Say, check: Check, rehearse: bool) -> None:
    """Compares one layer under `Scan()` and each strategy, and writes a line for each."""
    about = _named(check)
    say(running=about)
    try:
        given = _inputs(check.layer, 9 if rehearse else 65, 3 if rehearse else 5)
        want = _reference(check, given)
        own, _ = _error(_on_device(check, jaxrnn.Scan(), given), want)
    except Exception as error:
        say(**about, strategy="Scan()", failed=brief(error))
        return
    bound = _SLACK * max(own, _LEAST[check.dtype])
    for strategy in check.strategies:
        name = str(strategy)
        try:
            worst, where = _error(_on_device(check, strategy, given), want)
        except NotImplementedError as reason:
            say(**about, strategy=name, refused=brief(reason))
        except Exception as error:
            say(**about, strategy=name, failed=brief(error))
        else:
            say(
                **about,
                strategy=name,
                error=worst,
                where=where,
                scan=own,
                bound=bound,
                green=bool(worst <= bound),
            )


def _inputs(layer: Any, steps: int, batch: int) -> tuple[Any, Any, Any]:
    """Params, inputs and lengths as NumPy arrays; no bias is zero."""
    random = np.random.default_rng(0)
    with jax.default_device(jax.devices("cpu")[0]):
        params = jax.tree.map(np.asarray, layer.init(jax.random.key(0)))
    noisy = lambda p: (p + 0.05 * random.standard_normal(p.shape)).astype(p.dtype)
    xs = random.standard_normal((steps, batch, layer.input_size), np.float32)
    lengths = np.linspace(steps, 0, batch).round().astype(np.int32)
    return jax.tree.map(noisy, params), xs, lengths


def _reference(check: Check, given: tuple[Any, Any, Any]) -> dict[str, np.ndarray]:
    """The results of `Scan()` in float64 on the CPU, for inputs rounded to the dtype."""
    params, xs, lengths = given
    with jax.default_device(jax.devices("cpu")[0]):
        rounded = jaxrnn.cast((params, xs), jnp.dtype(check.dtype))
        rounded = jax.tree.map(np.asarray, rounded)
        with jax.enable_x64(True):
            wide = jaxrnn.cast(rounded, jnp.float64)
            run = jax.jit(_results(check, jaxrnn.Scan()))
            return _by_name(run(*wide, jnp.asarray(lengths)))


def _on_device(
    check: Check, strategy: jaxrnn.Strategy, given: tuple[Any, Any, Any]
) -> dict[str, np.ndarray]:
    params, xs, lengths = given
    narrow = jaxrnn.cast((params, xs), jnp.dtype(check.dtype))
    with jax.default_matmul_precision(check.precision):
        run = jax.jit(_results(check, strategy))
        return _by_name(run(*narrow, jnp.asarray(lengths)))


def _results(check: Check, strategy: jaxrnn.Strategy) -> Callable[..., Any]:
    """A function that returns outputs, state, and the gradients of params and inputs."""

    def results(params: Any, xs: Any, lengths: Any) -> Any:
        options = {"lengths": lengths} if check.padded else {}

        def loss(params: Any, xs: Any) -> Any:
            state, ys = jaxrnn.unroll(
                check.layer, params, xs, strategy=strategy, **options
            )
            weights = jnp.cos(jnp.arange(ys.size)).reshape(ys.shape).astype(ys.dtype)
            return jnp.sum((ys * weights).astype(jnp.float32)), (state, ys)

        grad = jax.grad(loss, argnums=(0, 1), has_aux=True)
        (d_params, d_xs), (state, ys) = grad(params, xs)
        return {"ys": ys, "state": state, "d params": d_params, "d xs": d_xs}

    return results


def _by_name(tree: Any) -> dict[str, np.ndarray]:
    wide = lambda a: np.asarray(a, np.complex128 if np.iscomplexobj(a) else np.float64)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): wide(leaf)
        for path, leaf in jax.tree.leaves_with_path(tree)
    }


def _error(
    got: dict[str, np.ndarray], want: dict[str, np.ndarray]
) -> tuple[float, str]:
    """The largest relative error, and the name of the array that has it."""

    def error(name: str) -> float:
        scale = float(np.linalg.norm(want[name])) or 1.0
        found = float(np.linalg.norm(got[name] - want[name])) / scale
        return found if np.isfinite(found) else float("inf")

    worst = max(want, key=error)
    return error(worst), worst
