"""Tags of clips: the clips are as described, and the GRU learns more than their frames."""

import jax
import numpy as np
import pytest

import jaxrnn
from experiments.video import data
from experiments.video.model import recurrent

from .helpers import losses, small


@pytest.fixture(scope="module")
def digits():
    return data.load()


def test_no_image_is_in_two_parts(digits):
    parts = [{image.tobytes() for image in part.images} for part in digits.values()]
    assert [len(part.images) for part in digits.values()] == [1077, 270, 450]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


def test_each_motion_does_what_its_name_says():
    centres, angles, scales = data.paths(np.arange(8), np.random.default_rng(0))
    down, right = np.moveaxis(centres[:, -1] - centres[:, 0], -1, 0)
    changes = np.stack(
        [-right, right, -down, down]
        + [sign * (a[:, -1] - a[:, 0]) for a in (angles, scales) for sign in (-1, 1)]
    )
    for motion, change in enumerate(changes):
        assert change[motion] > 0, data.MOTIONS[motion]
        others = np.delete(change, [motion, data.OPPOSITE[motion]])
        np.testing.assert_allclose(others, 0, atol=1e-6)


def test_a_digit_that_turns_right_turns_clockwise():
    """The top of an image moves to the right."""
    image = np.zeros((1, 8, 8), np.float32)
    image[0, 0, 3:5] = 1
    still, quarter = (np.full((1, 20), angle) for angle in (0, np.pi / 2))
    centres, scales = np.full((1, 20, 2), 9.5), np.ones((1, 20))
    np.testing.assert_allclose(
        np.rot90(data.render(image, centres, still, scales)[0, 0], -1),
        data.render(image, centres, quarter, scales)[0, 0],
        atol=1e-5,
    )


def test_clips_have_two_digits_and_can_be_played_backwards(digits):
    clips = data.draw_clips(digits["test"], 130, seed=3)
    assert clips.frames.shape == (20, 130, 20, 20) and clips.frames.dtype == np.uint8
    assert (clips.tags[:, :10].sum(axis=1) == 2).all()
    batch = data.draw_whole(clips, 130, np.random.default_rng(0))
    chosen = np.random.default_rng(0).integers(130, size=130)
    np.testing.assert_array_equal(batch.frames[:, 0], clips.frames[:, chosen[0]])
    np.testing.assert_array_equal(batch.frames[:, 1], clips.frames[::-1, chosen[1]])
    np.testing.assert_array_equal(batch.tags[:, :10], clips.tags[chosen, :10])
    there, back = clips.tags[chosen[1], 10:], batch.tags[1, 10:]
    np.testing.assert_array_equal(there.reshape(4, 2), back.reshape(4, 2)[:, ::-1])


def test_each_clip_is_shuffled_in_its_own_way():
    frames = np.broadcast_to(np.arange(20)[:, None], (20, 50))
    mixed = data.shuffled(frames, np.random.default_rng(0))
    np.testing.assert_array_equal(np.sort(mixed, axis=0), frames)
    assert len({tuple(clip) for clip in mixed.T}) == 50


def test_the_encoder_is_a_layer_like_any_other():
    """Whole clips and single steps give the same scores."""
    model = recurrent(2, 4, 8)
    params = model.init(jax.random.key(0))
    xs = jax.random.uniform(jax.random.key(1), (3, 2, 20, 20))
    _, ys = jaxrnn.unroll(model, params, xs)
    state = model.initial_state(params)
    for t in range(3):
        state, y = model.step(params, state, xs[t, 0])
        np.testing.assert_allclose(y, ys[t, 0], rtol=1e-4, atol=1e-5)


def test_it_learns(tmp_path):
    results, folder = small("video", tmp_path)
    share = np.array(results["facts"]["share of clips with a tag"])
    unknown = share[
        (share > 0) & (share < 1)
    ]  # the loss of a model that knows the shares
    chance = -np.sum(unknown * np.log(unknown) + (1 - unknown) * np.log(1 - unknown))
    assert np.mean(losses(folder / "seed-0" / "GRU")[-5:]) < 0.9 * chance
    assert [row["cell"] for row in results["rows"]] == 3 * ["GRU"] + 3 * [
        "single frames"
    ]
