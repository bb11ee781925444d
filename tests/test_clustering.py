import importlib
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import faiss
import numpy as np
import pytest
import slow
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans as PeerKMeans
from sklearn.datasets import load_digits
from torch import Tensor

from divcon.clustering import device_neighbors, kernels, neighbors, sum_tables
from divcon.clustering import kmeans as kmeans_module
from divcon.clustering.clusters import Clusters, Sample
from divcon.clustering.device_rows import DeviceRows
from divcon.clustering.kmeans import KMeans, _fit, _seeds, assign, kmeans
from divcon.clustering.neighbors import nearest
from divcon.clustering.rows import SCALE, Rows
from divcon.data.views.kernel.compiling import sources_digest
from divcon.errors import DataError
from divcon.machine import Precision


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: small products are slower on several. A test may change the number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def heaps(n: int, d: int, k: int, spread: float = 1.0, seed: int = 0) -> Tensor:
    """Return rows around k random points; with a small spread the groups are well separated."""
    which = torch.randint(k, (n,), generator=torch.Generator().manual_seed(seed + 1))
    return 3 * normal(k, d, seed=seed)[which] + spread * normal(n, d, seed=seed + 2)


def digits() -> Tensor:
    return torch.tensor(load_digits().data).float()


def bits(fit: KMeans) -> tuple[bytes, ...]:
    return tuple(part.numpy().tobytes() for part in (fit.centroids, fit.labels, fit.distances))


def same_division(a: Tensor, b: Tensor) -> bool:
    """True if two labelings differ only in the numbers of the clusters."""
    return len(set(zip(a.tolist(), b.tolist()))) == len(set(a.tolist())) == len(set(b.tolist()))


# k-means


@pytest.mark.parametrize("spherical", [True, False])
def test_each_row_is_labeled_by_its_nearest_centroid(spherical: bool) -> None:
    x = heaps(200, 7, 4)
    fit = kmeans(x, 4, seed=0, spherical=spherical)
    labels, distances = slow.nearest_centroids(x.double().numpy(), fit.centroids.double().numpy(), spherical)
    assert fit.labels.tolist() == labels
    assert np.allclose(fit.distances, distances, rtol=1e-4, atol=1e-6)
    assert fit.inertia == pytest.approx(sum(distances), rel=1e-5)


@pytest.mark.parametrize("spherical", [True, False])
def test_each_centroid_is_the_mean_of_all_its_rows_though_seeded_on_few(spherical: bool) -> None:
    x = heaps(1500, 5, 3, spread=2)
    fit = kmeans(x, 3, seed=0, spherical=spherical, rounds=200, sample=32)  # seeds come from 96 rows
    means = slow.mean_rows(x.double().numpy(), fit.labels.tolist(), 3, spherical)
    assert np.allclose(fit.centroids, means, atol=1e-6)


def test_faiss_from_the_same_seeds_has_the_same_inertia() -> None:
    x = F.normalize(digits())
    rows = Rows(x, True)
    seeds = _seeds(rows, 10, (0, 0))
    ours = _fit(rows, seeds, 50, True)
    peer = faiss.Kmeans(64, 10, niter=50, spherical=True, max_points_per_centroid=10**7)
    peer.train(x.numpy(), init_centroids=seeds.numpy())
    theirs = float(assign(x, torch.from_numpy(peer.centroids))[1].double().sum())
    assert ours.inertia == pytest.approx(theirs, rel=1e-3)


def test_faiss_divides_separated_heaps_the_same_way() -> None:
    x = heaps(2000, 16, 6, spread=0.3)
    peer = faiss.Kmeans(16, 6, niter=20, nredo=3, spherical=True, max_points_per_centroid=10**7, seed=5)
    peer.train(F.normalize(x).numpy())
    theirs = assign(x, torch.from_numpy(peer.centroids))[0]
    assert same_division(kmeans(x, 6, seed=0).labels, theirs)


def test_scikit_learn_from_the_same_seeds_finds_the_same_euclidean_clusters() -> None:
    x = digits()
    rows = Rows(x, False)
    seeds = _seeds(rows, 10, (3, 0))
    ours = _fit(rows, seeds, 100, False)
    peer = PeerKMeans(10, init=seeds.double().numpy(), n_init=1, tol=0, max_iter=100).fit(x.double().numpy())
    assert ours.labels.tolist() == peer.labels_.tolist()
    assert ours.inertia == pytest.approx(peer.inertia_, rel=1e-6)


def test_lengths_of_rows_matter_to_euclid_and_not_to_cosine() -> None:
    directions = heaps(600, 6, 3, spread=0.3)
    x = directions * (0.1 + 20 * torch.rand(600, 1, generator=torch.Generator().manual_seed(9)))
    assert same_division(kmeans(x, 3, seed=0).labels, kmeans(directions, 3, seed=0).labels)
    assert not same_division(kmeans(x, 3, seed=0, spherical=False).labels, kmeans(x, 3, seed=0).labels)


@pytest.mark.parametrize("spherical", [True, False])
def test_the_number_of_threads_changes_no_bit(spherical: bool) -> None:
    x = torch.cat([heaps(3000, 96, 12, spread=4), normal(300, 96).repeat(2, 1), digits()[:, :48].repeat(1, 2)])
    found = set()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.add(bits(kmeans(x, 12, seed=1, rounds=4, restarts=1, spherical=spherical)))
    assert len(found) == 1


@pytest.mark.parametrize("more", [0, 1, 9])
def test_threads_that_take_few_tables_of_sums_in_turn_have_the_sums_of_the_loop(
    more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, centroids, made = normal(3000, 9), normal(40, 9, seed=1), list[int]()
    monkeypatch.setattr(sum_tables, "MORE_BYTES", more * 8 * 40 * 9)
    zeros = np.zeros_like
    monkeypatch.setattr(np, "zeros_like", lambda table: made.append(1) or zeros(table))
    torch.set_num_threads(4)
    rows, labels, total = Rows(x, False), torch.full((3000,), -1), torch.zeros(40, 9, dtype=torch.int64)
    monkeypatch.setattr(rows, "_block_size", lambda k: 64)
    rows.relabel(centroids, labels, total)
    expected = slow.fixed_point_sums(x.double().numpy() / rows.unit, labels.tolist(), 40, SCALE)[0]
    assert total.tolist() == expected and len(made) <= min(more, 3)


@pytest.mark.parametrize("spherical", [True, False])
def test_thousands_of_clusters_are_those_of_the_loop(spherical: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Centroids are worked on in several parts, and the last part is of one."""
    monkeypatch.setattr(kmeans_module, "AT_ONCE", 999)
    x = heaps(4000, 5, 40)
    fit = kmeans(x, 1999, seed=0, rounds=60, restarts=1, spherical=spherical)
    rows, means = x.double().numpy(), slow.mean_rows(x.double().numpy(), fit.labels.tolist(), 1999, spherical)
    assert fit.rounds < 60 and np.allclose(fit.centroids, means, atol=1e-6)
    labels, _ = slow.nearest_centroids(rows[::400], fit.centroids.double().numpy(), spherical)
    assert fit.labels[::400].tolist() == labels


@pytest.mark.parametrize("spherical", [True, False])
@pytest.mark.parametrize("kind", ["noise", "heaps", "cone", "digits", "outlier", "tiny", "far"])
def test_the_precision_of_products_changes_no_bit(kind: str, spherical: bool) -> None:
    x = {
        "noise": normal(3000, 64),
        "heaps": heaps(3000, 64, 12, spread=0.3),
        "cone": 30 + heaps(3000, 64, 12),  # all in nearly one direction
        "digits": digits(),
        "outlier": torch.cat([normal(3000, 64), 1e6 * normal(1, 64, seed=2)]),
        "tiny": (1e-11 if spherical else 1e-25) * normal(3000, 64),
        "far": normal(3000, 64) + 1e4,
    }[kind]
    seeds = Rows(x, spherical).take(np.arange(20))
    ways: list[tuple[Precision, int]] = [("fp32", 2**31), ("bf16", 2**31), ("bf16", 0)]  # the last keeps no copy
    fits = [
        _fit(Rows(x, spherical, precision, copy_bytes=copy_bytes), seeds, 4, spherical)
        for precision, copy_bytes in ways
    ]
    assert len({bits(fit) for fit in fits}) == 1
    quick = fits[1]
    rows, centroids = x[::100].double().numpy(), quick.centroids.double().numpy()
    nearest = slow.nearest_centroids(rows, centroids, spherical)[1]
    for row, label, least in zip(rows, quick.labels[::100].tolist(), nearest):
        (its,) = slow.nearest_centroids(row[None], centroids[label : label + 1], spherical)[1]
        lost = 2.0**-21 if spherical else 2.0**-21 * float((row**2).sum())  # when a row was rounded to float32
        assert its <= least + lost


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_of_centroids_that_low_precision_cannot_tell_apart_the_nearest_is_found(precision: Precision) -> None:
    x, step = F.normalize(normal(400, 48)), 1e-6 * normal(40, 48, seed=1)
    centroids = x[:1] + step  # all within a few roundings of float32, and less than one of bfloat16
    expected = slow.nearest_centroids(x.double().numpy(), centroids.double().numpy(), False)[0]
    assert assign(x, centroids, spherical=False, precision=precision)[0].tolist() == expected


@pytest.mark.parametrize("k", [1, 3, 16, 17])
def test_few_centroids_are_told_apart_as_many_are(k: int) -> None:
    x, centroids = normal(300, 70), normal(k, 70, seed=1)
    expected = slow.nearest_centroids(x.double().numpy(), centroids.double().numpy(), False)[0]
    assert assign(x, centroids, spherical=False)[0].tolist() == expected


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_a_mapped_file_is_divided_as_the_same_rows_in_memory(kind: type, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", heaps(3000, 24, 5).numpy().astype(kind))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    inside = torch.from_numpy(np.array(mapped))
    assert bits(kmeans(mapped, 5, seed=0)) == bits(kmeans(inside, 5, seed=0))
    fit = kmeans(mapped, 5, seed=0)
    assert torch.equal(assign(mapped, fit.centroids)[0], fit.labels)


def test_memory_for_a_mapped_file_is_a_few_numbers_a_row(tmp_path: Path) -> None:
    n, d = 120_000, 256
    file = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float16, (n, d))
    for start in range(0, n, 12_000):
        file[start : start + 12_000] = heaps(12_000, d, 7, seed=start).half().numpy()
    file.flush()
    command = [sys.executable, "-c", GROWTH, str(tmp_path / "x.npy")]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < 40 * n + 30e6 < 2 * n * d  # the file itself is 2 n d bytes; a float32 copy would be twice that


# Only anonymous memory counts: the pages of a mapped file can be dropped and read again.
GROWTH = """
import sys, threading, time, numpy as np, torch
from pathlib import Path
from divcon.clustering.device_rows import DeviceRows
from divcon.clustering.kmeans import kmeans
torch.set_num_threads(1)
options = dict(k=20, seed=0, restarts=1, copy_bytes=0)
def own():
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])
kmeans(np.load(sys.argv[1], mmap_mode="r")[:9000], rounds=1, **options)
before, sizes, done = own(), [], []
def watch():
    while not done:
        sizes.append(own())
        time.sleep(0.002)
thread = threading.Thread(target=watch)
thread.start()
kmeans(np.load(sys.argv[1], mmap_mode="r"), rounds=2, **options)
done.append(True)
thread.join()
print(max(sizes) - before)
"""


def test_memory_for_streamed_features_is_that_of_a_block_and_not_of_the_sample(tmp_path: Path) -> None:
    n, d, block = 400_000, 256, 4000
    command = [sys.executable, "-c", STREAMING, str(tmp_path / "sample.npy"), str(n), str(d), str(block)]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown < n * d // 2  # the file has 2 n d bytes, a block 4 MB; what an allocator keeps is less than the rest
    rows = np.load(tmp_path / "sample.npy", mmap_mode="r")
    assert rows.shape == (n, d) and rows.dtype == np.float16
    assert np.array_equal(rows[:, 0], (np.arange(n) % 1000).astype(np.float16))


STREAMING = """
import sys, numpy as np, torch
from pathlib import Path
from divcon.train import streamed_rows
file, n, d, block = Path(sys.argv[1]), *map(int, sys.argv[2:])
streamed_rows.BLOCK, streamed_rows.PART, most = block, 4 * block, 0
def own():
    return 1024 * int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])
def features_at(positions):
    global most
    features = torch.from_numpy(positions % 1000)[:, None].half().expand(-1, d).contiguous().numpy()
    most = max(most, own())
    return features
streamed_rows.stream_rows(file, np.arange(2 * block), features_at, "some")
before, most = own(), 0
streamed_rows.stream_rows(file, np.arange(n), features_at, "all")
print(max(most, own()) - before)
"""


def test_the_same_seed_finds_the_same_and_another_need_not() -> None:
    x = normal(500, 8)
    fits = [bits(kmeans(x, 6, seed=seed, restarts=1, rounds=3)) for seed in (0, 0, 1)]
    assert fits[0] == fits[1] != fits[2]


def sums(rows: Rows, centroids: Tensor, k: int) -> list[list[int]]:
    total, labels = torch.zeros(k, centroids.shape[1], dtype=torch.int64), torch.full((len(rows),), -1)
    rows.relabel(centroids, labels, total)
    return list(total.tolist())


def test_sums_are_those_of_the_loop_in_any_order_and_parts_of_rows() -> None:
    x, centroids = F.normalize(normal(300, 37)), F.normalize(normal(4, 37, seed=3))
    one = sums(Rows(x, False), centroids, 4)
    labels = assign(x, centroids)[0].tolist()
    unit = Rows(x, False).unit
    assert one == slow.fixed_point_sums(x.double().numpy() / unit, labels, 4, SCALE)[0]
    order = torch.randperm(300)
    parts = [sums(Rows(x[part], False), centroids, 4) for part in torch.split(order, 77)]
    assert one == np.sum(parts, 0).tolist()


def test_sums_of_rows_that_moved_are_those_of_rows_counted_anew() -> None:
    rows, labels = Rows(normal(500, 20), True), torch.full((500,), -1)
    total = torch.zeros(6, 20, dtype=torch.int64)
    for seed in range(5):
        centroids = F.normalize(normal(6, 20, seed=seed))
        rows.relabel(centroids, labels, total)
    assert total.tolist() == sums(rows, centroids, 6)


def test_a_row_between_two_centroids_takes_the_first_at_any_place_in_the_batch() -> None:
    x = torch.tensor([[0.0, 1.0, 0.0]]).repeat(5000, 1)
    centroids = F.normalize(torch.tensor([[0.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]))
    assert set(assign(x, centroids)[0].tolist()) == {1}
    assert set(assign(x, centroids, spherical=False)[0].tolist()) == {1}


def test_rows_far_from_the_origin_are_told_apart_as_well() -> None:
    x = heaps(300, 4, 3) + 1e4
    centroids = heaps(5, 4, 3, seed=7) + 1e4
    expected = slow.nearest_centroids(x.double().numpy(), centroids.double().numpy(), False)[0]
    assert assign(x, centroids, spherical=False)[0].tolist() == expected


def test_more_restarts_are_never_worse() -> None:
    x = heaps(400, 4, 8)
    inertia = [kmeans(x, 8, seed=0, restarts=restarts).inertia for restarts in (1, 2, 4)]
    assert inertia == sorted(inertia, reverse=True)


def test_the_rounds_end_when_no_label_changes() -> None:
    x = heaps(300, 4, 2, spread=0.1)
    assert kmeans(x, 2, seed=0, rounds=30).rounds <= 3
    assert kmeans(normal(2000, 16), 12, seed=0, rounds=2).rounds == 2


@pytest.mark.parametrize("distinct, k", [(1, 2), (2, 5), (7, 8)])
@pytest.mark.parametrize("spherical", [True, False])
def test_more_clusters_than_distinct_rows_are_refused(distinct: int, k: int, spherical: bool) -> None:
    x = normal(distinct, 6).repeat(40, 1)
    with pytest.raises(
        DataError, match=f"asked for {k} clusters, .* {distinct} distinct .*; type clusters.k={distinct}"
    ):
        kmeans(x, k, seed=0, spherical=spherical)
    fit = kmeans(x, distinct, seed=0, spherical=spherical)
    assert (fit.sizes == 40).all() and fit.inertia < 1e-4


def test_as_many_clusters_as_rows_leave_each_alone() -> None:
    assert (kmeans(normal(30, 5), 30, seed=0).sizes == 1).all()


@pytest.mark.parametrize("sample", [8192, 4])
def test_when_nearly_all_rows_are_the_same_no_cluster_is_empty_and_a_warning_is_logged(
    sample: int, caplog: pytest.LogCaptureFixture
) -> None:
    x = torch.cat([normal(1, 8).repeat(1900, 1), normal(100, 8, seed=4)])
    with caplog.at_level(logging.WARNING, "divcon"):
        fit = kmeans(x, 10, seed=0, sample=sample)
    assert (fit.sizes > 0).all() and int(fit.sizes.sum()) == 2000
    assert "one cluster of 10 holds 9" in caplog.text


@pytest.mark.parametrize("spherical", [True, False])
def test_an_empty_cluster_is_filled_and_copies_do_not_fill_two(spherical: bool) -> None:
    x = F.normalize(heaps(200, 6, 3, spread=0.2))
    x = torch.cat([x, -x[:1], -x[:1], -x[:1]])  # the furthest row, three times
    fit = _fit(Rows(x, spherical), x[:1].repeat(5, 1), 30, spherical)
    assert (fit.sizes > 0).all()


def test_rows_that_cancel_out_leave_a_centroid_where_it_was() -> None:
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).repeat(3, 1)
    fit = kmeans(x, 1, seed=0)
    assert fit.centroids.norm() == 1 and fit.distances.isfinite().all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_row_that_is_not_finite_is_named(value: float) -> None:
    x = normal(50, 4)
    x[[17, 30], 2] = value
    with pytest.raises(DataError, match=r"image 17 .*2 such"):
        kmeans(x, 3, seed=0)
    with pytest.raises(DataError, match="image 17 "):
        assign(x, normal(2, 4))


def test_rows_without_a_direction_and_no_rows_are_refused() -> None:
    with pytest.raises(DataError, match="image 2 are all zero"):
        kmeans(torch.tensor([[1.0, 0], [0, 1], [0, 0]]), 2, seed=0)
    with pytest.raises(DataError, match="no images"):
        kmeans(torch.empty(0, 4), 1, seed=0)


@pytest.mark.parametrize("spherical", [True, False])
@pytest.mark.parametrize("k", [5, 40])
def test_rows_of_a_gpu_are_clustered_as_those_of_a_cpu(spherical: bool, k: int) -> None:
    """The engine for a GPU is plain torch, so it runs on a CPU too."""
    x = torch.cat([heaps(2000, 24, 6), normal(50, 24).repeat(2, 1)])
    one, other = Rows(x, spherical), DeviceRows(x, spherical)
    seeds = _seeds(one, k, (0, 0))
    assert torch.allclose(seeds, _seeds(other, k, (0, 0)), atol=1e-6)
    ours, theirs = (_fit(rows, seeds, 5, spherical) for rows in (one, other))
    assert torch.equal(ours.labels, theirs.labels) and ours.rounds == theirs.rounds
    assert torch.allclose(ours.centroids, theirs.centroids, atol=1e-6)
    assert torch.allclose(ours.distances, theirs.distances, rtol=1e-5, atol=1e-6)


def test_a_gpu_finds_the_nearest_of_centroids_that_rounding_cannot_tell_apart() -> None:
    x, step = F.normalize(normal(400, 48)), 1e-6 * normal(40, 48, seed=1)
    centroids, labels = x[:1] + step, torch.full((400,), -1)
    DeviceRows(x, False).relabel(centroids, labels)
    assert labels.tolist() == slow.nearest_centroids(x.double().numpy(), centroids.double().numpy(), False)[0]


# the cache of compiled code


def test_a_kernel_is_named_after_the_contents_of_all_kernel_files() -> None:
    """numba looks for a change in the file of the function alone."""
    digest = sources_digest(Path(kernels.__file__).parent)
    for file in ("centroids", "low_precision", "neighbors", "sums"):
        module = importlib.import_module(f"divcon.clustering.kernels.{file}")
        functions = [part for part in vars(module).values() if hasattr(part, "nopython_signatures")]
        assert functions and all(digest in function.py_func.__qualname__ for function in functions)


# clusters


def divided(sizes: list[int], d: int = 4) -> Clusters:
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int64)
    centroids = F.normalize(normal(len(sizes), d)).numpy()
    n = len(labels)
    return Clusters(
        centroids, labels, rng.random(n, dtype=np.float32), lambda positions: [b"%d.png" % i for i in positions]
    )


def test_members_are_every_position_once_and_in_order() -> None:
    clusters = divided([5, 0, 9, 1])
    members = clusters.members()
    assert [len(some) for some in members] == clusters.sizes.tolist() == [5, 0, 9, 1]
    assert sorted(np.concatenate(members)) == list(range(15))
    assert all((np.diff(some) > 0).all() and (clusters.labels[some] == c).all() for c, some in enumerate(members))


@pytest.mark.parametrize("minimum", [0, 2, 6, 10, 99])
def test_merging_loses_no_image_and_puts_the_largest_first(minimum: int) -> None:
    clusters = divided([5, 1, 9, 9, 3, 14])
    merged = clusters.merge_small(minimum)
    centroids = clusters.centroids.astype(np.float64)
    assert merged.sizes.tolist() == slow.merged_sizes(centroids, clusters.sizes.tolist(), minimum)
    assert merged.k == len(merged.centroids) and merged.sizes.sum() == 41


def test_an_image_of_a_kept_cluster_keeps_its_centroid() -> None:
    clusters = divided([2, 20, 30])
    merged = clusters.merge_small(10)
    kept = clusters.labels > 0
    assert np.array_equal(merged.centroids[merged.labels][kept], clusters.centroids[clusters.labels][kept])


def test_a_merge_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "divcon"):
        divided([2, 20, 30]).merge_small(10)
    assert "1 of 3 clusters had fewer than 10 images and were merged: 2 to cluster" in caplog.text


def test_clusters_come_back_from_disk_with_odd_names(tmp_path: Path) -> None:
    clusters = divided([3, 4])
    names = [b"a\nb.png", b"\xff\xfe.png", *clusters.names(np.arange(2, 7))]
    sample = Sample(np.array([1, 5]), normal(2, 4).half().numpy())
    saved = Clusters(
        clusters.centroids, clusters.labels, clusters.distances, lambda positions: [names[i] for i in positions], sample
    )
    saved.save(tmp_path)
    back = Clusters.load(tmp_path)
    assert (
        back.fingerprint == saved.fingerprint
        and back.names(np.arange(7)) == names
        and back.names(np.array([3, 1])) == [names[3], names[1]]
    )
    assert np.array_equal(back.distances, saved.distances) and back.labels.flags.writeable
    assert back.sample is not None and np.array_equal(back.sample.features, sample.features)
    assert np.array_equal(back.sample.positions, sample.positions)
    assert Clusters.load(tmp_path).merge_small(4).sizes.tolist() == [7]


def test_saving_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    files = []
    for name in "ab":
        divided([30, 4]).save(tmp_path / name)
        files.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert files[0] == files[1] and set(files[0]) == {"clusters.parquet", "centroids.npy"}


def test_a_renamed_file_leaves_the_fingerprint_and_a_moved_image_does_not() -> None:
    c = divided([3, 4])
    renamed = Clusters(c.centroids, c.labels, c.distances, lambda positions: [b"x"] * len(positions))
    moved = Clusters(c.centroids, 1 - c.labels, c.distances, c.names)
    shifted = Clusters(c.centroids + np.float32(1e-6), c.labels, c.distances, c.names)
    assert renamed.fingerprint == c.fingerprint
    assert len({c.fingerprint, moved.fingerprint, shifted.fingerprint}) == 3


# neighbors


@pytest.mark.parametrize("chunk", [1, 2, 1024])
def test_neighbors_are_those_of_the_loop_in_any_chunks(chunk: int) -> None:
    queries, bank = normal(20, 5), normal(70, 5, seed=1)
    similarity, index = nearest(queries, bank, 9, chunk)
    expected = [slow.nearest_rows(query, bank.double().numpy(), 9) for query in queries.double().numpy()]
    assert index.tolist() == expected
    assert similarity[3, 4] == pytest.approx(slow.cosine(queries[3].numpy(), bank[expected[3][4]].numpy()), abs=1e-6)


@pytest.mark.parametrize("chunk", [1, 1024])
def test_of_equal_neighbors_the_first_come_first(chunk: int) -> None:
    bank = torch.tensor([[0.0, 1], [1, 0], [0, 1], [-1, 0], [1, 0]]).repeat(8, 1)
    index = nearest(torch.tensor([[1.0, 0], [0.0, 1.0]]), bank, 19, chunk)[1]
    expected = [slow.nearest_rows(query, bank.double().numpy(), 19) for query in np.eye(2)]
    assert index.tolist() == expected
    assert nearest(torch.ones(1, 3), torch.ones(40, 3), 5, chunk)[1].tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("bank", [normal(700, 12, seed=1), normal(20, 12).repeat(35, 1)])
def test_neighbors_on_a_gpu_are_those_on_a_cpu(bank: Tensor) -> None:
    queries = normal(50, 12, seed=2)
    ours, theirs = nearest(queries, bank, 9, 4), device_neighbors.nearest(queries, bank, 9, 4)
    assert torch.equal(ours[1], theirs[1]) and torch.allclose(ours[0], theirs[0], atol=1e-6)


def test_all_rows_of_the_bank_can_be_asked_for() -> None:
    assert sorted(nearest(normal(1, 3), normal(12, 3), 12, 1)[1][0].tolist()) == list(range(12))


@pytest.mark.parametrize("kind", ["noise", "cone", "copies", "one row", "tiny"])
@pytest.mark.parametrize("k", [1, 7, 600])
def test_the_precision_of_the_search_changes_no_neighbor(kind: str, k: int) -> None:
    bank, queries = {
        "noise": (normal(3000, 32), normal(20, 32, seed=1)),
        "cone": (50 + normal(3000, 32), 50 + normal(20, 32, seed=1)),
        "copies": (normal(30, 32).repeat(100, 1), normal(20, 32, seed=1)),
        "one row": (torch.ones(3000, 32), torch.ones(20, 32)),
        "tiny": (1e-11 * normal(3000, 32), 1e-11 * normal(20, 32, seed=1)),
    }[kind]
    plain, quick = (nearest(queries, bank, k, precision=precision) for precision in ("fp32", "bf16"))
    assert torch.equal(plain[0], quick[0]) and torch.equal(plain[1], quick[1])
    similarity = F.normalize(queries[:3].double()) @ F.normalize(bank.double()).T
    assert torch.allclose(quick[0][:3].double(), similarity.sort(descending=True).values[:, :k], atol=1e-6)
    assert torch.allclose(similarity.gather(1, quick[1][:3]), quick[0][:3].double(), atol=1e-6)


def test_a_bank_in_any_order_is_searched_to_the_end() -> None:
    """Half of the bank are copies of one row, so a sample can misjudge the cosines of the other rows."""
    both: list[Precision] = ["fp32", "bf16"]
    bank = torch.cat([normal(3000, 12), normal(1, 12, seed=5).repeat(3000, 1)])
    queries = torch.cat([normal(30, 12, seed=1), bank[-1:]])
    for some in (bank, bank.flip(0), bank[torch.randperm(6000, generator=torch.Generator().manual_seed(0))]):
        expected = [slow.nearest_rows(query, some.double().numpy(), 15) for query in queries.double().numpy()]
        for precision in both:
            assert nearest(queries, some, 15, precision=precision)[1].tolist() == expected


def test_a_first_threshold_that_was_too_high_is_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, bank = normal(30, 12), normal(6000, 12, seed=1)
    found = nearest(queries, bank, 15)
    monkeypatch.setattr(neighbors.SearchIndex, "_rank", lambda index, k: 1)
    assert torch.equal(found[1], nearest(queries, bank, 15)[1])


def test_rows_closer_than_any_bound_do_not_overflow_a_list() -> None:
    """Each of 5,000 rows may be among the nearest, and only exact cosines tell which are."""
    bank = torch.ones(5000, 16) + 3e-3 * normal(5000, 16)
    similarity, index = nearest(bank[[4000, 17]], bank, 20, precision="bf16")
    assert index[:, 0].tolist() == [4000, 17]
    unit = F.normalize(bank.double())
    best = (unit[[4000, 17]] @ unit.T).sort(descending=True).values[:, :20]
    assert torch.allclose((unit[index] * unit[[4000, 17]][:, None]).sum(2), best, atol=1e-7)
    assert torch.allclose(similarity.double(), best, atol=2e-7)


def test_the_number_of_threads_changes_no_neighbor() -> None:
    queries, bank = normal(1500, 40), normal(3000, 40, seed=1)
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(nearest(queries, bank, 20, chunk=100))
        assert torch.get_num_threads() == threads
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


@pytest.mark.parametrize("where", ["query", "bank"])
def test_features_that_are_not_finite_have_no_neighbors(where: str) -> None:
    queries, bank = normal(10, 17), normal(300, 17)
    (queries if where == "query" else bank)[7, 3] = torch.nan
    with pytest.raises(DataError, match=r"image 7 are not finite numbers \(1 such"):
        nearest(queries, bank, 300)
