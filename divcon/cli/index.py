"""divcon index DATA"""

from typing import Annotated

import typer

from .arguments import Json, Words, more_data, options
from .terminal import answer


def index(
    data: Annotated[
        str, typer.Argument(help="A folder of images, of any nesting, or tar shards: 'shards/{000..123}.tar'.")
    ],
    words: Words = None,
    json: Json = False,
) -> None:
    """Read every file once and remember it, so that later commands start at once. out=FOLDER keeps the index there."""
    piles, words = more_data(data, words)
    pairs = options(words, "out", "include", "exclude", "near_duplicates", "cache", "workers")
    from ..api.index import index as make
    from ..config import arguments

    account = make(piles, **arguments(make, pairs))
    answer(account, json, f"{account['used']:,} images, fingerprint {account['fingerprint']}")
