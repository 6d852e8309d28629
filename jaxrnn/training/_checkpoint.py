"""Checkpoints that a crash cannot break."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp


class Checkpoints:
    """Numbered checkpoints of a pytree in a folder, through orbax.

    A checkpoint is written under a temporary name and renamed when it is complete, so a
    process that is killed while it saves leaves the previous one. Typed random keys are
    saved and restored as keys.

    Args:
        folder: the folder; created if it is missing.
        keep: the number of newest checkpoints to keep.

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
        """Saves a pytree of arrays, and returns when it is on the disk."""
        self._manager.save(step, args=ocp.args.StandardSave(_plain(tree)), force=True)
        self._manager.wait_until_finished()

    def restore(self, like: Any, step: int | None = None) -> Any:
        """Restores the newest checkpoint, or the one of `step`.

        Args:
            like: a pytree with the structure, shapes and dtypes of the one that was saved.
            step: the number of the checkpoint; None for the newest.

        Returns:
            The saved pytree.

        Raises:
            FileNotFoundError: if the folder has no checkpoint.
        """
        step = self.latest if step is None else step
        if step is None:
            raise FileNotFoundError(
                f"there is no checkpoint in {self._manager.directory}. Save one first, or "
                "give the folder of a run that did."
            )
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _plain(like))
        restored = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
        return jax.tree.map(_like, like, restored)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(
        leaf.dtype, jax.dtypes.prng_key
    )


def _plain(tree: Any) -> Any:
    """The tree with typed keys as integers, since orbax saves plain arrays only."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, tree)


def _like(like: Any, restored: Any) -> Any:
    if _is_key(like):
        return jax.random.wrap_key_data(restored, impl=jax.random.key_impl(like))
    return restored
