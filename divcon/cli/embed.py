"""divcon embed MODEL DATA out=FILE.parquet"""

from typing import Annotated

import typer

from .arguments import Json, Words, split_data_and_options, take_required, typed_options
from .terminal import print_answer


def embed(
    model: Annotated[str, typer.Argument(help="A run, a stage's folder, random:RUN, or random:NAME.")],
    data: Annotated[
        str, typer.Argument(help="A folder of images, of any nesting, or tar shards: 'shards/{000..123}.tar'.")
    ],
    words: Words = None,
    json: Json = False,
) -> None:
    """Write what a model sees of each image to a parquet file: columns path, path_bytes, picture, embedding."""
    piles, words = split_data_and_options(data, words)
    pairs = typed_options(words, "out", "include", "exclude", "layer", "cache", "cache_gb", "workers")
    out = take_required(pairs, "out", "out=photos.parquet")
    from ..api.embed import embed as write
    from ..config import validate_arguments

    wrote = write(model, piles, out=out, **validate_arguments(write, pairs))
    account = {"out": out, "files": wrote.files, "pictures": wrote.pictures}
    copies = f", {wrote.files - wrote.pictures:,} of them copies" if wrote.files > wrote.pictures else ""
    print_answer(account, json, f"{out}: {wrote.files:,} files{copies}, {wrote.pictures:,} pictures")
