"""Imports point down: design.md section 3, as rows. A module may import what is below its own row, and its own folder."""

import ast
from pathlib import Path

import divcon

ROOT = Path(divcon.__file__).parent
ROWS = [
    {"cli"}, {"verbs"}, {"recipes"}, {"dnc", "rivals"}, {"stages"}, {"evals"}, {"methods", "fit"}, {"method", "clustering"},
    {"nets", "losses", "data"}, {"runs"}, {"artifacts", "config", "locks", "signals", "machine"}, {"dist", "rng", "log", "errors"},
]  # fmt: skip
