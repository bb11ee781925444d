"""divcon index DATA"""

from .arguments import DataArgument, Json, Shard, Words, split_data_and_options, typed_options
from .terminal import others_in_words, print_answer


def index(data: DataArgument, words: Words = None, shard: Shard = None, json: Json = False) -> None:
    """Read every file once and store an index. Later commands then start at once; out=FOLDER writes the index there too."""
    paths, words = split_data_and_options(data, words)
    options = typed_options(words, "out", "include", "exclude", "near_duplicates", "cache", "workers")
    from ..api import index
    from ..config import validate_arguments

    answer = index.index(paths, shard=shard, **validate_arguments(index.index, options))
    if answer.waiting_for is not None:
        others = others_in_words(answer.waiting_for)
        left = (
            f"the index is made when these are, too, with the same cache: {others}"
            if others
            else "another process makes the index"
        )
        print_answer(answer, json, f"shard {shard} is done; {left}")
        return
    print_answer(answer, json, f"{answer.used:,} images, fingerprint {answer.fingerprint}")
