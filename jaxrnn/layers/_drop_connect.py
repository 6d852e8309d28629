"""DropConnect on recurrent weights. Merity, Keskar, Socher 2018, arXiv:1708.02182."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from .._validate import check_rate


Tree = TypeVar("Tree")


def recurrent(path: tuple[Any, ...]) -> bool:
    """Whether a parameter is a recurrent weight: by its name, `u` or `u_...`."""
    name = getattr(path[-1], "name", "") if path else ""
    return name == "u" or name.startswith("u_")


def drop_connect(
    params: Tree,
    rate: float,
    key: Key[Array, ""],
    *,
    where: Callable[[tuple[Any, ...]], bool] = recurrent,
) -> Tree:
    """Parameters with some weights set to zero, the others scaled by 1 / (1 - rate).

        U' = mask U / (1 - rate),    mask ~ Bernoulli(1 - rate)

    One mask serves a whole sequence, since it acts on the parameters: apply it inside the
    loss, with a fresh key for every update, and not at all in evaluation.

    Args:
        params: parameters of any layer.
        rate: the share of weights that is dropped, at least 0 and below 1.
        key: the randomness.
        where: tells of a path, as `jax.tree_util` has them, whether to drop there; by
            default all recurrent weights, which the cells of this library call `u`.

    Returns:
        Parameters of the same structure, shapes and dtypes.

    Raises:
        TypeError, ValueError: for a rate that is not such a number, or if `where` holds
            for no parameter.

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
            f"drop_connect: `where` holds for none of the parameters {names}. Give a "
            "`where` that tells of a path whether to drop there."
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
