"""Look at a folder of images through a trained encoder, and say which of them are most alike (for some thousand images).

python examples/embed_folder.py RUN FOLDER
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

import divcon
from divcon.artifacts import show
from divcon.errors import Error


def embeddings(model: str, folder: str) -> tuple[list[str], np.ndarray]:
    """The paths of the images below a folder, copies aside, and for each a vector of length one."""
    with tempfile.TemporaryDirectory() as work:
        table = Path(work) / "embeddings.parquet"
        divcon.embed(model, folder, out=table)
        read = pq.read_table(table)
    _, firsts = np.unique(read["picture"].to_numpy(), return_index=True)
    read = read.take(firsts)
    vectors = np.stack(read["embedding"].to_numpy())
    paths = [show(path) for path in read["path_bytes"].to_pylist()]  # safe for a terminal; programs take `path`
    return paths, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main(model: str, folder: str) -> None:
    paths, vectors = embeddings(model, folder)
    one, other = np.triu_indices(len(paths), 1)
    cosine = (vectors @ vectors.T)[one, other]
    for pair in np.argsort(-cosine, kind="stable")[:20]:
        sys.stdout.write(f"{cosine[pair]:.3f}  {paths[one[pair]]}  {paths[other[pair]]}\n")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except Error as error:  # what the user can mend: it says how
        sys.exit(str(error))
