"""divcon demo"""

from .screen import answer
from .words import Json, Words, options


def demo(words: Words = None, json: Json = False) -> None:
    """Run the whole of it on a real collection, in minutes: Open Clip Art, or a made one where that can't be had."""
    pairs = options(words)
    from ..verbs.demo import demo as do
    from ..verbs.demo import told

    account = do(**pairs)
    answer(account, json, told(account))
