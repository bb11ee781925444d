"""divcon demo"""

from .arguments import Json, Words, typed_options
from .terminal import print_answer


def demo(words: Words = None, json: Json = False) -> None:
    """Run the whole of it on a real collection, in minutes: Open Clip Art, or a made one where that can't be had."""
    pairs = typed_options(words)
    from ..api.demo import demo as do
    from ..api.demo import told

    account = do(**pairs)
    print_answer(account, json, told(account))
