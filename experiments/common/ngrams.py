"""A mixture of contexts: the probability of a symbol from those before it, by counting."""

import numpy as np


def mixture_bits(
    train: np.ndarray, held_out: np.ndarray, vocabulary: int, order: int
) -> np.ndarray:
    """Bits of each held-out symbol under contexts of 0 to `order` symbols, interpolated.

        p_k(s | c) = (n(c s) + d(c) p_{k-1}(s | c')) / (n(c) + d(c)),    p_{-1} = 1 / vocabulary

    n counts in the training symbols, d(c) is the number of different symbols after c, and c'
    is c without its oldest symbol. A context that was never seen leaves p_{k-1} as it is.
    The first `order` held-out symbols have contexts that reach into the training symbols.

    Args:
        train: `(N,)` integers, 0 to vocabulary - 1.
        held_out: `(M,)` integers that follow them.
        vocabulary: the number of symbols; `vocabulary ** (order + 1)` must be below 2^63.
        order: the longest context.

    Returns:
        `(M,)` bits.

    Reference: Witten & Bell 1991, doi:10.1109/18.87000 (method C); interpolated as in
    Chen & Goodman 1999, doi:10.1006/csla.1999.0128.
    """
    if vocabulary ** (order + 1) >= 2**63:
        raise ValueError(
            f"order={order} is too high for {vocabulary} symbols: 2^63 codes"
        )
    symbols = np.concatenate([train[len(train) - order :], held_out]).astype(np.int64)
    train, p = train.astype(np.int64), np.full(len(held_out), 1 / vocabulary)
    for k in range(order + 1):
        seen, asked = _codes(train, k, vocabulary), _codes(symbols, k, vocabulary)
        asked = asked[order - k :]
        pairs, n_pairs = np.unique(seen, return_counts=True)
        contexts, first = np.unique(pairs // vocabulary, return_index=True)
        n = np.add.reduceat(n_pairs, first)
        d = np.diff(np.append(first, len(pairs)))
        n_cs = _look_up(pairs, n_pairs, asked)
        n_c = _look_up(contexts, n, asked // vocabulary)
        d_c = _look_up(contexts, d, asked // vocabulary)
        p = np.where(n_c > 0, (n_cs + d_c * p) / np.maximum(n_c + d_c, 1), p)
    return -np.log2(p)


def _codes(symbols: np.ndarray, k: int, vocabulary: int) -> np.ndarray:
    """One integer for each symbol and the k symbols before it."""
    code = np.zeros(len(symbols) - k, np.int64)
    for i in range(k + 1):
        code = code * vocabulary + symbols[i : len(symbols) - k + i]
    return code


def _look_up(keys: np.ndarray, values: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The value of each key that is asked for; 0 where there is none."""
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    return np.where(keys[at] == asked, values[at], 0)
