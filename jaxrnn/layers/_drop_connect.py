"""DropConnect on recurrent weights. Merity, Keskar, Socher 2018, arXiv:1708.02182."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from .._validate import check_rate


Tree = TypeVar("Tree")


def recurrent(path: tuple[Any, ...]) -> bool:
    """Whether a key path ends in the name of a recurrent weight: `u` or `u_...`."""
    name = getattr(path[-1], "name", "") if path else ""
    return name == "u" or name.startswith("u_")


def drop_connect(
    params: Tree,
    rate: float,
    key: Key[Array, ""],
    *,
    where: Callable[[tuple[Any, ...]], bool] = recurrent,
) -> Tree:
    """Sets random weights to zero and scales the others by 1 / (1 - rate).

        U' = mask U / (1 - rate),    mask ~ Bernoulli(1 - rate)

    The mask acts on the parameters and is therefore the same at all time steps. Apply it
    inside the loss with a fresh key for every update, and do not apply it in evaluation.

    Args:
        params: parameters of any layer.
        rate: the fraction of weights to drop, at least 0 and below 1.
        key: the random key of the mask.
        where: predicate on a `jax.tree_util` key path: True for the weights to drop. The
            default selects all recurrent weights, which the cells of this library call `u`.

    Returns:
        Parameters of the same structure, shapes and dtypes.

    Raises:
        TypeError: if the rate is not a number.
        ValueError: if the rate is not in [0, 1), or if `where` is False for all parameters.

    Example:
        >>> import jax, jaxrnn
        >>> params = jaxrnn.GRU(3, 4).init(jax.random.key(0))
        >>> dropped = jaxrnn.drop_connect(params, 0.5, jax.random.key(1))
        >>> bool((dropped.u == 0).any()), bool((dropped.w == params.w).all())
        (True, True)

    Reference: Wan et al., ICML 2013; on recurrent weights: Merity et al. 2018,
    arXiv:1708.02182.
    """
    check_rate("drop_connect", rate)
    leaves, structure = jax.tree.flatten_with_path(params)
    if not any(where(path) for path, _ in leaves):
        names = ", ".join(jax.tree_util.keystr(path) for path, _ in leaves)
        raise ValueError(
            f"drop_connect: `where` is False for all of the parameters {names}. Give a "
            "predicate on a key path that is True for the weights to drop."
        )

    def dropped(key, weight):
        kept = jax.random.bernoulli(key, 1 - rate, weight.shape)
        scale = jnp.asarray(1 / (1 - rate), weight.dtype)
        return jnp.where(kept, weight * scale, jnp.zeros_like(weight))

    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(
        structure,
        [
            dropped(key, leaf) if where(path) else leaf
            for key, (path, leaf) in zip(keys, leaves, strict=True)
        ],
    )
