"""The collections of the studies, each made once in the cache, the same bytes each time, and the labels that it is scored by.

docs/results/piles.md has a table of them, with their licenses, sizes, images and classes.
"""

from .first import clip_art, emoji, fashion, made, mixture, write_some
from .games import blocks, cards, hedgehogs, penguins, planets, space, terrain, textures, tiles, units
from .heap import HEAP, heap_of
from .others import digits, flags, renderer, scratch, sky, solids, stamps, symbols
from .pile import ClassOf, Labels, Pile, labeled, leaf, second, top, two, within
from .themes import emoji_of, icons

__all__ = [
    "HEAP", "HELD_OUT", "PILES", "ClassOf", "Labels", "Pile", "labeled", "leaf", "top", "within", "write_some"
]  # fmt: skip

SCORED = 250  # a source of fewer images in the heap is not scored by its labels

SINGLE = {  # the first labels of each are those that it has in the heap
    "openclipart": Pile(clip_art, {"top": top, "leaf": leaf}),
    "emoji": Pile(emoji, {"category": top}),
    "fashion": Pile(fashion, {"kind": top}),
    "units": Pile(units, {"race": top}),
    "terrain": Pile(terrain, {"kind": top}),
    "icons": Pile(icons, {"context": second, "theme": top}),
    "google": Pile(emoji_of("google"), {"category": top, "subcategory": two}),
    "space": Pile(space, {"kind": top}),
    "planets": Pile(planets, {"kind": two}),
    "sky": Pile(sky, {"culture": top}),
    "digits": Pile(digits, {"digit": top}),
    "hedgehogs": Pile(hedgehogs, {"kind": two}),
    "solids": Pile(solids, {"renderer": renderer}),
    "penguins": Pile(penguins, {"kind": two}),
    "blocks": Pile(blocks, {"module": top}),
    "symbols": Pile(symbols, {"sheet": top}),
    "cards": Pile(cards, {"kind": two}),
    "flags": Pile(flags, {}),
}
HELD_OUT = {  # for the final check: no image of these is in the heap
    "tiles": Pile(tiles, {"kind": top, "part": two}),
    "textures": Pile(textures, {"folder": top}),
    "stamps": Pile(stamps, {"subject": top, "part": two}),
    "scratch": Pile(scratch, {"kind": two, "leaf": leaf}),
}


def heap_pile() -> Pile:
    labels = {name: within(name, next(iter(SINGLE[name].labels.values()))) for name, n in HEAP.items() if n >= SCORED}
    return Pile(heap_of({name: SINGLE[name].make for name in HEAP}, HEAP), labels, apart=True)


PILES = {
    **SINGLE,
    "mixture": Pile(mixture, {name: within(name) for name in ("openclipart", "emoji", "fashion")}, apart=True),
    "made": Pile(made, {"kind": top}),
    "heap": heap_pile(),
    **HELD_OUT,
}
