"""Look at a folder of images through a trained encoder, and say which of them are most alike (for some thousand images), or
which are most like one more picture.

python examples/embed_folder.py RUN FOLDER
python examples/embed_folder.py RUN FOLDER PICTURE
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

import divcon
from divcon.errors import Error
from divcon.files.text import printable


def embeddings(model: str, folder: str) -> tuple[list[str], np.ndarray]:
    """The paths of the images below a folder, copies aside, and for each a vector of length one."""
    with tempfile.TemporaryDirectory() as work:
        table = Path(work) / "embeddings.parquet"
        divcon.embed(model, folder, out=table)
        read = pq.read_table(table)
    _, firsts = np.unique(read["picture"].to_numpy(), return_index=True)
    read = read.take(firsts)
    vectors = np.stack(read["embedding"].to_numpy())
    paths = [printable(path) for path in read["path_bytes"].to_pylist()]  # safe for a terminal; programs take `path`
    return paths, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embedding(model: str, picture: str) -> np.ndarray:
    """The vector of one picture: shown to the encoder in the way that `embed` shows a folder's."""
    encoder = divcon.load(model)
    with torch.no_grad():
        vector = encoder(encoder.preprocess(picture)[None])[0].numpy()
    return vector / np.linalg.norm(vector)


def most_alike(model: str, folder: str) -> None:
    paths, vectors = embeddings(model, folder)
    one, other = np.triu_indices(len(paths), 1)
    cosine = (vectors @ vectors.T)[one, other]
    for pair in np.argsort(-cosine, kind="stable")[:20]:
        sys.stdout.write(f"{cosine[pair]:.3f}  {paths[one[pair]]}  {paths[other[pair]]}\n")


def most_like(model: str, folder: str, picture: str) -> None:
    paths, vectors = embeddings(model, folder)
    cosine = vectors @ embedding(model, picture)
    for at in np.argsort(-cosine, kind="stable")[:20]:
        sys.stdout.write(f"{cosine[at]:.3f}  {paths[at]}\n")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    try:
        (most_alike if len(sys.argv) == 3 else most_like)(*sys.argv[1:])
    except Error as error:  # what the user can mend: it says how
        sys.exit(str(error))
