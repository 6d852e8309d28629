"""Checkpoints that a crash cannot break."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp


class Checkpoints:
    """Numbered checkpoints of a pytree in a folder, through orbax.

    A checkpoint is written beside the others and renamed when it is whole, so a process
    that is killed while it saves leaves the one before. Random keys are kept as they are.

    Args:
        folder: where; made if it is missing.
        keep: how many of the newest to keep.

    Example:
        >>> import jax, jax.numpy as jnp, tempfile
        >>> from jaxrnn import training
        >>> tree = {"w": jnp.ones(3), "key": jax.random.key(0)}
        >>> with training.Checkpoints(tempfile.mkdtemp()) as checkpoints:
        ...     checkpoints.save(7, tree)
        ...     latest, restored = checkpoints.latest, checkpoints.restore(tree)
        >>> latest, restored["w"].tolist()
        (7, [1.0, 1.0, 1.0])
    """

    def __init__(self, folder: str | Path, keep: int = 2):
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._manager = ocp.CheckpointManager(Path(folder).absolute(), options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *error: Any) -> None:
        self._manager.close()

    @property
    def latest(self) -> int | None:
        """The number of the newest checkpoint; None if there is none."""
        return self._manager.latest_step()

    def save(self, step: int, tree: Any) -> None:
        """Saves a pytree of arrays, and returns when it is safe on the disk."""
        self._manager.save(step, args=ocp.args.StandardSave(_plain(tree)), force=True)
        self._manager.wait_until_finished()

    def restore(self, like: Any, step: int | None = None) -> Any:
        """The newest checkpoint, or that of `step`, as a tree like `like`."""
        step = self.latest if step is None else step
        if step is None:
            raise FileNotFoundError(
                f"no checkpoint in {self._manager.directory}: nothing was saved there."
            )
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _plain(like))
        restored = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        return jax.tree.map(_like, like, restored)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(
        leaf.dtype, jax.dtypes.prng_key
    )


def _plain(tree: Any) -> Any:
    """Random keys as the integers behind them."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)


def _like(like: Any, restored: Any) -> Any:
    if _is_key(like):
        return jax.random.wrap_key_data(restored, impl=jax.random.key_impl(like))
    return restored
