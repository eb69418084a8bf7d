"""What the scaling benchmark reads of a search is there."""

from benchmarks.scaling import images


def test_an_epoch_and_a_validation_of_some_images_are_timed():
    row = images(100)
    assert row["images"] == 100
    assert row["epoch_s"] > 0 and row["validation_s"] > 0
