import numpy as np
import pytest

from edgepress_apps.cameras import SOURCES, open_source
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import load_pixels
from edgepress_runtime.manifest import ImageSpec

GREY = ImageSpec(8, 8, 1, (0.0,), (1.0,))
COLOUR = ImageSpec(4, 6, 3, (0.0,) * 3, (1.0,) * 3)


def test_a_folder_gives_its_pictures_in_order_and_tells_what_was_lost(album):
    lost = []
    with open_source(str(album), GREY, lost=lambda what, why: lost.append((what, why))) as frames:
        seen = list(frames)
    # Files come before the folders below them, and the broken one leaves a gap in the numbers.
    assert [(f.seq, f.origin) for f in seen] == [
        (0, str(album / "1-dusk.png")),
        (2, str(album / "3-noon.png")),
        (3, str(album / "night" / "4-midnight.png")),
    ]
    assert [int(f.pixels.mean()) for f in seen] == [60, 200, 0]
    assert [what for what, _ in lost] == [str(album / "2-broken.png")]
    assert "2-broken.png" in lost[0][1]


def test_frames_are_what_the_preprocessing_of_training_gives(album):
    file = album / "3-noon.png"
    with open_source(str(file), COLOUR) as frames:
        (frame,) = frames
    assert frame.pixels.dtype == np.uint8
    assert frame.pixels.shape == (4, 6, 3)
    assert np.array_equal(frame.pixels, load_pixels(file, COLOUR))


def test_times_never_run_backwards(album):
    with open_source(str(album), GREY) as frames:
        times = [frame.t for frame in frames]
    assert times == sorted(times)


def test_leaving_the_source_ends_its_frames(album):
    with open_source(str(album), GREY) as frames:
        next(frames)
    assert list(frames) == []


@pytest.mark.parametrize("kind", sorted(SOURCES))
def test_a_source_may_be_named_by_its_kind(album, kind):
    with open_source(f"{kind}:{album / '3-noon.png'}", GREY) as frames:
        assert len(list(frames)) == 1


def test_a_colon_in_a_path_is_only_a_colon(album):
    odd = album / "at:noon"
    odd.mkdir()
    (odd / "a.png").write_bytes((album / "3-noon.png").read_bytes())
    with open_source(str(odd), GREY) as frames:
        assert len(list(frames)) == 1


def test_nothing_to_read_is_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(EdgepressError, match="missing does not exist"), open_source(str(tmp_path / "missing"), GREY):
        pass
    with pytest.raises(EdgepressError, match="empty holds no pictures"), open_source(str(tmp_path / "empty"), GREY):
        pass
