"""divcon embed MODEL DATA out=FILE.parquet"""

from .arguments import DataArgument, Json, ModelArgument, Words, split_data_and_options, take_output, typed_options
from .terminal import print_answer


def embed(model: ModelArgument, data: DataArgument, words: Words = None, json: Json = False) -> None:
    """Write a model's features to a parquet file. Columns: path, path_bytes, picture (copies have one number), embedding."""
    paths, words = split_data_and_options(data, words)
    options = typed_options(words, "out", "include", "exclude", "layer", "cache", "cache_gb", "workers")
    out = take_output(options, "out", "out=photos.parquet")
    from ..api import embed
    from ..config import validate_arguments

    done = embed.embed(model, paths, out=out, **validate_arguments(embed.embed, options))
    copies = f", {done.files - done.pictures:,} of them copies" if done.files > done.pictures else ""
    text = f"{out}: {done.files:,} files{copies}, {done.pictures:,} pictures"
    print_answer(done, json, text)
