"""divcon index DATA"""

from typing import Annotated

import typer

from .arguments import Json, Words, split_data_and_options, typed_options
from .terminal import print_answer


def index(
    data: Annotated[
        str, typer.Argument(help="A folder of images, of any nesting, or tar shards: 'shards/{000..123}.tar'.")
    ],
    words: Words = None,
    json: Json = False,
) -> None:
    """Read every file once and remember it, so that later commands start at once. out=FOLDER keeps the index there."""
    piles, words = split_data_and_options(data, words)
    pairs = typed_options(words, "out", "include", "exclude", "near_duplicates", "cache", "workers")
    from ..api.index import index as make
    from ..config import validate_arguments

    account = make(piles, **validate_arguments(make, pairs))
    print_answer(account, json, f"{account['used']:,} images, fingerprint {account['fingerprint']}")
