"""Properties that hold for any input, checked by hypothesis: index, sampler, random numbers, options, k-means."""

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from divcon.clustering.kmeans import assign, kmeans
from divcon.config import differences, parse_options, parse_value, to_json_value, validate_fields, with_options
from divcon.data.index.index import Index
from divcon.data.index.near_duplicates import THUMBNAIL_BYTES, find_near_duplicates
from divcon.data.index.scan import path_filter
from divcon.data.index.table import Found
from divcon.data.sampler import Sampler, shuffled
from divcon.errors import DataError, Error, UsageError
from divcon.files.text import printable
from divcon.recipes import Options
from divcon.rng import seed_for, uniforms

BOUNDED = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
SEEDS = st.integers(0, 2**63 - 1)

PATHS = st.binary(min_size=1, max_size=30).filter(lambda path: b"\0" not in path)
HASHES = st.integers(0, 5).map(lambda i: bytes([i]) * 32)
THUMBNAILS = st.integers(0, 2).map(lambda i: bytes([100 * i]) * THUMBNAIL_BYTES)
GOOD = st.builds(
    lambda path, digest, thumbnail: Found(path, 9, 9, 10, digest, thumbnail=thumbnail), PATHS, HASHES, THUMBNAILS
)
BAD = st.builds(lambda path, why: Found(path, reason=why), PATHS, st.sampled_from(["corrupt", "truncated"]))
FILES = st.lists(GOOD | BAD, max_size=20, unique_by=lambda file: file.path)


def consistent(files: list[Found]) -> list[Found]:
    """Give files of one hash one thumbnail: they have one content."""
    seen: dict[bytes | None, bytes] = {}
    return [
        file._replace(thumbnail=seen.setdefault(file.hash, file.thumbnail)) if file.hash else file for file in files
    ]


@BOUNDED
@given(FILES.map(consistent), st.sampled_from(["keep", "drop"]), st.randoms())
def test_every_file_is_in_the_index_once_in_whatever_order_they_come(
    files: list[Found], near: Any, random: Any
) -> None:
    index = Index.of(files, near)
    assert sorted(index.table["path_bytes"].to_pylist()) == sorted(file.path for file in files)
    assert index.found == index.used + index.duplicates + index.rejected == len(files)
    assert sum(index.reasons.values()) == index.rejected == sum(bool(file.reason) for file in files)
    hashes = [bytes(row) for row in index.hashes]
    assert hashes == sorted(set(hashes)) and len(hashes) == index.used
    likes = index.table["duplicate_of"].to_pylist()[: index.used + index.duplicates]
    assert all(like in hashes for like in likes if like is not None)
    random.shuffle(files)
    assert Index.of(files, near).table.equals(index.table)


@BOUNDED
@given(FILES.map(consistent), st.sampled_from(["keep", "drop"]), st.integers(1, 25))
def test_an_index_comes_back_from_disk_and_a_limit_keeps_the_sum(files: list[Found], near: Any, limit: int) -> None:
    index = Index.of(files, near)
    with tempfile.TemporaryDirectory() as folder:
        index.limited(limit).save(Path(folder))
        again = Index.load(Path(folder))
        assert again.table.equals(index.limited(limit).table)
        assert again.found == again.used + again.duplicates + again.rejected and again.used == min(limit, index.used)
        for name in ("rejected.csv", "duplicates.csv"):
            lines = (Path(folder) / name).read_text().split("\n")[1:-1]
            assert all(line.isprintable() and line[0] not in "=+@-" for line in lines)


@BOUNDED
@given(st.integers(1, 3000), SEEDS)
def test_each_pass_shows_every_image_once(n: int, key: int) -> None:
    assert np.array_equal(np.sort(shuffled(np.arange(n), n, key)), np.arange(n))


@BOUNDED
@given(st.integers(1, 200), st.integers(1, 64), st.integers(0, 2**40), st.integers(0, 10**6))
def test_any_batches_are_a_part_of_one_endless_order(n: int, batch: int, seed: int, step: int) -> None:
    order = Sampler(n, batch, seed)
    positions, epochs = (np.concatenate(parts) for parts in zip(order.batch(step), order.batch(step + 1)))
    slots = np.arange(2 * batch) + step * batch
    assert np.array_equal(epochs, slots // n) and positions.min() >= 0 and positions.max() < n
    for epoch in np.unique(epochs):
        assert len(set(positions[epochs == epoch].tolist())) == (epochs == epoch).sum()


@BOUNDED
@given(st.lists(st.integers(0, 2**40), min_size=1, max_size=30), st.integers(1, 9), st.integers(0, 29), SEEDS)
def test_a_random_number_is_that_of_its_purpose_and_index_alone(index: list[int], n: int, cut: int, seed: int) -> None:
    whole = uniforms((seed, "a"), np.array(index), n)
    parts = [uniforms((seed, "a"), np.array(part, np.int64), n) for part in (index[:cut], index[cut:])]
    assert np.array_equal(np.concatenate(parts), whole)
    assert whole.shape == (len(index), n) and whole.min() >= 0 and whole.max() < 1
    assert not np.array_equal(uniforms((seed, "b"), np.array(index), n), whole)


@BOUNDED
@given(
    st.lists(st.integers(0, 2**63) | st.text(max_size=5), max_size=4),
    st.lists(st.integers() | st.text(max_size=5), max_size=4),
)
def test_different_purposes_have_different_seeds(a: list[int | str], b: list[int | str]) -> None:
    assert 0 <= seed_for(*a) < 2**63
    assert (seed_for(*a) == seed_for(*b)) == ([(type(x), x) for x in a] == [(type(x), x) for x in b]) or "\x1f" in str(
        [a, b]
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3), max_leaves=6,
)  # fmt: skip
NAMES = st.sampled_from([*Options.__dataclass_fields__, "evil", "base.lr", ""])


@settings(BOUNDED, max_examples=200)
@given(st.dictionaries(NAMES, JSON, max_size=4))
def test_any_options_are_taken_or_refused_in_words(fields: dict[str, Any]) -> None:
    with contextlib.suppress(UsageError):
        options = validate_fields(Options, fields)
        assert (
            validate_fields(Options, {**to_json_value(options), "include": options.include, "exclude": options.exclude})
            == options
        )


@settings(BOUNDED, max_examples=200)
@given(st.lists(st.text(max_size=20), max_size=4))
def test_any_words_are_options_or_refused_in_words(words: list[str]) -> None:
    with contextlib.suppress(UsageError):
        pairs = parse_options(words)
        assert len(pairs) == len(words) and all(f"{key}=" in word for key, word in zip(pairs, words))


@BOUNDED
@given(JSON)
def test_a_value_in_json_is_read_as_it_is(value: Any) -> None:
    text = json.dumps(value)
    if text not in ("NaN", "Infinity", "-Infinity") and "NaN" not in text:
        assert parse_value(text) == value


@BOUNDED
@given(st.lists(st.sampled_from(["base", "lr", "evil", "", "options", "x"]), min_size=1, max_size=4), JSON)
def test_any_dotted_change_is_made_or_refused_in_words(steps: list[str], value: Any) -> None:
    from divcon.stages.cluster import Divide

    with contextlib.suppress(UsageError):
        after = with_options(Divide(), {".".join(steps): value})
        assert len(differences(to_json_value(Divide()), to_json_value(after))) <= 1


ROWS = arrays(
    np.float32, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24), elements=st.integers(-3, 3).map(float)
)


@BOUNDED
@given(ROWS, st.integers(1, 8), st.integers(0, 3), st.booleans())
def test_any_rows_are_divided_so_that_none_is_nearer_to_another_or_refused_in_words(
    rows: np.ndarray, k: int, seed: int, spherical: bool
) -> None:
    x = torch.from_numpy(rows)
    try:
        found = kmeans(x, k, seed=seed, rounds=5, restarts=2, spherical=spherical)
    except DataError as error:
        zero = spherical and bool((x.norm(dim=1) == 0).any())
        assert zero or len(np.unique(rows, axis=0)) < k or "distinct images" in str(error)
        return
    assert found.sizes.sum() == len(x) and (found.sizes > 0).all()
    labels, distances = assign(x, found.centroids, spherical)
    assert torch.equal(labels, found.labels) and torch.isfinite(distances).all()


@BOUNDED
@given(arrays(np.uint8, st.tuples(st.integers(0, 30), st.just(THUMBNAIL_BYTES)), elements=st.integers(99, 104)))
def test_a_twin_comes_before_and_has_none_itself(sums: np.ndarray) -> None:
    of = find_near_duplicates(sums, np.ones(len(sums)))
    for i, first in enumerate(of.tolist()):
        assert first < i and (first < 0 or of[first] < 0)


@BOUNDED
@given(st.binary(max_size=40) | st.text(max_size=40))
def test_anything_can_be_shown(name: bytes | str) -> None:
    shown = printable(name)
    assert shown == "" or shown.isprintable()
    shown.encode()


@BOUNDED
@given(PATHS, st.lists(st.text("*?[]!ab/-\\", max_size=6), max_size=3))
def test_any_pattern_says_yes_or_no(path: bytes, patterns: list[str]) -> None:
    with contextlib.suppress(Error):
        assert path_filter(patterns, ())(path) in (True, False)
    assert path_filter((), ())(path)
