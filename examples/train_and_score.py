"""Train by Divide and Contrast, and by MoCLR alone with the same budget, on images without labels; score both on labeled ones.

python examples/train_and_score.py FOLDER LABELED RUNS [epochs=60 encoder=slim10 ...]

Type the same command again to go on after an interruption. FOLDER and LABELED should contain different images. The options
are those that both recipes have.
"""

import sys
from pathlib import Path

import divcon
from divcon.config import parse_options
from divcon.errors import Error


def main(folder: str, labeled: str, runs: str, *words: str) -> None:
    for recipe in ("dnc", "moclr"):
        ran = divcon.run(folder, out=Path(runs) / recipe, recipe=recipe, **parse_options(words))
        scores = divcon.evaluate(ran.model, labeled)
        linear = scores.linear.top1  # None if there are too few images
        linear_text = f", linear {linear:.1%}" if linear is not None else ""
        sys.stdout.write(f"{recipe}: 20-NN {scores.knn.k20:.1%}{linear_text}\n")
    encoder = divcon.load(ran.folder)
    weights = sum(tensor.numel() for tensor in encoder.parameters())
    sys.stdout.write(f"an encoder has {weights:,} weights and gives {encoder.num_features} features\n")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except Error as error:  # the message says what the user can do
        sys.exit(str(error))
