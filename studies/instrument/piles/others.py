"""Pictures for children, of the sky, of solids and of signs; digits."""

from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from .sources import images_of, place

stamps = images_of("tuxpaint-stamps-default", all="usr/share/tuxpaint/stamps")
scratch = images_of(
    "scratch", costumes="usr/share/scratch/Media/Costumes", backgrounds="usr/share/scratch/Media/Backgrounds"
)
sky = images_of("stellarium-data", nebulae="usr/share/stellarium/nebulae", all="usr/share/stellarium/skycultures")
solids = images_of("openscad-testing-data", all="usr/share/openscad/regression")
symbols = images_of("dia-shapes", all="usr/share/dia/shapes")
flags = images_of("iso-flags-png-320x240", all="usr/share/iso-flags-png-320x240")


def renderer(path: PurePosixPath) -> str | None:
    """The outermost folder, if it is of one of the large tests of a renderer."""
    name = path.parts[0]
    return name if name.endswith(("csgtest", "pngtest", "throwntogethertest")) else None


def digits(folder: Path, work: Path) -> None:
    """Write the handwritten digits of scikit-learn, of 8x8 pixels, as BMP: it has the same bytes whichever library writes it."""
    from sklearn.datasets import load_digits

    data = load_digits()
    for i, (pixels, digit) in enumerate(zip(data.images, data.target)):
        gray = np.rint(pixels * (255 / 16)).astype(np.uint8)
        Image.fromarray(gray).save(place(folder / str(digit) / f"{i:04}.bmp"))
