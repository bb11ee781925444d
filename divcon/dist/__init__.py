"""Ranks: processes that train together. What is here changes nothing for a process alone."""

from .collectives import (
    all_gather,
    all_max,
    all_mean,
    all_sum,
    any_rank,
    draw_rows,
    gather_rows,
    mean_of,
    rank,
    world_size,
)
from .group import alone, current
from .join import joined
from .leader import first_on_host, is_leader, on_leader, on_leader_only
from .parts import Part, split

__all__ = [
    "Part",
    "all_gather",
    "all_max",
    "all_mean",
    "all_sum",
    "alone",
    "any_rank",
    "current",
    "draw_rows",
    "first_on_host",
    "gather_rows",
    "is_leader",
    "joined",
    "mean_of",
    "on_leader",
    "on_leader_only",
    "rank",
    "split",
    "world_size",
]
