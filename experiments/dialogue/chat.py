"""A conversation in the terminal with the bot of a run."""

import json
from pathlib import Path

import jax

from jaxrnn import training

from ..common import DataError, write_whole
from .data import Vocabulary, words
from .measures import Trained
from .model import Talker
from .speak import Bot, spaced


def save(folder: Path, trained: Trained) -> None:
    """Saves a model with its vocabulary."""
    content = {"hidden": trained.model.hidden, "words": trained.vocabulary.words}
    with training.Checkpoints(folder / "bot") as checkpoints:
        if checkpoints.latest is None:
            checkpoints.save(0, trained.params)
    write_whole(folder / "bot.json", json.dumps(content))


def opened(folder: Path, temperature: float, top_p: float, seed: int) -> Bot:
    """The bot of a run, at the start of a conversation."""
    if not (folder / "bot.json").is_file():
        raise DataError(
            f"{folder} has no bot.json: give the folder of a run of dialogue that has "
            "trained its first split."
        )
    content = json.loads((folder / "bot.json").read_text(encoding="utf-8"))
    vocabulary = Vocabulary(content["words"])
    model = Talker(len(vocabulary), content["hidden"])
    with training.Checkpoints(folder / "bot") as checkpoints:
        params = checkpoints.restore(model.init(jax.random.key(0)))
    return Bot(model, params, vocabulary, temperature, top_p, seed)


def talk(bot: Bot) -> None:
    """Reads lines and prints replies; Ctrl-C cuts a reply short, Ctrl-D ends."""
    print("Say something. Ctrl-C cuts a reply short, or ends; Ctrl-D ends.")
    while True:
        try:
            line = input("> ")
        except (EOFError, KeyboardInterrupt):
            print("\nBye.")
            return
        if not words(line):
            continue
        try:
            for word in bot.reply(line):
                print(spaced(word), end="", flush=True)
        except KeyboardInterrupt:
            print(" ...", end="")
        print()
        if bot.unknown:
            print(f"  (words it does not know: {', '.join(bot.unknown)})")
