"""Train on images without labels, by Divide and Contrast and by MoCLR alone at the same budget; score both on labeled ones.

python examples/train_and_score.py FOLDER LABELED RUNS [epochs=60 encoder=slim10 ...]

Typed again, it goes on where it was stopped. What is trained on and what is scored on should be different images. Options
are those that both recipes know.
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
        linear = scores["linear"]["top1"]  # None where the images are too few
        said = f", linear {linear:.1%}" if linear is not None else ""
        sys.stdout.write(f"{recipe}: 20-NN {scores['knn']['k20']:.1%}{said}\n")
    encoder = divcon.load(ran.folder)
    weights = sum(tensor.numel() for tensor in encoder.parameters())
    sys.stdout.write(f"an encoder has {weights:,} weights and gives {encoder.num_features} features\n")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except Error as error:  # what the user can mend: it says how
        sys.exit(str(error))
