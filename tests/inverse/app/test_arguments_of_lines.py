"""Pictures and measurements from files."""

import numpy as np
import torch
from skimage.io import imsave

from inverse.app.arguments import read_image, read_measurement


def test_a_picture_is_a_measurement_too(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (6, 5, 3), dtype=np.uint8)
    imsave(tmp_path / "y.png", pixels, check_contrast=False)
    np.save(tmp_path / "y.npy", pixels[None] / 255)
    torch.testing.assert_close(read_measurement(tmp_path / "y.png"), read_image(tmp_path / "y.png", (3, 6, 5)))
    assert read_measurement(tmp_path / "y.npy").shape == (1, 6, 5, 3)
    assert read_image(tmp_path / "y.png", (None, None, None)).shape == (1, 3, 6, 5)
