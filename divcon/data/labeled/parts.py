"""Parts of a collection (to learn from, to test on), known by the usual names of their folders."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Literal

Role = Literal["train", "val", "test"]
Roles = Mapping[str, tuple[Role, str]]  # for each folder that may be a part: which, and the rest of its name

WORDS: dict[Role, str] = {
    "train": "train|training|trainval",
    "val": "val|valid|validation|dev|development|eval|evaluation",
    "test": "test|testing|holdout|heldout",
}
PART = {role: re.compile(f"(?:{words})(set|data|split|images|imgs)?") for role, words in WORDS.items()}
CAMEL = re.compile(
    r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
)  # between the words of TrainPhotos and of trainA


def roles_of(names: Iterable[str]) -> Roles:
    """The names that have one such word in them, in any case of letters."""
    return {name: role for name in sorted(names) if (role := role_of(name)) is not None}


def role_of(name: str) -> tuple[Role, str] | None:
    """The part, and the rest of the name, which "train_images" and "test_images" have in common."""
    return _role_in(name) or _role_in(CAMEL.sub(" ", name))


def _role_in(name: str) -> tuple[Role, str] | None:
    words = re.findall(r"[^\W\d_]+|\d+", name.casefold())
    found = [
        (role, [*words[:i], match[1] or "", *words[i + 1 :]])
        for i, word in enumerate(words)
        for role, part in PART.items()
        if (match := part.fullmatch(word))
    ]
    return (found[0][0], " ".join(filter(None, found[0][1]))) if len(found) == 1 else None


def certain(roles: Roles) -> dict[Role, str] | None:
    """The folder of each role, where there is one set of them and no other reading."""
    sets = _sets(roles)
    if len(sets) != 1 or any(len(names) > 1 for names in sets[0].values()):
        return None
    parts = {role: names[0] for role, names in sets[0].items()}
    plain = {name for name, (_, rest) in roles.items() if not rest}
    return parts if plain <= set(parts.values()) else None


def doubtful(roles: Roles, folders: int) -> bool:
    """Whether folders that are no certain parts may be parts all the same: of so many, some are called just train, val
    or test, or each has such a word in its name."""
    kinds = {role for role, _ in roles.values()}
    every = len(roles) == folders and kinds > {"train"}
    return every or bool(_sets(roles)) or any(not rest for _, rest in roles.values())


def pairs(roles: Roles) -> list[tuple[list[str], list[str]]]:
    """What may be meant to learn from and to test on: folders whose names differ by the role alone, and then all."""
    every: dict[Role, list[str]] = defaultdict(list)
    for name, (role, _) in roles.items():
        every[role].append(name)
    return [sides for named in [*_sets(roles), every] if all(sides := _sides(named))]


def _sides(named: Mapping[Role, list[str]]) -> tuple[list[str], list[str]]:
    train, val, test = (named.get(role, []) for role in WORDS)
    return (train, test or val) if train else (val, test)


def _sets(roles: Roles) -> list[dict[Role, list[str]]]:
    """Folders whose names differ by the role alone; each set has some to learn from and some to test on."""
    sets: dict[str, dict[Role, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, (role, rest) in roles.items():
        sets[rest][role].append(name)
    return [named for _, named in sorted(sets.items()) if set(named) > {"train"}]
