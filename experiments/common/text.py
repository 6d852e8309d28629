"""Language models of a long text: its bytes, their loss, bits per character, samples.

Each byte is a symbol, so no character is unknown.
"""

import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxrnn
from jaxrnn import decode, training

from ._data import DataError
from ._fit import fit
from ._options import Options
from ._run import Run, write_whole
from .ngrams import mixture_bits


VOCABULARY = 256
PROMPT = 64
"""Symbols of the held-out text that a sample continues."""
_NOT_SOURCE = {"site-packages", "dist-packages", "test", "tests", "idle_test"}


@dataclass(frozen=True)
class TextOptions(Options):
    """Options of the training of a language model by truncated backpropagation."""

    text: Path | None = None
    """A text file."""

    dropout: float = 0.0
    """Fraction of features dropped after each layer during training."""
    weight_drop: float = 0.0
    """Fraction of recurrent weights dropped for each batch during training."""
    batch: int = 32
    """Streams of text that are read in parallel."""
    time: int = 64
    """Time steps of a batch, and of backpropagation."""
    restart_every: int = 32
    """Number of batches after which a stream restarts from the initial state."""
    updates: int = 2000
    """Number of updates of the parameters."""
    learning_rate: float = 5e-3
    """Peak learning rate of Adam; it warms up, then decays to a tenth."""
    max_norm: float = 1.0
    """Global norm above which the gradient is scaled down."""
    average: float = 0.0
    """Decay of the moving average of the parameters, which is evaluated; 0 for no average."""
    seed: int = 0
    """Seed of the initial weights and of dropout."""

    evaluate_every: int = 500
    """Updates between evaluations on the held-out text."""
    held_out: float = 0.1
    """Fraction of the text, at its end, that is never trained on."""
    sample: int = 400
    """Number of symbols to sample at the end."""


@dataclass(frozen=True, eq=False)
class Text:
    """A text, split into a part for training and a held-out part."""

    name: str
    train: np.ndarray
    held_out: np.ndarray


def load(path: Path | None, held_out: float) -> Text:
    """The text file at `path`, or the standard library's source; its end is held out."""
    if path is None:
        name, data = "stdlib", standard_library()
    elif path.is_file():
        name = path.parent.name if path.stem == "input" else path.stem
        data = path.read_bytes()
    else:
        raise DataError(f"--text {path}: the file does not exist.")
    if not 0 < held_out < 1:
        raise DataError(f"--held-out {held_out}: give a fraction between 0 and 1.")
    symbols = np.frombuffer(data, np.uint8).astype(np.int32)
    cut = int(len(symbols) * (1 - held_out))
    return Text(name, symbols[:cut], symbols[cut:])


def standard_library() -> bytes:
    """The source of Python's standard library: every module but tests, in sorted order."""
    root = Path(sysconfig.get_path("stdlib"))
    files = sorted(
        path
        for path in root.rglob("*.py")
        if not _NOT_SOURCE & set(path.relative_to(root).parts)
    )
    return b"\n".join(path.read_bytes() for path in files)


def characters(symbols: np.ndarray) -> int:
    """The number of UTF-8 characters: bytes that do not continue a character."""
    return int(np.sum((symbols & 0xC0) != 0x80))


def context_bits(text: Text, order: int) -> float:
    """Bits per character of the held-out text under counts of contexts; see `ngrams`."""
    bits = mixture_bits(text.train, text.held_out, VOCABULARY, order)
    return float(bits.sum() / characters(text.held_out))


class Trained(NamedTuple):
    """A language model after its training: bits per character of the held-out text."""

    params: Any
    seconds: float
    bits: float


def train_model(
    config: TextOptions, run: Run, name: str, model: jaxrnn.Layer, text: Text
) -> Trained:
    """Trains one model, samples from it, and keeps the sample as `sample.txt`."""
    params = model.init(jax.random.key(config.seed))
    batches = training.TextBatches(
        text.train, config.batch, config.time, config.restart_every
    )
    evaluate = make_evaluate(model, text.held_out)
    params, seconds = fit(
        run,
        name,
        params,
        make_loss(model, config.weight_drop),
        batches.__getitem__,
        warm_adam(config.learning_rate, config.updates),
        updates=config.updates,
        carry=initial_carry(model, params, config.batch),
        seed=config.seed,
        max_norm=config.max_norm,
        average=config.average,
        evaluate=lambda params: {"bits": evaluate(params)},
        evaluate_every=config.evaluate_every,
    )
    prompt = text.held_out[:PROMPT].astype(np.uint8).tobytes()
    sample = write(model, params, prompt, config.sample, config.seed)
    write_whole(run.folder / name / "sample.txt", sample)
    run.say(
        f"After the first {PROMPT} symbols of the held-out text it writes:\n\n{sample}\n"
    )
    bits = [line["bits"] for line in run.metrics(name) if "bits" in line][-1]
    return Trained(params, seconds, bits)


def warm_adam(learning_rate: float, updates: int) -> optax.GradientTransformation:
    """Adam with a short warm-up and a cosine decay to a tenth."""
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=learning_rate / 10,
        peak_value=learning_rate,
        warmup_steps=min(50, updates // 10),
        decay_steps=max(updates, 2),
        end_value=learning_rate / 10,
    )
    return optax.adam(schedule, b2=0.99)


def make_loss(
    model: jaxrnn.Layer, weight_drop: float = 0.0
) -> Callable[..., tuple[jax.Array, Any]]:
    """Nats per symbol of a batch, and the state that the next batch starts from."""

    def loss(params, carry, key, batch):
        key, weights_key = jax.random.split(key)
        if weight_drop:
            params = jaxrnn.drop_connect(params, weight_drop, weights_key)
        carry, logits = jaxrnn.unroll(
            model, params, batch.inputs, carry, resets=batch.resets, key=key
        )
        return training.cross_entropy(logits, batch.targets), carry

    return loss


def initial_carry(model: jaxrnn.Layer, params: Any, batch: int) -> Any:
    """The initial state of every stream."""
    one = model.initial_state(params)
    return jax.tree.map(lambda s: jnp.broadcast_to(s, (batch, *s.shape)), one)


def make_evaluate(
    model: jaxrnn.Layer, symbols: np.ndarray, steps: int = 512, batch: int = 64
) -> Callable[[Any], float]:
    """`evaluate(params)`: bits per character of a text, with the state carried through it.

    The text is read as up to `batch` streams. Every symbol counts except the first of each
    stream; the last window is padded to `steps` and masked.
    """
    batch = max(1, min(batch, len(symbols) // 2))
    length = len(symbols) // batch
    streams = symbols[: length * batch].reshape(batch, length).T
    inputs, targets = streams[:-1], streams[1:]

    @jax.jit
    def window_nats(params, carry, inputs, targets, lengths):
        carry, logits = jaxrnn.unroll(model, params, inputs, carry, lengths=lengths)
        mask = training.valid_steps(lengths, inputs.shape[0])
        nats = training.cross_entropy(logits, targets, mask)
        return carry, nats * jnp.sum(mask).astype(nats.dtype)

    def evaluate(params):
        carry, nats = initial_carry(model, params, batch), 0.0
        for start in range(0, length - 1, steps):
            window = [
                _padded(s[start : start + steps], steps) for s in (inputs, targets)
            ]
            valid = np.full(batch, min(steps, length - 1 - start))
            carry, added = window_nats(params, carry, *window, valid)
            nats += float(added)
        return nats / np.log(2) / characters(targets)

    return evaluate


def _padded(window: np.ndarray, steps: int) -> np.ndarray:
    return np.pad(window, ((0, steps - len(window)), (0, 0)))


def write(
    model: jaxrnn.Layer, params: Any, prompt: bytes, count: int, seed: int
) -> str:
    """`count` symbols sampled from the model after a prompt of at least two symbols."""
    given = jnp.asarray(list(prompt), jnp.int32)[:, None]
    state, _ = jaxrnn.unroll(model, params, given[:-1])
    key = jax.random.key(seed)
    sample = decode.sample(model, params, state, given[-1], key, steps=count)
    written = np.asarray(sample.symbols[:, 0]).astype(np.uint8)
    return written.tobytes().decode("utf-8", errors="replace")
