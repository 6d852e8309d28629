"""Tags of clips: a GRU over frames, and a model of single frames with the same encoder."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

import jaxrnn

from ..common import Options, Results, Run, count, fit
from . import data
from .evaluation import GROUPS, precision, row, score
from .model import frames_only, make_loss, recurrent
from .picture import draw


@dataclass(frozen=True)
class Config(Options):
    """Tag clips of digits that move, with a GRU and with single frames."""

    channels: int = 16
    """Channels of the first convolution."""
    features: int = 64
    """Shapes that the second convolution looks for, and features of their places."""
    hidden: int = 128
    """Units of the GRU, and of the dense layer of the model of single frames."""
    clips: int = 8000
    """Clips to train on."""
    frame_batch: int = 256
    """Frames of a batch for the model of single frames."""
    batch: int = 32
    """Clips of a batch for the GRU."""
    frame_updates: int = 900
    """Updates of the model of single frames."""
    updates: int = 800
    """Updates of the GRU, which starts with the encoder of the other model."""
    learning_rate: float = 3e-3
    """Peak learning rate of AdamW; it rises, then falls to near 0."""
    weight_decay: float = 1e-2
    """Weight decay of AdamW."""
    test_clips: int = 1000
    """Clips to test on."""
    validation: bool = False
    """Test on validation clips, for the choice of settings."""
    seeds: int = 3
    """Number of seeds, of the initial weights and of the batches."""


SMALL = Config(
    channels=4,
    features=16,
    hidden=32,
    clips=20,
    frame_batch=64,
    batch=10,
    frame_updates=30,
    updates=60,
    learning_rate=1e-2,
    test_clips=40,
    seeds=1,
)


def main(config: Config, run: Run) -> Results:
    """Trains both models for each seed, and tests them on clips of other digits."""
    digits = data.load()
    run.say("drawing clips ...")
    train = data.draw_clips(digits["train"], config.clips, seed=1)
    held_out = digits["validation" if config.validation else "test"]
    test = data.draw_clips(held_out, config.test_clips, seed=2)
    sizes = config.channels, config.features, config.hidden
    models = {"single frames": frames_only(*sizes), "GRU": recurrent(*sizes)}
    scores: dict[str, list[np.ndarray]] = {name: [] for name in (*models, "shuffled")}
    seconds, params = dict.fromkeys(models, 0.0), {}
    for seed in range(config.seeds):
        params = {name: m.init(jax.random.key(seed)) for name, m in models.items()}
        for name, model in models.items():
            if name == "GRU":  # the encoder goes on from where the other model left it
                params[name] = params["single frames"][:1] + params[name][1:]
            params[name], added = fitted(
                run, config, name, model, params[name], train, seed
            )
            seconds[name] += added
            scores[name].append(score(model, params[name], test.frames))
        mixed = data.shuffled(test.frames, np.random.default_rng(seed))
        scores["shuffled"].append(score(models["GRU"], params["GRU"], mixed))
    precisions = {
        n: [precision(test.tags, s[-1]) for s in v] for n, v in scores.items()
    }
    draw(run.picture, test, {name: scores[name][-1] for name in models}, precisions)
    rows = [
        row(name, group, precisions, count(params[name]), seconds[name])
        for name in reversed(models)
        for group in GROUPS
    ]
    facts: dict[str, Any] = {
        f"mAP of each motion for the GRU, {seen}": np.mean(
            [precision(test.tags, s[moment])[GROUPS["motions"]] for s in scores["GRU"]], axis=0
        ).round(3).tolist()
        for seen, moment in (("first frame", 0), ("5 frames", 4), ("all frames", -1))
    }  # fmt: skip
    facts["share of clips with a tag"] = test.tags.mean(axis=0).round(3).tolist()
    return Results(tuple(rows), facts)


def fitted(
    run: Run, config: Config, name: str, model: jaxrnn.Layer, params: Any,
    train: data.Clips, seed: int,
) -> tuple[Any, float]:  # fmt: skip
    """The parameters of one model after its training, and the seconds of it."""
    single = name == "single frames"
    updates = config.frame_updates if single else config.updates
    schedule = optax.cosine_onecycle_schedule(updates, config.learning_rate)
    size = config.frame_batch if single else config.batch

    def batch(position: int) -> data.Clips:
        rng = np.random.default_rng((seed, position))
        drawn = data.draw_frames if single else data.draw_whole
        return drawn(train, size, rng)

    return fit(
        run,
        f"seed-{seed}/{name.replace(' ', '-')}",
        params,
        make_loss(model),
        batch,
        optax.adamw(schedule, weight_decay=config.weight_decay),
        updates=updates,
        seed=seed,
    )
