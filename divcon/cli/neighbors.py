"""divcon neighbors RUN IMAGE... [k=20]"""

from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from ..files.paths import shell_quoted
from ..files.text import printable
from .arguments import Json, RunArgument, Words, is_option, split_data_and_options, typed_options
from .terminal import print_answer, table

if TYPE_CHECKING:
    from ..api.neighbors import NeighborsAnswer, NeighborsOf

ImageArgument = Annotated[
    str, typer.Argument(metavar="IMAGE...", help="A picture, in the collection or not; or several.")
]


def neighbors(run: RunArgument, image: ImageArgument, words: Words = None, json: Json = False) -> None:
    """Find the images of a run that look most like a picture. k= is how many, sheet=FILE.png draws them beside it. A picture
    that is in the collection itself is not listed as its own neighbor."""
    if is_option(image):
        raise UsageError(
            f"the picture is missing: type divcon neighbors {shell_quoted(run)} PICTURE {shell_quoted(image)}"
        )
    pictures, words = split_data_and_options(image, words)
    options = typed_options(words, "k", "whiten", "sheet", "data", "cache", "cache_gb", "workers")
    from ..api import neighbors
    from ..config import validate_arguments

    answer = neighbors.neighbors(run, pictures, **validate_arguments(neighbors.neighbors, options))
    print_answer(answer, json, _text(answer))


def _text(answer: "NeighborsAnswer") -> str:
    sheet = f"\n\n{printable(answer.sheet)} shows them" if answer.sheet else ""
    return "\n\n".join(_table(found, answer.images) for found in answer.found) + sheet


def _table(found: "NeighborsOf", images: int) -> str:
    own = (
        f" is image {found.position:,} of the collection;"
        if found.position is not None
        else " is not in the collection;"
    )
    rows = [
        [
            f"{row.cosine:.3f}",
            "" if row.cluster is None else str(row.cluster),
            f"{row.width} x {row.height}",
            printable(row.path),
        ]
        for row in found.neighbors
    ]
    head = f"{printable(found.image)}{own} of {images:,} images these are most like it"
    return f"{head}\n\n{table(['cosine', 'cluster', 'size', 'path'], rows)}"
