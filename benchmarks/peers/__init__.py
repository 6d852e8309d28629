"""The contenders: one small adapter file each, imported only in its own worker."""

import importlib
from dataclasses import dataclass

from ._base import Peer


@dataclass(frozen=True)
class Entry:
    """The place of a contender: a module, and an attribute of it."""

    name: str
    module: str
    attribute: str = "PEER"


STRATEGIES = (
    "Auto",
    "Fused",
    "Hoisted",
    "Wavefront",
    "Scan",
    "Checkpointed",
    "Chunked",
    "Associative",
    "Newton",
    "CuDNN",
)
"""The strategies of the library, by the names of their classes: each is a contender."""

REFERENCE = "jaxrnn-auto"
"""The contender that all ratios refer to: jaxrnn without any option."""

FLOOR = "floor"

DISTRIBUTIONS = tuple(
    "jaxrnn jax jaxlib numpy optax torch flax dm-haiku equinox keras".split()
)
"""Packages whose versions are in the results."""

ENTRIES = (
    *(Entry(f"jaxrnn-{s.lower()}", "benchmarks.peers._jaxrnn", s) for s in STRATEGIES),
    Entry("torch", "benchmarks.peers._torch"),
    Entry("linen", "benchmarks.peers._linen"),
    Entry("nnx", "benchmarks.peers._nnx"),
    Entry("haiku", "benchmarks.peers._haiku"),
    Entry("equinox", "benchmarks.peers._equinox"),
    Entry("keras", "benchmarks.peers._keras"),
    Entry("cudnn", "benchmarks.peers._cudnn"),
    Entry(FLOOR, "benchmarks.peers._floor"),
)


def select(names: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The contenders of these names, between the reference and the floor.

    Args:
        names: contenders; "jaxrnn" for all its strategies; `module:attribute` for a
            `Peer` of your own. Without names, all contenders.

    Raises:
        ValueError: if there is no contender of a name.
    """
    known = [entry.name for entry in ENTRIES]
    if not names:
        return tuple(known)
    chosen = [REFERENCE, FLOOR]
    for name in names:
        found = [k for k in known if k == name or k.startswith(f"{name}-")]
        if not found and ":" not in name:
            raise ValueError(
                f"there is no contender {name!r}; choose from {', '.join(known)}."
            )
        chosen += found or [name]
    own = [name for name in names if ":" in name]
    return tuple(k for k in known[:-1] if k in chosen) + tuple(own) + (FLOOR,)


def load(name: str) -> Peer:
    """The contender of that name; imports its library.

    Raises:
        ImportError: if its library is not installed.
    """
    module, _, attribute = name.partition(":")
    for entry in ENTRIES:
        if entry.name == name:
            module, attribute = entry.module, entry.attribute
    found = importlib.import_module(module)
    peers = getattr(found, "PEERS", {})
    return peers[attribute] if attribute in peers else getattr(found, attribute)
