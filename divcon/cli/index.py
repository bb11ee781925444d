"""divcon index DATA"""

from .arguments import DataArgument, Json, Words, split_data_and_options, typed_options
from .terminal import print_answer


def index(data: DataArgument, words: Words = None, json: Json = False) -> None:
    """Read every file once and store an index. Later commands then start at once; out=FOLDER writes the index there too."""
    paths, words = split_data_and_options(data, words)
    options = typed_options(words, "out", "include", "exclude", "near_duplicates", "cache", "workers")
    from ..api import index
    from ..config import validate_arguments

    answer = index.index(paths, **validate_arguments(index.index, options))
    print_answer(answer, json, f"{answer.used:,} images, fingerprint {answer.fingerprint}")
