"""divcon pick RUN n=1000 how=diverse|typical|odd|balanced out=FILE"""

from typing import TYPE_CHECKING

from ..files.text import printable
from .arguments import Json, RunArgument, Words, typed_options
from .terminal import print_answer, table

if TYPE_CHECKING:
    from ..api.pick import PickAnswer

SHOWN = 5  # rows


def pick(run: RunArgument, words: Words = None, json: Json = False) -> None:
    """Pick images worth labeling or keeping, each with a reason. how=diverse covers the collection, typical takes the most
    usual images, odd the strangest, balanced as many of rare things as of frequent ones. n= is how many (else a tenth, 50 to 1,000); out=FILE.csv,
    .parquet or .txt has them all."""
    options = typed_options(words, "n", "how", "out", "seed", "whiten", "data", "cache", "cache_gb", "workers")
    from ..api import pick
    from ..config import validate_arguments

    answer = pick.pick(run, **validate_arguments(pick.pick, options))
    print_answer(answer, json, _text(answer))


def _text(answer: "PickAnswer") -> str:
    rows = [[printable(row.path), f"{row.score:.3f}", row.reason] for row in answer.picked[:SHOWN]]
    more = len(answer.picked) - len(rows)
    where = f": all are in {printable(answer.out)}" if answer.out else "; type out=FILE.csv to have them all"
    rest = f"\nand {more:,} more{where if more else ''}" if more else ""
    head = f"{len(answer.picked):,} of {answer.images:,} images, {answer.how}: {answer.measured}"
    return f"{head}\nscore: {answer.score}\n\n{table(['picked', 'score', 'reason'], rows)}{rest}"
