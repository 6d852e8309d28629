"""Captions: the sheet is read and split as described, and the LSTM learns its names."""

import json

import matplotlib.image
import numpy as np
import pytest

from experiments.captions.data import END, TONES, Vocabulary, augmented, load
from experiments.common import DataError

from .helpers import losses, small


ACTIVITIES = ("FARMER", "COOK", "PILOT", "JUDGE", "SINGER")


def write(data_dir) -> None:
    """A sheet of 10 x 10 cells: people by activity and skin tone, and 25 other pictures.

    The color is the skin tone, the left half the person, the right half the activity.
    """
    folder = data_dir / "emoji"
    folder.mkdir(parents=True)
    sheet, entries, places = np.zeros((340, 340, 4), np.float32), [], iter(range(100))

    def place(red: float, green: float, blue: float) -> dict:
        y, x = divmod(next(places), 10)
        cell = sheet[34 * y + 1 : 34 * y + 33, 34 * x + 1 : 34 * x + 33]
        cell[..., 3], cell[..., 0] = 1, red
        cell[:, :16, 1], cell[:, 16:, 2] = green, blue
        return {"sheet_x": x, "sheet_y": y}

    known = {"has_img_twitter": True, "category": "People & Body"}
    for who, person in enumerate(("WOMAN", "MAN")):
        for number, activity in enumerate(ACTIVITIES):
            color = float(who), number / 4
            variants = {tone: place(0.2 * i, *color) for i, tone in enumerate(TONES)}
            entry = {"name": f"{person} {activity}", **place(1, *color), **known}
            entries.append(entry | {"skin_variations": variants})
    for number in range(25):
        other = place(number % 5 / 5, number / 25, 0.5)
        entries.append({"name": f"THING: {number}", **other, **known})
    hidden = {"name": "NO PICTURE", "has_img_twitter": False, "category": "Objects"}
    flag = {"name": "Chad Flag", **known, "category": "Flags"}
    (folder / "emoji.json").write_text(json.dumps([*entries, hidden, flag]))
    matplotlib.image.imsave(folder / "sheet-32.png", sheet)


def test_pictures_names_and_parts(tmp_path):
    write(tmp_path)
    emoji = load(tmp_path)
    assert len(emoji.names) == len(set(emoji.names)) == 10 * 6 + 25
    assert emoji.pictures.shape == (85, 32, 32, 3)
    i = emoji.names.index("man cook medium-light skin tone")
    want = np.array([0.2, 1.0, 0.0])
    np.testing.assert_allclose(emoji.pictures[i, 5, 5], want, atol=0.01)
    np.testing.assert_allclose(emoji.pictures[i, 5, 20], [0.2, 0, 0.25], atol=0.01)
    part = lambda name: {n for n in emoji.part(name).names}
    assert len(part("picture")) == 2 and all("thing" in n for n in part("picture"))
    assert len(part("person")) == 6  # one person with one activity, in all skin tones
    assert part("tone") and all("skin tone" in n for n in part("tone"))
    known = {word for name in part("train") for word in name.split()}
    assert {word for n in part("tone") | part("person") for word in n.split()} <= known
    again = emoji.within_training()
    assert set(again.names) == part("train") and {*again.parts} > {"train"}


@pytest.mark.parametrize("broken", ["{", "[]", "{}", '[{"name": 3}]'])
def test_broken_names_are_refused(tmp_path, broken):
    write(tmp_path)
    (tmp_path / "emoji" / "emoji.json").write_text(broken)
    with pytest.raises(DataError, match=r"emoji.json: expected a JSON list of emoji"):
        load(tmp_path)


def test_broken_sheets_are_refused(tmp_path):
    write(tmp_path)
    file = tmp_path / "emoji" / "sheet-32.png"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"sheet-32.png is not a whole PNG file"):
        load(tmp_path)
    matplotlib.image.imsave(file, np.ones((333, 340, 4)))
    with pytest.raises(DataError, match="a picture every 34 pixels"):
        load(tmp_path)
    matplotlib.image.imsave(file, np.ones((68, 68, 4)))
    with pytest.raises(DataError, match="outside the sheet of 68 x 68"):
        load(tmp_path)


def test_missing_places_and_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="Get the data from emoji-datasource-twitter"):
        load(tmp_path)
    write(tmp_path)
    entry = '[{"name": "A", "category": "Objects", "has_img_twitter": true}]'
    (tmp_path / "emoji" / "emoji.json").write_text(entry)
    with pytest.raises(DataError, match="no sheet_x or sheet_y"):
        load(tmp_path)


def test_names_survive_the_vocabulary():
    names = ["a red car", "car", "a a"]
    vocabulary = Vocabulary(names)
    symbols, lengths = vocabulary.encode(names)
    assert symbols.shape == (4, 3) and lengths.tolist() == [4, 2, 3]
    assert symbols[3, 0] == END and vocabulary.decode(symbols) == names
    assert vocabulary.decode(symbols[:2]) == ["a red", "car", "a a"]


def test_augmentation_shifts_and_tints():
    pictures = np.random.default_rng(0).random((4, 32, 32, 3), np.float32)
    same = augmented(pictures, 0, 0.0, np.random.default_rng(0))
    np.testing.assert_array_equal(same, pictures)
    moved = augmented(pictures, 2, 0.0, np.random.default_rng(1))
    assert moved.shape == pictures.shape and moved.dtype == np.float32
    corners = np.random.default_rng(1).integers(0, 5, size=(4, 2)) - 2
    for picture, before, (top, left) in zip(moved, pictures, corners, strict=True):
        want = before[4 + top : 28 + top, 4 + left : 28 + left]
        np.testing.assert_array_equal(picture[4:28, 4:28], want)


def test_it_learns(tmp_path):
    write(tmp_path / "data")
    results, folder = small("captions", tmp_path)
    words = results["facts"]["words"]
    assert np.mean(losses(folder / "seed-0")[-5:]) < 0.3 * np.log(words)
    found = {row["task"]: row for row in results["rows"] if row["measure"] == "BLEU"}
    assert len(found) == 4 and all(row["baselines"] for row in found.values())
