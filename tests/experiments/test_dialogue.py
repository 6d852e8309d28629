"""The chatbot, small: what it learns, what it says, and how one talks with it."""

import json

import jax
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.common import DataError
from experiments.dialogue import chat, data
from experiments.dialogue.baselines import KneserNey, nearest
from experiments.dialogue.data import END, UNKNOWN, Vocabulary, in_reply
from experiments.dialogue.model import Batches, Talker, make_nats, padded
from experiments.dialogue.speak import Bot, distinct, joined

from .helpers import losses, small


WORDS = "red blue old new big small dark warm".split()


def write(folder):
    """Conversations in which the last reply repeats a word of the first line."""
    folder.mkdir(parents=True)
    lines = ["categories:", "- things", "conversations:"]
    for word in WORDS:
        for thing in ("house", "car", "boat", "horse"):
            lines += [f"- - My {thing} is {word}.", f"  - So {word}?"]
            lines += ["  - Is it so?", f"  - Yes, it is {word}"]
    (folder / "things.yml").write_text("\n".join(lines))
    program = "conversations:\n- - a program?\n  - print(1)\n"
    (folder / "coding.yml").write_text(program)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "data" / "dialogue")


@pytest.fixture(scope="module")
def trained(folder):
    return small("dialogue", folder.parents[1])


def test_it_learns_and_says_how_it_compares(trained):
    results, run = trained
    rows = {row["measure"]: row for row in results["rows"][:5]}
    row = rows["perplexity per word of held-out replies"]
    assert len(row["values"]) == 2
    assert max(row["values"]) < 0.2 * row["baselines"]["unigram"]
    assert np.mean(losses(run / "split-0")[-5:]) < 0.3 * losses(run / "split-0")[0]
    assert 0.3 < np.mean(rows["training lines answered as in training"]["values"]) <= 1
    assert len(results["facts"]["conversation"]) == 5
    assert results["facts"]["reciting"]["recall"] > 0.2  # 1/8 by chance


def test_a_conversation_in_the_terminal(trained, monkeypatch, capsys):
    _, run = trained
    given = iter(["My house is old.", "", "is it zyx so?"])

    def typed(prompt):
        for line in given:
            return line
        raise EOFError  # Ctrl-D

    monkeypatch.setattr("builtins.input", typed)
    with jax.numpy_dtype_promotion("standard"):
        assert main(["run", "dialogue", "--chat", str(run)]) == 0
    out = capsys.readouterr().out
    assert "words it does not know: zyx" in out and out.endswith("Bye.\n")
    assert "<unk>" not in out and len(out.splitlines()) >= 4
    assert sorted(run.parent.iterdir()) == [run]  # no new run was made


def test_ctrl_c_cuts_a_reply_and_ends_at_the_prompt(monkeypatch, capsys):
    class Slow:
        unknown = ()

        def reply(self, line):
            yield "well"
            raise KeyboardInterrupt

    given = iter(["hello"])

    def typed(prompt):
        for line in given:
            return line
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", typed)
    chat.talk(Slow())
    assert capsys.readouterr().out.endswith(" well ...\n\nBye.\n")


def test_a_folder_without_a_bot_is_refused_in_words(tmp_path, capsys):
    assert main(["run", "dialogue", "--chat", str(tmp_path)]) == 2
    assert "has no bot.json" in capsys.readouterr().err


def test_the_bot_keeps_its_state():
    """Two lines, one after the other, leave the state that both lines at once leave."""
    vocabulary = Vocabulary(["<unk>", "<end>", *WORDS])
    model = Talker(len(vocabulary), 4)
    params = model.init(jax.random.key(0))
    one, two = (Bot(model, params, vocabulary, 1.0, 1.0, 0) for _ in range(2))
    first = list(one.reply("red blue"))
    spoken = [END, *vocabulary.symbols("red blue"), END]
    spoken += vocabulary.symbols(" ".join(first))
    two._read(spoken)
    for a, b in zip(
        jax.tree.leaves(one._state), jax.tree.leaves(two._state), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_conversations_are_distinct_and_lower_case(folder):
    found = data.load(folder.parent)
    assert len(found) == 32 and found == sorted(set(found))
    assert found[0] == (
        "my boat is big .",
        "so big ?",
        "is it so ?",
        "yes , it is big",
    )
    parts = data.split(found, 0.1, seed=0)
    assert [len(part) for part in parts] == [26, 3, 3]
    assert sorted(c for part in parts for c in part) == found


def test_replies_are_the_lines_after_the_first():
    vocabulary = Vocabulary.of([("a b", "c"), ("a c", "c")], minimum=2)
    assert vocabulary.words == ["<unk>", "<end>", "a", "c"]
    symbols = vocabulary.conversation(("a b", "c"))
    assert symbols.tolist() == [END, 2, UNKNOWN, END, 3, END]
    assert in_reply(symbols).tolist() == [False, False, False, True, True]


def test_batches_cut_conversations_where_they_start():
    conversations = [np.array([END, *[k] * k, END]) for k in range(2, 9)]
    batches = Batches(conversations, batch=2, steps=5, seed=0)
    total = sum(len(c) - 1 for c in conversations)
    assert batches.per_epoch == total // 10
    for position in range(2 * batches.per_epoch):
        batch = batches[position]
        assert batch.inputs.shape == (5, 2)
        inside = ~batch.resets[1:]
        np.testing.assert_array_equal(
            batch.inputs[1:][inside], batch.targets[:-1][inside]
        )
        np.testing.assert_array_equal(batch.resets[1:], (batch.inputs == END)[1:])
    np.testing.assert_array_equal(batches[1].inputs, batches[1].inputs)


def test_kneser_ney_is_a_distribution_and_equals_a_case_by_hand():
    sequences = [np.array([1, 2, 3, 2, 4, 1]), np.array([1, 2, 3, 3, 1])]
    model = KneserNey(sequences, 3, 6)
    for context in ([1], [1, 2], [2, 3], [5, 5], []):
        assert sum(model.probability(context, w) for w in range(6)) == pytest.approx(1)
    assert model.probability([1, 2], 3) > model.probability([1, 2], 4)
    # bigrams of "1 2 2": {12: 1, 22: 1}, all of count 1, so d = 1; below, the words to the
    # left of 2 are {1, 2}, and 1 starts the sequence: N(2) = 2, N(1) = 1, d = 1 / (1 + 2)
    one = KneserNey([np.array([1, 2, 2])], 2, 4)
    unigram = (2 - 1 / 3) / 3 + (1 / 3) * 2 / 3 / 4
    assert one.probability([], 2) == pytest.approx(unigram)
    assert one.probability([1], 2) == pytest.approx(0 + 1 * 1 * unigram / 1)


def test_perplexity_counts_replies_once():
    """A model that knows nothing gives every word of a reply the same probability."""
    conversations = [
        np.array([END, 2, END, 3, 3, END]),
        np.array([END, 2, 2, END, 3, END]),
    ]
    model = Talker(4, 3)
    params = jax.tree.map(np.zeros_like, model.init(jax.random.key(0)))
    nats = make_nats(model, padded(conversations, 3))(params)
    np.testing.assert_allclose(nats, np.full(3 + 2, np.log(4)), rtol=1e-6)


def test_the_nearest_line_and_the_text():
    train = [("hello there", "hi"), ("my car is red", "nice car", "thank you")]
    assert nearest(train, ["is your car red", "nice"]) == ["nice car", "thank you"]
    assert distinct(["a b a b", "a"]) == pytest.approx(2 / 3)
    assert joined("yes , i do .".split()) == "yes, i do."


@pytest.mark.parametrize(
    "content, message",
    [
        (b"conversations: [[a, b", "is not YAML"),
        (b"\xff\xfe", "is not YAML in UTF-8"),
        (b"categories: [x]", "has no list `conversations"),
        (b"conversations:\n- - a\n  - [b, c]\n", "is not a list of lines"),
        (b"conversations:\n- - a\n  - 12\n", "is not a list of lines"),
    ],
)
def test_broken_files_are_refused_in_words(tmp_path, content, message):
    folder = write(tmp_path / "dialogue")
    (folder / "broken.yml").write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        data.load(tmp_path)
    assert "broken.yml" in str(error.value)


def test_missing_and_empty_folders_are_refused_in_words(tmp_path):
    with pytest.raises(DataError, match="Get the data from chatterbot"):
        data.load(tmp_path)
    (tmp_path / "dialogue").mkdir()
    with pytest.raises(DataError, match=r"has no file \*.yml"):
        data.load(tmp_path)
    text = json.dumps({"conversations": [["a", "b"], "a string - b"]})
    (tmp_path / "dialogue" / "few.yml").write_text(text)
    with pytest.raises(DataError, match="has 1 distinct conversations"):
        data.load(tmp_path)
