"""List the most similar pairs of images in a folder (for some thousand images), or the images most similar to another
picture, by the features of a trained encoder.

python examples/embed_folder.py RUN FOLDER
python examples/embed_folder.py RUN FOLDER PICTURE
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

import divcon
from divcon.errors import Error
from divcon.files.text import printable


def embeddings(model: str, folder: str) -> tuple[list[str], np.ndarray]:
    """The paths of the images below a folder without copies, and for each image a vector of length one: [n, d]."""
    with tempfile.TemporaryDirectory() as work:
        table = Path(work) / "embeddings.parquet"
        divcon.embed(model, folder, out=table)
        rows = pq.read_table(table)
    _, first_rows = np.unique(rows["picture"].to_numpy(), return_index=True)
    rows = rows.take(first_rows)
    vectors = np.stack(rows["embedding"].to_numpy())
    paths = [printable(path) for path in rows["path_bytes"].to_pylist()]  # safe for a terminal; programs read `path`
    return paths, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embedding(model: str, picture: str) -> np.ndarray:
    """The vector of one picture, [d], of length one; the picture is prepared as `embed` prepares those of a folder."""
    vector = divcon.load(model).embed(picture)[0].numpy()
    return vector / np.linalg.norm(vector)


def print_most_similar_pairs(model: str, folder: str) -> None:
    """Print the 20 pairs of images with the largest cosine."""
    paths, vectors = embeddings(model, folder)
    one, other = np.triu_indices(len(paths), 1)
    cosine = (vectors @ vectors.T)[one, other]
    for pair in np.argsort(-cosine, kind="stable")[:20]:
        sys.stdout.write(f"{cosine[pair]:.3f}  {paths[one[pair]]}  {paths[other[pair]]}\n")


def print_most_similar_to(model: str, folder: str, picture: str) -> None:
    """Print the 20 images with the largest cosine to the picture."""
    paths, vectors = embeddings(model, folder)
    cosine = vectors @ embedding(model, picture)
    for i in np.argsort(-cosine, kind="stable")[:20]:
        sys.stdout.write(f"{cosine[i]:.3f}  {paths[i]}\n")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    try:
        (print_most_similar_pairs if len(sys.argv) == 3 else print_most_similar_to)(*sys.argv[1:])
    except Error as error:  # the message says what the user can do
        sys.exit(str(error))
