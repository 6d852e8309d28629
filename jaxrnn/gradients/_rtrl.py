"""Real-time recurrent learning: exact, and its sparse forms. Williams & Zipser 1989."""

import functools
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .._layer import Layer
from .._validate import check_sizes
from ._base import Forward
from ._influence import Influence, Kept, entries_of, rows_of
from ._pattern import Structure, structure_of


class Traced(Forward):
    """A method that keeps some entries of the influence, and follows these by the full J."""

    def kept(self, layer: Layer, structure: Structure, leaf: int) -> Kept:
        """The part of the influence that a leaf of a cell's params keeps."""
        raise NotImplementedError

    def influence(self, layer: Layer, params: Any, x: Any) -> Influence:
        """What the method keeps for a layer; parameters outside its cells are exact."""
        return _influence(self, layer, structure_of(layer, params, x))

    def start(self, layer, params, x, key):
        del key
        return self.influence(layer, params, x).start(params)

    def detach(self, trace):
        return jax.tree.map(jnp.zeros_like, trace)

    def follow(self, step, trace):
        influence = self.influence(step.layer, step.params, step.x)
        return influence.follow(step, trace)

    def credit(self, step, trace, target, signal):
        del target
        influence = self.influence(step.layer, step.params, step.x)
        return influence.credit(signal, trace, step.params)


@functools.lru_cache(maxsize=64)
def _influence(method: Traced, layer: Layer, structure: Structure) -> Influence:
    kept = tuple(
        method.kept(layer, structure, i) if inside else rows_of(mask, structure)
        for i, (inside, mask) in enumerate(
            zip(structure.inside, structure.params, strict=True)
        )
    )
    return Influence(layer, structure, kept)


@dataclass(frozen=True)
class RTRL(Traced):
    """Real-time recurrent learning: the exact gradient, online, for every layer of cells.

        P_t = J_t P_{t-1} + I_t
        dL_t / d params = dL_t / d params | state  +  (dL_t / d state_t) P_t

    P is d state / d params, J the step's Jacobian by the state, and I its Jacobian by the
    params. While the parameters change from step to step, P mixes derivatives at several
    values of them, as in every online method.

    Costs for k numbers in the state and p parameters that reach it: k p numbers of memory
    for each sequence, and k^2 p multiplications a step. Parameters that do not reach the
    state, such as a readout's, cost nothing.

    Example:
        >>> import jax, jax.numpy as jnp, jaxrnn
        >>> cell = jaxrnn.GRU(3, 4)
        >>> params, x, target = cell.init(jax.random.key(0)), jnp.ones(3), jnp.zeros(4)
        >>> loss = lambda y, target: jnp.sum((y - target) ** 2)
        >>> method, state = jaxrnn.RTRL(), cell.initial_state(params)
        >>> trace = method.init(cell, params, x)
        >>> trace, state, value, grads = method.update(
        ...     cell, loss, params, trace, state, x, target
        ... )
        >>> grads.u.shape
        (4, 12)

    Reference: Williams & Zipser 1989, doi:10.1162/neco.1989.1.2.270.
    """

    exact: ClassVar[bool] = True

    def kept(self, layer, structure, leaf):
        return rows_of(structure.params[leaf], structure)


@dataclass(frozen=True)
class SnAp(Traced):
    """Sparse n-step approximation: RTRL with the entries that n steps can reach.

        P_t = M (J_t P_{t-1} + I_t),    M = 1 where a number reaches a state within n steps

    The sparsity is found from the step itself, by probing its derivatives. For n = 1 and a
    dense recurrence, each parameter keeps the units that it drives directly. Where n steps
    reach everything, the gradient is RTRL's. In a stack, a parameter keeps the units of the
    layers above that it reaches within the step.

    Costs: as many numbers as M has entries (p for n = 1 and one layer of an `Elman`), and
    the Jacobian J, k forward passes of the recurrence a step.

    Args:
        n: the number of steps, at least 1.

    Raises:
        TypeError: if n is not an integer.
        ValueError: if n is below 1.

    Reference: Menick et al. 2021, arXiv:2006.07232.
    """

    n: int = 1

    def __post_init__(self):
        check_sizes(self, "n")

    def kept(self, layer, structure, leaf):
        mask = now = structure.params[leaf]
        for _ in range(self.n - 1):
            now = structure.state @ now
            mask = mask | now
        return entries_of(mask)


@dataclass(frozen=True)
class DiagonalRTRL(Traced):
    """RTRL for element-wise recurrences: exact, with one trace for each parameter.

        e_t = d_t e_{t-1} + i_t,    d = the diagonal of J,  i = d unit_t / d parameter

    It serves cells in which a unit depends on its own past alone, real or complex: `LRU`,
    `S5`, `RGLRU`, `MinGRU`, `MinLSTM`, `QRNN`, `SRU`, `IndRNN`, `ParaGRU`, `ParaLSTM`. A unit
    may have several numbers, such as h and c, or a real and an imaginary part; then each
    parameter has as many traces. Layers before and after the cell get their exact gradient,
    those before it by `RTRL`'s recursion.

    Costs: p numbers of memory, and as many multiplications a step.

    Reference: Mozer 1989 (Complex Systems 3); Irie, Gopalakrishnan, Schmidhuber 2023,
    arXiv:2305.19044; Zucchet et al. 2023, arXiv:2305.15947.
    """

    exact: ClassVar[bool] = True

    def kept(self, layer, structure, leaf):
        mask = structure.closed(structure.params[leaf])
        if mask.sum(axis=0).max(initial=0) > structure.parts:
            raise NotImplementedError(
                f"DiagonalRTRL is exact for one element-wise recurrence, but in {layer} a "
                f"parameter of {structure.site_of(leaf).cell} reaches other units. RTRL() is "
                "exact for every layer, and SnAp(1) approximates it at the cost of "
                "DiagonalRTRL."
            )
        return entries_of(mask)
