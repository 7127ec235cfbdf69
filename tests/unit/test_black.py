"""Black tiles: read by Pillow, which is not what wrote the JPEG ones."""

import io

import pytest
from PIL import Image

from catmaid_deploy.schema import TileSet
from catmaid_deploy.tasks.nginx import black_tile

FORMATS = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}


@pytest.mark.row_13
@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("size", [16, 17, 256, 500, 512, 1024, 1449, 1456, 2048, 4096])
def test_an_image_is_black_and_of_its_size(size: int, suffix: str) -> None:
    data = black_tile.image(size, suffix)
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.size) == (FORMATS[suffix], (size, size))
    assert image.convert("L").getextrema() == (0, 0)
    if suffix == "jpg":
        # Pillow takes the end of a file for grey, and a longer one for nothing; ours is neither.
        assert data.endswith(b"\xff\xd9")
        assert data.count(b"\xff\xd9") == 1


@pytest.mark.row_13
def test_a_missing_tile_fits_into_one_packet() -> None:
    size = TileSet.model_fields["tile_size"].default
    # Of 1,448 bytes the headers take some 560, and TLS 22.
    assert all(len(black_tile.image(size, suffix)) < 800 for suffix in FORMATS)
