"""The names of train, validation and test splits, as folders have them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Set
from typing import Literal

Role = Literal["train", "val", "test"]
Roles = Mapping[str, tuple[Role, str]]  # for each folder that may be a split: its role, and the rest of its name
Subfolders = Mapping[str, Set[str]]  # the folders that hold images, and for each the folders in it that do

WORDS: dict[Role, str] = {
    "train": "train|training|trainval",
    "val": "val|valid|validation|dev|development|eval|evaluation",
    "test": "test|testing|holdout|heldout",
}
PATTERNS = {role: re.compile(f"(?:{words})(set|data|split|images|imgs)?") for role, words in WORDS.items()}
# Between the words of TrainPhotos and of trainA.
CAMEL_CASE = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def roles_of(names: Iterable[str]) -> Roles:
    """Return the role of each name that has exactly one word for a split in it, in any case of letters."""
    return {name: role for name in sorted(names) if (role := role_of(name)) is not None}


def role_of(name: str) -> tuple[Role, str] | None:
    """Return the role and the rest of the name: "train_images" and "test_images" have the rest "images" in common."""
    return _role_in(name) or _role_in(CAMEL_CASE.sub(" ", name))


def _role_in(name: str) -> tuple[Role, str] | None:
    words = re.findall(r"[^\W\d_]+|\d+", name.casefold())
    found = [
        (role, [*words[:i], match[1] or "", *words[i + 1 :]])
        for i, word in enumerate(words)
        for role, pattern in PATTERNS.items()
        if (match := pattern.fullmatch(word))
    ]
    return (found[0][0], " ".join(filter(None, found[0][1]))) if len(found) == 1 else None


def certain_splits(roles: Roles) -> dict[Role, str] | None:
    """Return the folder of each role, or None where the names can be read in several ways."""
    families = _families(roles)
    if len(families) != 1 or any(len(names) > 1 for names in families[0].values()):
        return None
    splits = {role: names[0] for role, names in families[0].items()}
    plain = {name for name, (_, rest) in roles.items() if not rest}
    return splits if plain <= set(splits.values()) else None


def may_be_splits(roles: Roles, n_folders: int) -> bool:
    """Return true if folders that are not certainly splits may be splits.

    So it is where a folder is called just train, val or test, and where each of the folders has such a word in its name.
    """
    kinds = {role for role, _ in roles.values()}
    every = len(roles) == n_folders and kinds > {"train"}
    return every or bool(_families(roles)) or any(not rest for _, rest in roles.values())


def split_pairs(roles: Roles) -> list[tuple[list[str], list[str]]]:
    """Return the pairs of train and test folders that may be meant: each family of names, and then all folders."""
    every: dict[Role, list[str]] = defaultdict(list)
    for name, (role, _) in roles.items():
        every[role].append(name)
    return [pair for named in [*_families(roles), every] if all(pair := _train_and_test(named))]


def _train_and_test(named: Mapping[Role, list[str]]) -> tuple[list[str], list[str]]:
    train, val, test = (named.get(role, []) for role in WORDS)
    return (train, test or val) if train else (val, test)


def _families(roles: Roles) -> list[dict[Role, list[str]]]:
    """Group the folders whose names differ by the role alone; a family has a train folder and another one."""
    families: dict[str, dict[Role, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name, (role, rest) in roles.items():
        families[rest][role].append(name)
    return [family for _, family in sorted(families.items()) if set(family) > {"train"}]
