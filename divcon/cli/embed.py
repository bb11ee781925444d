"""divcon embed MODEL DATA out=FILE.parquet"""

from .arguments import (
    DataArgument,
    Json,
    ModelArgument,
    Shard,
    Words,
    split_data_and_options,
    take_output,
    typed_options,
)
from .terminal import others_in_words, print_answer


def embed(
    model: ModelArgument,
    data: DataArgument,
    words: Words = None,
    shard: Shard = None,
    json: Json = False,
) -> None:
    """Write a model's features to a parquet file. Columns: path, path_bytes, picture (copies have one number), embedding."""
    paths, words = split_data_and_options(data, words)
    options = typed_options(words, "out", "include", "exclude", "layer", "cache", "cache_gb", "workers")
    out = take_output(options, "out", "out=photos.parquet")
    from ..api import embed
    from ..config import validate_arguments

    done = embed.embed(model, paths, out=out, shard=shard, **validate_arguments(embed.embed, options))
    if done.waiting_for:
        others = others_in_words(done.waiting_for)
        print_answer(done, json, f"shard {shard} is done; {out} is written when these are, too: {others}")
        return
    copies = f", {done.files - done.pictures:,} of them copies" if done.files > done.pictures else ""
    text = f"{out}: {done.files:,} files{copies}, {done.pictures:,} pictures"
    print_answer(done, json, text)
