"""Every small recipe, and DnC of other methods, on 4,000 images of Fashion-MNIST at one budget: what each scores, what whitening adds, and its seconds.

python -m studies recipes jobs=1 only='*.s0.*'     on a machine that does nothing else, for the seconds
python -m studies recipes jobs=2                   the other seeds
"""

from collections.abc import Mapping
from typing import Any

from benchmarks.results import NETWORK, trained
from studies.instrument.table import UNTRAINED, Run

PASSES = 3
SEEDS = range(3)
LEFT_OUT = {"supervised"}  # it needs labels


def runs() -> list[Run]:
    return [one(line, own, seed) for seed in SEEDS for line, own in trained().items() if line not in LEFT_OUT]


def one(line: str, own: Mapping[str, Any], seed: int) -> Run:
    """The run of a line of the table of all methods; the untrained encoder has no options there. DnC of another method is compared
    with that method alone, as in Tables 15 and 16 of the paper."""
    against = line.removeprefix("dnc of ") if line.startswith("dnc of ") else "moclr"
    options = {name: value for name, value in own.items() if name != "recipe"}
    return Run(
        table="Fashion-MNIST, 4,000 images", line=line, data="fashion", recipe=own.get("recipe", UNTRAINED), seed=seed,
        options={**options, "epochs": PASSES} if own else NETWORK, against=against if own and line != "moclr" else None,
    )  # fmt: skip
