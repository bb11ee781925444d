"""Pretext tasks and reconstruction: the puzzles are what they say, and each network gets its own gradient."""

import copy
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_methods import AT, PAIR, SIZE, built, toy_batch
from torch import Tensor

from divcon import dist
from divcon.data.views.presets import plain
from divcon.data.views.view import View
from divcon.methods.adversarial_autoencoder import AdversarialAutoencoder
from divcon.methods.context import SIDES, drop_colors, patch_grid, patch_pairs
from divcon.methods.denoising_autoencoder import DenoisingAutoencoder
from divcon.methods.jigsaw import Jigsaw, distant_permutations, permute_tiles, random_tiles
from divcon.methods.rotation import Rotation, rotations
from divcon.nets.decoder import Decoder, sides
from divcon.nets.patches import PATCHES, ROW, corners, cut, standardized


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def map_of(size: int, b: int = 64) -> Tensor:
    """Images whose first two colors are the pixel's row and column."""
    row = torch.arange(size).float().expand(size, size)
    return torch.stack([row.T, row, torch.zeros(size, size)]).expand(b, 3, size, size)


# views


def test_a_plain_view_changes_neither_color_nor_sharpness() -> None:
    view = plain(View(40, blur=1.0, solarize=0.5, flip=0.25))
    assert (view.size, view.flip) == (40, 0.25)
    assert view.jitter == view.gray == view.blur == view.solarize == 0


@pytest.mark.parametrize("name", ["rotation", "jigsaw", "context", "denoising_autoencoder", "adversarial_autoencoder"])
def test_each_image_is_shown_once_in_its_own_colors_and_puzzles_are_cut_from_a_larger_view(name: str) -> None:
    (view,) = built(name).views(PAIR)
    assert view.size == (2 * SIZE if name in ("jigsaw", "context") else SIZE) and view.jitter == view.blur == 0


# rotation


def test_images_are_turned_as_often_as_their_label_says() -> None:
    images = noise(3, 3, 5, 5)
    shown, turns = rotations(images)
    assert turns.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    for i, (picture, k) in enumerate(zip(shown, turns)):
        assert np.array_equal(picture.numpy(), np.rot90(images[i % 3].numpy(), int(k), (1, 2)))


def test_rotation_is_the_cross_entropy_of_its_four_positions() -> None:
    method, batch = built("rotation"), toy_batch("rotation")
    assert isinstance(method, Rotation)
    found, losses = method(batch, AT).loss, []
    pools = method.net(torch.cat([batch.views[0].rot90(k, (2, 3)) for k in range(4)])).unflatten(0, (4, -1))
    for k in range(4):
        losses.append(-method.classifier(pools[k]).log_softmax(1)[:, k].mean())
    torch.testing.assert_close(found, torch.stack(losses).mean())


# patches


def test_a_patch_is_what_lies_at_its_corner() -> None:
    images, at = noise(4, 3, 20, 20), torch.randint(0, 14, (4, 5, 2), generator=torch.Generator().manual_seed(0))
    patches = cut(images, at, 6)
    for i, j in itertools.product(range(4), range(5)):
        top, left = at[i, j].tolist()
        assert torch.equal(patches[i, j], images[i, :, top : top + 6, left : left + 6])


def test_corners_lie_on_the_grid_and_reach_all_of_their_slack() -> None:
    at = corners(torch.rand(500, PATCHES, 2, generator=torch.Generator().manual_seed(0)), step=10, slack=3)
    moved = at - 10 * torch.tensor(list(itertools.product(range(ROW), repeat=2)))
    assert sorted(set(moved.flatten().tolist())) == [0, 1, 2, 3]
    assert len(moved.unique(dim=0)) > 490 and (moved[:, 0] != moved[:, 1]).any()


def test_a_patch_has_no_tone_of_its_own() -> None:
    patches = noise(4, 9, 3, 8, 8) * 3 + noise(4, 9, 3, 1, 1, seed=1) * 5
    found = standardized(patches)
    assert found.mean((3, 4)).abs().max() < 1e-5 and (found.std((3, 4), correction=0) - 1).abs().max() < 1e-4
    torch.testing.assert_close(standardized(2 * patches + 7), found, atol=1e-4, rtol=0)


def test_a_patch_of_one_color_stays_flat() -> None:
    flat = torch.ones(1, 9, 3, 4, 4) + 1e-4 * noise(1, 9, 3, 4, 4)
    assert standardized(flat).abs().max() < 0.02


# jigsaw


@pytest.mark.parametrize(("count", "least"), [(4, 9), (9, 9), (64, 4), (200, 2)])
def test_permutations_are_all_different_and_far_apart(count: int, least: int) -> None:
    orders = np.array(distant_permutations(count))
    assert (np.sort(orders, 1) == np.arange(PATCHES)).all() and len(np.unique(orders, axis=0)) == count
    distances = [int((a != b).sum()) for a, b in itertools.combinations(orders, 2)]
    assert np.mean(distances) >= 8 and min(distances) >= least  # two at random: 8 in the mean


def test_each_order_is_the_farthest_from_those_before_it() -> None:
    orders = np.array(distant_permutations(30))
    others = np.array(list(itertools.permutations(range(PATCHES))))[::37]
    for count in (1, 5, 29):
        total = (orders[:count, None] != orders[None, count:]).sum((0, 2))[0]
        assert total >= (orders[:count, None] != others[None]).sum(2).sum(0).max()


def test_a_shuffled_puzzle_is_put_together_by_the_inverse_of_its_order() -> None:
    tiles, order = noise(6, 9, 3, 4, 4), torch.tensor(distant_permutations(6))
    shown = permute_tiles(tiles, order)
    assert torch.equal(shown[2, 0], tiles[2, order[2, 0]]) and not torch.equal(shown, tiles)
    assert torch.equal(permute_tiles(shown, order.argsort(1)), tiles)


@pytest.mark.parametrize(("size", "side"), [(225, 64), (64, 18), (32, 9)])
def test_tiles_come_from_their_own_cells_and_keep_the_papers_proportions(size: int, side: int) -> None:
    plane = map_of(size)
    tiles = random_tiles(plane)
    assert tiles.shape == (64, 9, 3, side, side)
    torch.manual_seed(0)
    at = corners(torch.rand(64, 9, 2), size // 3, size // 3 - side)
    torch.manual_seed(0)
    assert torch.equal(random_tiles(plane), standardized(cut(plane, at, side)))
    assert (at // (size // 3)).max() <= 2 and ((at + side - 1) // (size // 3) == at // (size // 3)).all()


def test_jigsaw_classifies_by_all_nine_tiles_side_by_side() -> None:
    method, batch = built("jigsaw"), toy_batch("jigsaw")
    assert isinstance(method, Jigsaw)
    torch.manual_seed(3)
    found = method(batch, AT)
    torch.manual_seed(3)
    tiles = random_tiles(batch.views[0])
    truth = (torch.rand(len(tiles)) * 4).long()
    pools = method.net(torch.cat([tiles[i, method.permutations[t]] for i, t in enumerate(truth)])).view(len(tiles), -1)
    torch.testing.assert_close(found.loss, F.cross_entropy(method.classifier(pools), truth))
    assert found.chance == pytest.approx(np.log(4)) and len(truth.unique()) > 1


# context


@pytest.mark.parametrize("size", [24, 32, 64, 448])
def test_the_two_patches_are_neighbors_as_labeled(size: int) -> None:
    patches, which = patch_pairs(map_of(size))
    away = (patches[:, 1] - patches[:, 0]).mean((2, 3))[:, :2]
    side, step, slack = patch_grid(size)
    toward = torch.tensor([(y, x) for y, x in itertools.product((-1, 0, 1), repeat=2) if (y, x) != (0, 0)])[which]
    assert (away - step * toward).abs().max() <= slack and step - slack >= side
    assert len(which.unique()) == SIDES


@pytest.mark.parametrize("size", range(10, 500, 7))
def test_the_patches_fit_into_the_view_with_the_papers_gap(size: int) -> None:
    side, step, slack = patch_grid(size)
    assert 2 * step + slack + side <= size and slack >= 0
    assert size < 50 or (0.4 < (step - side) / side < 0.6 and side > 0.21 * size and slack > 0)


def test_a_faded_patch_keeps_one_color_and_the_others_are_faint_noise() -> None:
    torch.manual_seed(0)
    patches = noise(40, 2, 3, 16, 16) * 2
    found = drop_colors(patches, 1.0)
    kept = (found == patches).all(4).all(3)
    assert (kept.sum(2) == 1).all() and kept.any((0, 1)).all()
    lost = found[~kept]
    assert 0.015 < float(lost.std()) < 0.025 and lost.flatten(1).std(1).min() > 0
    assert torch.equal(drop_colors(patches, 0.0), patches)
    some = (drop_colors(patches, 0.5) == patches).all(4).all(3).all(2).float().mean()
    assert 0.3 < some < 0.7


# autoencoders


@pytest.mark.parametrize("size", [8, 16, 33, 96])
def test_the_same_decoder_paints_pictures_of_any_size(size: int) -> None:
    decoder = Decoder(12, 16)
    assert decoder(noise(4, 12), size).shape == (4, 3, size, size)
    assert sides(size)[-1] == size and sorted(sides(size)) == sides(size)


def test_a_denoiser_is_shown_noise_and_has_to_paint_what_was_under_it() -> None:
    method, batch = built("denoising_autoencoder", noise=0.7), toy_batch("denoising_autoencoder")
    assert isinstance(method, DenoisingAutoencoder)
    shown: list[Tensor] = []
    method.net.register_forward_pre_hook(lambda _, given: shown.append(given[0]))
    loss, clean = method(batch, AT).loss, batch.views[0]
    assert float((shown[0] - clean).std()) == pytest.approx(0.7, rel=0.05)
    painted = method.decoder(method.net(shown[0]), SIZE)
    torch.testing.assert_close(loss, (painted - clean).square().mean())


def test_the_discriminator_learns_from_its_own_loss_and_the_encoder_from_the_others() -> None:
    method, batch = built("adversarial_autoencoder", weight=0.3), toy_batch("adversarial_autoencoder")
    assert isinstance(method, AdversarialAutoencoder)
    other, (images,) = copy.deepcopy(method), batch.views
    torch.manual_seed(5)
    method(batch, AT).loss.backward()
    torch.manual_seed(5)
    prior, code = torch.randn(len(images), 16), other.net(images)
    apart = -F.logsigmoid(other.discriminator(prior)).mean() / 2
    apart = apart - F.logsigmoid(-other.discriminator(code.detach())).mean() / 2
    theirs = torch.autograd.grad(0.3 * apart, list(other.discriminator.parameters()))
    for p, slope in zip(method.discriminator.parameters(), theirs):
        torch.testing.assert_close(p.grad, slope)
    missed = (other.decoder(code, SIZE) - images).square().mean()
    given_away = -F.logsigmoid(other.discriminator(code)).mean()
    own = [*other.net.parameters(), *other.decoder.parameters()]
    slopes = torch.autograd.grad(missed + 0.3 * given_away, own)
    for p, slope in zip([*method.net.parameters(), *method.decoder.parameters()], slopes):
        torch.testing.assert_close(p.grad, slope, atol=1e-6, rtol=1e-4)


# ranks


def test_ranks_share_what_one_would_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    whole = dist.draw_rows(torch.rand, 6, 2, device=torch.device("cpu"))
    monkeypatch.setattr(dist.collectives, "world_size", lambda: 3)
    parts = []
    for rank in range(3):
        monkeypatch.setattr(dist.collectives, "rank", lambda rank=rank: rank)
        torch.manual_seed(1)
        parts.append(dist.draw_rows(torch.rand, 2, 2, device=torch.device("cpu")))
    assert torch.equal(torch.cat(parts), whole)
