"""Every small recipe, and DnC of other methods, on 4,000 images of Fashion-MNIST at one budget: what each scores, what whitening adds, and its seconds.

python -m studies recipes jobs=1 only='*.s0.*'     on a machine that does nothing else, for the seconds
python -m studies recipes jobs=2                   the other seeds
"""

from divcon import recipes
from studies.instrument.table import UNTRAINED, Run

PASSES = 3
SEEDS = range(3)
MIXED = ("byol", "moco", "simclr", "swav")  # methods that take MoCLR's place in DnC (the paper's tables 15 and 16)
NETWORK = {"encoder": "slim10", "size": 32}
LEFT_OUT = {"supervised"}  # it needs labels
PAPERS = ("_paper", "_1000", "_3000", "_4500")


def runs() -> list[Run]:
    small = [name for name in recipes.names() if not name.endswith(PAPERS) and name not in LEFT_OUT]
    alone = {name: {"recipe": name, **({} if name == "nmf" else NETWORK)} for name in small}
    mixed = {f"dnc of {name}": {"recipe": "dnc", "method": name, **NETWORK} for name in MIXED}
    lines = {UNTRAINED: {"recipe": UNTRAINED, **NETWORK}, **alone, **mixed}
    return [one(line, own, seed) for seed in SEEDS for line, own in lines.items()]


def one(line: str, own: dict[str, object], seed: int) -> Run:
    options = {name: value for name, value in own.items() if name != "recipe"}
    budget = {} if line == UNTRAINED else {"epochs": PASSES}
    against = "moclr" if line not in ("moclr", UNTRAINED) else None
    return Run(
        table="Fashion-MNIST, 4,000 images", line=line, data="fashion", recipe=str(own["recipe"]), seed=seed, options={**options, **budget}, against=against
    )  # fmt: skip
