"""Oracles: the formulas as loops, slow and plain enough to be checked by reading."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Whole = NDArray[np.int64]


def squared_distance(a: Array, b: Array) -> float:
    return sum((float(p) - float(q)) ** 2 for p, q in zip(a, b))


def cosine(a: Array, b: Array) -> float:
    dot = sum(float(p) * float(q) for p, q in zip(a, b))
    return dot / math.sqrt(sum(float(p) ** 2 for p in a) * sum(float(q) ** 2 for q in b))


def cycles(steps: int, count: int) -> list[tuple[int, int]]:
    """For each step the first step of its cycle, and the number of the cycle's steps."""
    count = min(count, steps)
    found = []
    for number in range(count):
        members = [step for step in range(steps) if number * steps // count <= step < (number + 1) * steps // count]
        found += [(members[0], len(members)) for _ in members]
    return found


def nearest_centroids(x: Array, centroids: Array, spherical: bool) -> tuple[list[int], list[float]]:
    """For each row the first of its nearest centroids, and 1 - cosine or the squared distance."""
    labels, distances = [], []
    for row in x:
        far = [1 - cosine(row, c) if spherical else squared_distance(row, c) for c in centroids]
        labels.append(far.index(min(far)))
        distances.append(min(far))
    return labels, distances


def mean_rows(x: Array, labels: Sequence[int], k: int, spherical: bool) -> Array:
    """The mean of each cluster's rows; of length one, and of rows of length one, when spherical."""
    means = []
    for cluster in range(k):
        total = np.zeros(x.shape[1])
        for row, label in zip(x, labels):
            if label == cluster:
                total = total + (row / np.sqrt((row**2).sum()) if spherical else row)
        means.append(total / np.sqrt((total**2).sum()) if spherical else total / list(labels).count(cluster))
    return np.stack(means)


def fixed_point_sums(x: Array, labels: Sequence[int], k: int, scale: int) -> tuple[list[list[int]], list[int]]:
    total, sizes = [[0] * x.shape[1] for _ in range(k)], [0] * k
    for row, label in zip(x, labels):
        sizes[label] += 1
        for j, value in enumerate(row):
            total[label][j] += round(float(value) * scale)
    return total, sizes


def nearest_rows(query: Array, bank: Array, k: int) -> list[int]:
    """The k most similar rows; of equals, the first."""
    similarity = [cosine(query, row) for row in bank]
    return sorted(range(len(bank)), key=lambda i: (-similarity[i], i))[:k]


def furthest_rows(x: Array, points: Sequence[int], count: int) -> list[int]:
    """Rows one after the other, each the furthest from the points and from those before it; of equals, the first."""
    taken = list[int]()
    for _ in range(count):
        far = [min(squared_distance(row, x[point]) for point in [*points, *taken]) for row in x]
        taken.append(far.index(max(far)))
    return taken


def merged_sizes(centroids: Array, sizes: Sequence[int], minimum: int) -> list[int]:
    """Sizes, the largest first, once every cluster under the minimum has gone to the nearest that is not."""
    large = [c for c in range(len(sizes)) if sizes[c] >= minimum] or [list(sizes).index(max(sizes))]
    after = {c: sizes[c] for c in large}
    for c in range(len(sizes)):
        if c not in after:
            after[max(large, key=lambda other: cosine(centroids[c], centroids[other]))] += sizes[c]
    return sorted(after.values(), reverse=True)


def knn_winner(query: Array, bank: Array, labels: Sequence[int], k: int, temperature: float) -> int:
    """The class with the largest sum of exp(cosine / temperature) over the k nearest rows."""
    scores = [0.0] * (max(labels) + 1)
    for i in nearest_rows(query, bank, k):
        scores[labels[i]] += math.exp(cosine(query, bank[i]) / temperature)
    return scores.index(max(scores))


def logistic_loss(x: Array, y: Sequence[int], weight: Array, bias: Array, penalty: float) -> float:
    """Mean cross-entropy and half the penalty times the squared weights."""
    loss = 0.0
    for row, label in zip(x, y):
        logits = [float(w @ row) + float(b) for w, b in zip(weight, bias)]
        loss += math.log(sum(math.exp(logit) for logit in logits)) - logits[label]
    return loss / len(x) + penalty / 2 * sum(float(w) ** 2 for w in weight.ravel())


def neighbor_agreement(a: Array, b: Array, k: int) -> float:
    """The mean share of a row's k nearest others in a that are among its k nearest others in b."""
    shares = []
    for i in range(len(a)):
        others = [j for j in range(len(a)) if j != i]
        by_a = {others[j] for j in nearest_rows(a[i], a[others], k)}
        by_b = {others[j] for j in nearest_rows(b[i], b[others], k)}
        shares.append(len(by_a & by_b) / k)
    return sum(shares) / len(shares)


def info_nce(query: Array, key: Array, temperature: float) -> float:
    """- mean over i of log(exp(s(q_i, k_i) / t) / sum over j of exp(s(q_i, k_j) / t)), s the cosine: DnC equation 1."""
    loss = 0.0
    for i in range(len(query)):
        alike = [math.exp(cosine(query[i], key[j]) / temperature) for j in range(len(key))]
        loss -= math.log(alike[i] / sum(alike))
    return loss / len(query)


def info_nce_of_queue(query: Array, key: Array, queue: Array, temperature: float) -> float:
    """-log of the share of exp(q.k / T) among that and all exp(q.n / T), mean over the queries of length one."""
    losses = []
    for q, k in zip(query, key):
        q = q / math.sqrt(sum(v * v for v in q))
        own = math.exp(sum(a * b for a, b in zip(q, k)) / temperature)
        others = sum(math.exp(sum(a * b for a, b in zip(q, n)) / temperature) for n in queue)
        losses.append(-math.log(own / (own + others)))
    return sum(losses) / len(losses)


def cosine_regression(guess: Array, truth: Array) -> float:
    """2 - 2 cos, mean over the rows."""
    losses = []
    for g, t in zip(guess, truth):
        dot, of_g, of_t = (sum(a * b for a, b in zip(x, y)) for x, y in ((g, t), (g, g), (t, t)))
        losses.append(2 - 2 * dot / math.sqrt(of_g * of_t))
    return sum(losses) / len(losses)


def nt_xent(a: Array, b: Array, temperature: float) -> float:
    """The same over all 2n views, each against the 2n - 1 others, of which the other view of its image is to be found."""
    views, n = [*a, *b], len(a)
    loss = 0.0
    for i in range(2 * n):
        alike = {j: math.exp(cosine(views[i], views[j]) / temperature) for j in range(2 * n) if j != i}
        loss -= math.log(alike[(i + n) % (2 * n)] / sum(alike.values()))
    return loss / (2 * n)


def regression(guess: Array, truth: Array) -> float:
    """Mean over rows of |guess - truth / |truth||^2: DnC equation 2."""
    loss = 0.0
    for g, t in zip(guess, truth):
        length = math.sqrt(sum(float(v) ** 2 for v in t))
        loss += sum((float(p) - float(q) / length) ** 2 for p, q in zip(g, t))
    return loss / len(guess)


def gradient(loss: Callable[[Array], float], at: Array, step: float = 1e-5) -> Array:
    """Of a function of one array, by central differences."""
    slopes = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        ahead, behind = at.copy(), at.copy()
        ahead[place] += step
        behind[place] -= step
        slopes[place] = (loss(ahead) - loss(behind)) / (2 * step)
    return slopes


def lars(
    parameter: Array, buffer: Array, slope: Array, rate: float, decay: float, trust: float = 1e-3, momentum: float = 0.9
) -> tuple[Array, Array]:
    """One step in the form of BYOL's code: the parameter and its momentum buffer after it."""
    g = slope.copy()
    if parameter.ndim > 1:
        g = g + decay * parameter
        size, length = (math.sqrt(sum(float(v) ** 2 for v in x.ravel())) for x in (parameter, g))
        g = g * (trust * size / length if size > 0 and length > 0 else 1.0)
    buffer = momentum * buffer + g
    return parameter - rate * buffer, buffer


def sinkhorn(scores: Array, epsilon: float, rounds: int) -> Array:
    """SwAV's codes: a table whose rows and columns are made to sum to their shares by turns, element by element."""
    n, k = scores.shape
    table = [[math.exp(float(scores[i, j]) / epsilon) for j in range(k)] for i in range(n)]
    for _ in range(rounds):
        for j in range(k):
            column = sum(table[i][j] for i in range(n))
            for i in range(n):
                table[i][j] /= column * k
        for i in range(n):
            row = sum(table[i])
            table[i] = [value / (row * n) for value in table[i]]
    return np.array(table) * n


def resample_equally(labels: list[int], rng: np.random.Generator) -> list[int]:
    """DeepCluster's sampler: as many of each class, with repeats where it has too few; shuffled, and cut."""
    classes = sorted(set(labels))
    size, drawn = len(labels) // len(classes) + 1, []
    for name in classes:
        members = [i for i, label in enumerate(labels) if label == name]
        drawn += list(rng.choice(members, size, replace=len(members) <= size))
    rng.shuffle(drawn)
    return [int(i) for i in drawn[: len(labels)]]


def edges(images: Array) -> Array:
    """Sobel's two derivatives of gray, pixel by pixel, with black around."""
    n, _, h, w = images.shape
    weights = [(-1, 1), (0, 2), (1, 1)]
    found = np.zeros((n, 2, h, w))
    for b in range(n):
        gray = images[b].mean(0)

        def at(y: int, x: int, gray: Array = gray) -> float:
            return float(gray[y, x]) if 0 <= y < h and 0 <= x < w else 0.0

        for y in range(h):
            for x in range(w):
                found[b, 0, y, x] = sum(weight * (at(y + d, x - 1) - at(y + d, x + 1)) for d, weight in weights)
                found[b, 1, y, x] = sum(weight * (at(y - 1, x + d) - at(y + 1, x + d)) for d, weight in weights)
    return found


def followed(rows: Array, index: Sequence[int], z: Array, momentum: float) -> Array:
    """A bank's rows after a batch: each image's last z counts, and all are of length one."""
    after = rows.copy()
    for image, row in {int(image): row for image, row in zip(index, z)}.items():
        mixed = momentum * rows[image] + (1 - momentum) * row / math.sqrt((row**2).sum())
        after[image] = mixed / math.sqrt((mixed**2).sum())
    return after


def exp_scores(z: Array, rows: Array, temperature: float) -> list[float]:
    """exp(v_j . v / t) for each row, v being z at length one."""
    return [math.exp(cosine(z, row) / temperature) for row in rows]


def instance_softmax(z: Array, bank: Array, index: Sequence[int], temperature: float) -> float:
    """-log P(i | v), mean over the batch: NPID equations 2 and 3."""
    losses = []
    for row, image in zip(z, index):
        scores = exp_scores(row, bank, temperature)
        losses.append(-math.log(scores[image] / sum(scores)))
    return sum(losses) / len(losses)


def instance_nce(
    z: Array, bank: Array, index: Sequence[int], noise: Sequence[Sequence[int]], temperature: float, normalizer: float
) -> float:
    """-log h(i, v) - sum over the noise of log(1 - h(j, v)), h = P / (P + m / n), P = exp(v_j . v / t) / Z."""
    n, m, losses = len(bank), len(noise[0]), []
    for row, image, others in zip(z, index, noise):
        p = [score / (normalizer * n) for score in exp_scores(row, bank, temperature)]
        h = [share / (share + m / n) for share in p]
        losses.append(-math.log(h[image]) - sum(math.log(1 - h[other]) for other in others))
    return sum(losses) / len(losses)


def local_aggregation(
    z: Array, bank: Array, index: Sequence[int], labels: Sequence[Sequence[int]], k: int, temperature: float
) -> float:
    """-log(P(C and B | v) / P(B | v)), mean over the batch: C are the images that any labeling puts with the image, B the
    k nearest rows, the image itself being one of them."""
    losses = []
    for row, image in zip(z, index):
        p = exp_scores(row, bank, temperature)
        close = {j for one in labels for j in range(len(bank)) if one[j] == one[image]}
        others = [j for j in sorted(range(len(bank)), key=lambda j: -p[j]) if j != image]
        background = {image, *others[: k - 1]}
        losses.append(-math.log(sum(p[j] for j in close & background) / sum(p[j] for j in background)))
    return sum(losses) / len(losses)


def moco_v3(queries: Sequence[Array], keys: Sequence[Array], temperature: float) -> float:
    """2 t (CE(q1 k2 / t) + CE(q2 k1 / t)), CE taking the keys of the other images of the batch for wrong."""
    loss = 0.0
    for query, key in ((queries[0], keys[1]), (queries[1], keys[0])):
        for i, q in enumerate(query):
            logits = [cosine(q, k) / temperature for k in key]
            loss += (math.log(sum(math.exp(v) for v in logits)) - logits[i]) / len(query)
    return 2 * temperature * loss


def larc(
    parameter: Array, buffer: Array, slope: Array, rate: float, decay: float, trust: float = 1e-3, momentum: float = 0.9
) -> tuple[Array, Array]:
    """One step with the trust ratio and the decay on every tensor, whatever its shape."""
    g = slope + decay * parameter
    size, length = (math.sqrt(sum(float(v) ** 2 for v in x.ravel())) for x in (parameter, g))
    buffer = momentum * buffer + g * (trust * size / length if size > 0 and length > 0 else 1.0)
    return parameter - rate * buffer, buffer


def thirds(per_class: Sequence[float | None], sizes: Sequence[int]) -> dict[str, float]:
    """The mean shares of the tested classes with the most images, with medium numbers, and with the fewest."""
    left = [i for i in range(len(sizes)) if per_class[i] is not None]
    ranked = []
    while left:
        largest = left[0]
        for i in left:
            if sizes[i] > sizes[largest]:
                largest = i
        ranked.append(largest)
        left.remove(largest)
    n = len(ranked)
    if n < 3:
        return {}
    first, second = n // 3 + (n % 3 > 0), n // 3 + (n % 3 > 1)
    parts = {"many": ranked[:first], "medium": ranked[first : first + second], "few": ranked[first + second :]}
    size = {name: sum(sizes[i] for i in part) / len(part) for name, part in parts.items()}
    if size["many"] < 2 * size["few"]:
        return {}
    return {name: sum(per_class[i] for i in part) / len(part) for name, part in parts.items()}


def average_precision(scores: Sequence[float], truth: Sequence[bool], points: int | None) -> float:
    """The mean, over the recalls of all true images or over equally spaced ones, of the best precision at such a recall or a
    higher one."""
    curve = []
    for threshold in scores:
        shown = [i for i in range(len(scores)) if scores[i] >= threshold]
        hits = sum(truth[i] for i in shown)
        curve.append((Fraction(hits, sum(truth)), hits / len(shown)))
    recalls = [Fraction(i + 1, sum(truth)) for i in range(sum(truth))]
    if points is not None:
        recalls = [Fraction(i, points - 1) for i in range(points)]
    return sum(max(precision for recall, precision in curve if recall >= wanted) for wanted in recalls) / len(recalls)


def box_precision(
    told: Sequence[Sequence[tuple[Sequence[float], float]]], true: Sequence[Sequence[Sequence[float]]], threshold: float
) -> float:
    """The average precision of boxes of one class, by 101 points. `told` has boxes with scores for each image."""
    rows = []
    for found, boxes in zip(told, true, strict=True):
        free = list(range(len(boxes)))
        for box, score in sorted(found, key=lambda pair: -pair[1]):
            best = max(free, key=lambda i: overlap(box, boxes[i]), default=None)
            right = best is not None and overlap(box, boxes[best]) >= threshold
            if right:
                free.remove(best)
            rows.append((score, right))
    total, precision = sum(map(len, true)), []
    for point in range(101):
        best_here = 0.0
        for score, _ in rows:
            shown = [right for other, right in rows if other >= score]
            if 100 * sum(shown) >= point * total:
                best_here = max(best_here, sum(shown) / len(shown))
        precision.append(best_here)
    return sum(precision) / 101


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """The area that two boxes share, over the area that either has."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0.0, width) * max(0.0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def majority_classes(parts: Sequence[int], classes: Sequence[int], asked: Sequence[int]) -> list[int]:
    """For each part asked for, the class that most images in it have; of equals, the first."""
    told = []
    for part in asked:
        inside = [label for other, label in zip(parts, classes) if other == part]
        told.append(max(sorted(set(inside)), key=inside.count))
    return told
