"""Bytes become pixels that are whole, upright and RGB, or a reason. Every file is made here."""

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from divcon.data.decoding import checked_image, headers
from divcon.data.decoding import decode as decode_module
from divcon.data.decoding.decode import decode, decode_shrunk, fitted_size
from divcon.data.decoding.rejection import Rejected

H, W = 60, 90


def scene(height: int = H, width: int = W) -> NDArray[np.uint8]:
    """A smooth image, different in each corner, so that a turn or a cut shows."""
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 128 + 60 * np.sin(x / 9)], axis=-1).astype(np.uint8)


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(scene())).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, color: int, rows: bytes, *between: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return headers.PNG + header + b"".join(between) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def reason(data: bytes, do: Callable[[bytes], object] = decode) -> str:
    with pytest.raises(Rejected) as error:
        do(data)
    return error.value.reason


def close(a: NDArray[np.uint8], b: NDArray[np.uint8], within: float) -> bool:
    return a.shape == b.shape and bool(np.abs(a.astype(int) - b).mean() <= within)


LOSSLESS = [("PNG", {}), ("WEBP", {"lossless": True}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})]


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_lossless_formats_come_out_as_they_went_in(kind: str, options: dict[str, Any]) -> None:
    assert np.array_equal(decode(encoded(kind, **options)).pixels, scene())


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}])
def test_jpeg_comes_out_about_as_it_went_in(options: dict[str, Any]) -> None:
    assert close(decode(encoded("JPEG", quality=95, **options)).pixels, scene(), 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
def test_images_come_out_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = {"WEBP": {"lossless": True}, "AVIF": {"quality": 98, "subsampling": "4:4:4"}}.get(kind, {})
    data = encoded(kind, Image.fromarray(stored(orientation)), exif=exif.tobytes(), **how)
    assert close(decode(data).pixels, scene(), 3)
    assert decode_shrunk(data, 30).shape == (30, 45, 3)
    assert close(decode_shrunk(data, 30), decode_shrunk(encoded("PNG"), 30), 4)


def stored(orientation: int) -> NDArray[np.uint8]:
    """The scene as a camera of this orientation stores it: the EXIF standard says which sides are row 0 and column 0."""
    rows_are_columns = orientation >= 5
    flips = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1), 5: (1, 1), 6: (-1, 1), 7: (-1, -1), 8: (1, -1)}
    # 6: the stored row 0 is the right side of the scene, the stored column 0 its top; and so on.
    vertical, horizontal = flips[orientation]
    if not rows_are_columns:
        return np.ascontiguousarray(scene()[::vertical, ::horizontal])
    return np.ascontiguousarray(scene().transpose(1, 0, 2)[::vertical, ::horizontal])


def test_a_broken_exif_block_is_passed_over() -> None:
    data = encoded("JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 40)
    assert decode(data).pixels.shape == decode_shrunk(data, 500).shape == (H, W, 3)


HALF = np.broadcast_to(
    np.where(np.arange(W) < W // 2, 0, 255).astype(np.uint8), (H, W)
)  # alpha: the left half is clear


def test_transparency_shows_white_whatever_the_mode() -> None:
    clear = Image.fromarray(np.dstack([scene() // 2, HALF]))
    gray = Image.fromarray(np.where(HALF == 0, 3, scene()[:, :, 1] // 2 + 4).astype(np.uint8))
    color = Image.fromarray(np.where(HALF[:, :, None] == 0, (1, 2, 3), scene() // 2 + 4).astype(np.uint8))
    palette = color.quantize(64)
    files = [
        encoded("PNG", clear), encoded("WEBP", clear, lossless=True), encoded("PNG", clear.convert("LA")),
        encoded("PNG", gray, transparency=3), encoded("PNG", color, transparency=(1, 2, 3)),
        encoded("PNG", palette, transparency=palette.getpixel((0, 0))), encoded("GIF", palette, transparency=palette.getpixel((0, 0))),
    ]  # fmt: skip
    for data in files:
        assert (decode(data).pixels[:, : W // 2] == 255).all() and decode(data).pixels[:, W // 2 :].max() < 200


def test_half_transparency_is_half_white() -> None:
    half = decode(encoded("PNG", Image.fromarray(np.dstack([scene(), np.full((H, W), 128, np.uint8)])))).pixels
    assert np.abs(half - np.round(scene() * (128 / 255) + 127)).max() <= 1


def test_palette_gray_and_one_bit_become_rgb() -> None:
    gray = Image.fromarray(scene()[:, :, 0])
    assert np.array_equal(decode(encoded("PNG", gray)).pixels, np.dstack([scene()[:, :, 0]] * 3))
    assert set(np.unique(decode(encoded("PNG", gray.convert("1"))).pixels)) == {0, 255}
    palette = Image.fromarray(scene()).quantize(64)
    assert np.array_equal(decode(encoded("PNG", palette)).pixels, np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_deep_gray_is_scaled_and_not_clipped(kind: str) -> None:
    levels = np.linspace(0, 65535, W).round().astype(np.uint16)
    got = decode(encoded(kind, Image.fromarray(np.broadcast_to(levels, (H, W)).copy()))).pixels
    assert np.array_equal(got[0, :, 0], np.round(levels / 257).astype(np.uint8))
    thirds = np.broadcast_to(np.repeat([0, 32768, 65535], W // 3).astype(np.uint16), (H, W)).copy()
    assert set(np.unique(decode(encoded(kind, Image.fromarray(thirds))).pixels)) == {0, 128, 255}


def test_deep_color_is_scaled() -> None:
    rows = (b"\0" + struct.pack(">HHHHHH", 0, 32768, 65535, 65535, 0, 0) * 10) * 20
    assert (decode(png(20, 20, 16, 2, rows)).pixels[:, ::2] == (0, 128, 255)).all()


def test_deep_gray_knows_its_transparent_level() -> None:
    rows = (b"\0" + struct.pack(">HHHH", 20000, 20001, 20000, 60000) * 5) * 20
    got = decode(png(20, 20, 16, 0, rows, chunk(b"tRNS", struct.pack(">H", 20000)))).pixels
    assert (got[:, ::2] == 255).all() and (got[:, 1::4] == 78).all() and (got[:, 3::4] == 233).all()


def test_cmyk_keeps_its_colors() -> None:
    cmyk = Image.fromarray(scene()).convert("CMYK")
    assert close(decode(encoded("JPEG", cmyk, quality=95)).pixels, scene(), 3)
    assert close(decode_shrunk(encoded("JPEG", cmyk, quality=95), 30), decode_shrunk(encoded("PNG"), 30), 3)


def test_only_the_first_frame_is_shown() -> None:
    first = Image.fromarray(np.where(HALF[:, :, None] == 0, (255, 0, 0), (255, 255, 0)).astype(np.uint8))
    others = [Image.new("RGB", (W, H), color) for color in ("green", "blue")]
    for kind in ("GIF", "WEBP", "TIFF", "PNG"):
        how = {"lossless": True} if kind == "WEBP" else {}
        assert (
            decode(encoded(kind, first, save_all=True, append_images=others, **how)).pixels == np.asarray(first)
        ).all()


@pytest.mark.parametrize("mode", ["F", "I", "LAB"])
def test_what_has_no_honest_rgb_is_refused(mode: str) -> None:
    image = Image.new(mode, (W, H)) if mode == "LAB" else Image.fromarray(scene()[:, :, 0]).convert(mode)
    assert reason(encoded("TIFF", image)) == "unsupported_mode"


def test_what_is_no_image_is_said_so() -> None:
    assert reason(b"") == "empty_file"
    for data in (b"x", b"hello there, this is a long text that is named .jpg", b"<html>" * 20, encoded("JPEG")[:20]):
        assert reason(data) == "not_an_image"
    for kind in ("ICO", "EPS", "PDF"):  # images to Pillow, but not of ours
        assert reason(encoded(kind)) == "format_not_allowed"
    assert reason(png(0, 0, 8, 2, b"")) == "not_an_image"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_half_a_file_is_truncated(kind: str) -> None:
    data = encoded(kind)
    assert reason(data[: len(data) // 2]) == "truncated"
    assert reason(data[: len(data) // 2], lambda data: decode_shrunk(data, 16)) == "truncated"


def test_half_a_webp_is_no_image() -> None:
    data = encoded("WEBP")
    assert reason(data[: len(data) // 2]) == "corrupt"


@pytest.mark.parametrize("size", [(8, 8), (16, 16), (64, 48), (65, 49)])
@pytest.mark.parametrize("progressive", [True, False])
def test_a_jpeg_without_its_end_marker_is_truncated(size: tuple[int, int], progressive: bool) -> None:
    thumbnail = b"Exif\0\0" + encoded("JPEG", Image.new("RGB", (16, 16)))  # has an end marker of its own
    data = encoded("JPEG", Image.fromarray(scene(*size)), progressive=progressive, exif=thumbnail)
    assert data.endswith(b"\xff\xd9")
    for cut in (1, 2):
        assert reason(data[:-cut]) == reason(data[:-cut], lambda data: decode_shrunk(data, 8)) == "truncated"
    assert decode(data + b"trailing" * 100).pixels.shape == (*size, 3)


def test_a_bad_checksum_anywhere_in_a_png_is_corrupt() -> None:
    data = encoded("PNG")
    assert reason(flipped(data, data.index(b"IDAT") + 100)) == "corrupt"
    assert reason(flipped(data, 30)) == "corrupt"
    checksum = len(data) - 12 - 4  # of the last IDAT: its pixels are all there and right
    assert reason(flipped(data, checksum)) == "corrupt"


def test_a_png_without_its_very_end_is_truncated() -> None:
    assert reason(encoded("PNG")[:-2]) == "truncated"


def webp_canvas(width: int, height: int) -> bytes:
    """A WebP of two frames whose header declares this size."""
    frames = [Image.new("RGB", (W, H), color) for color in ("red", "green")]
    data = encoded("WEBP", frames[0], save_all=True, append_images=frames[1:])
    assert data[12:16] == b"VP8X"
    return data[:24] + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little") + data[30:]


@pytest.mark.parametrize(
    "data", [png(30_000, 30_000, 8, 2, b""), png(9_500, 9_500, 8, 2, b""), webp_canvas(60000, 60000)]
)
def test_a_bomb_is_refused_by_its_header(data: bytes) -> None:
    tracemalloc.start()
    assert reason(data) == reason(data, lambda data: decode_shrunk(data, 16)) == "too_many_pixels"
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("lossless", [True, False])
def test_the_size_in_a_webp_header_is_read_right(lossless: bool) -> None:
    assert headers.webp_size(encoded("WEBP", lossless=lossless)) == (W, H)
    assert headers.webp_size(webp_canvas(700, 300)) == (700, 300)


def test_shapes_that_no_view_can_be_cut_from_are_refused() -> None:
    assert reason(encoded("PNG", Image.new("RGB", (1, 1)))) == "too_small"
    assert reason(encoded("PNG", Image.new("RGB", (7, 200)))) == "too_small"
    assert reason(encoded("PNG", Image.new("RGB", (1, 20_000)))) == "extreme_aspect"
    assert reason(encoded("PNG", Image.new("RGB", (321, 10)))) == "extreme_aspect"
    assert decode(encoded("PNG", Image.fromarray(scene(10, 320)))).pixels.shape == (10, 320, 3)
    assert decode(encoded("PNG", Image.fromarray(scene(8, 8)))).pixels.shape == (8, 8, 3)


def test_a_file_that_is_too_large_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked_image, "MAX_BYTES", 100)
    assert reason(encoded("PNG")) == "file_too_large"


def test_no_flipped_byte_gets_past_the_reasons() -> None:
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        data = encoded(kind)
        for at in [*range(60), *rng.integers(60, len(data), 60)]:
            try:
                assert decode(flipped(data, int(at))).pixels.dtype == np.uint8
            except Rejected as error:
                assert error.reason.isidentifier()


def test_fitting_shrinks_the_short_side_to_about_a_length_and_nothing_else() -> None:
    assert fitted_size(500, 375, 64) == (125, 94)  # two eighths
    assert fitted_size(375, 500, 64) == (94, 125)
    assert fitted_size(400, 110, 64) == (233, 64)  # four eighths are too little, and the whole is too much
    assert fitted_size(96, 64, 64) == (96, 64)
    assert fitted_size(96, 96, 64) == (96, 96)
    for width, height in np.random.default_rng(0).integers(8, 3000, (500, 2)).tolist():
        small, short = fitted_size(width, height, 50), min(width, height)
        assert small == (width, height) if short <= 75 else 47.5 <= min(small) <= 75
        assert small == fitted_size(height, width, 50)[::-1]
        assert abs(small[0] * height - small[1] * width) <= max(width, height)


@pytest.mark.parametrize("eighths", [1, 2, 3, 4])
def test_a_jpeg_that_fits_in_eighths_is_not_resampled(eighths: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "_resize", None)
    for height, width in ((401, 555), (638, 403), (400, 400)):
        whole = np.pad(scene(height, width), [(0, -height % 8), (0, -width % 8), (0, 0)], "edge")
        size = tuple(length * eighths // 8 for length in whole.shape[1::-1])
        slow = np.asarray(Image.fromarray(whole).resize(size, Image.Resampling.BOX))
        got = decode_shrunk(
            encoded("JPEG", Image.fromarray(scene(height, width))), -(-min(height, width) * eighths // 8)
        )
        assert got.shape[:2] == (-(-height * eighths // 8), -(-width * eighths // 8))
        assert close(got, slow[: got.shape[0], : got.shape[1]], 3)


@pytest.mark.parametrize("side", [20, 40, 60, 64, 500])
def test_a_note_in_a_jpeg_changes_no_pixel_unless_it_says_how_to_turn(side: int) -> None:
    picture, exif = Image.fromarray(scene(333, 250)), Image.Exif()
    exif[0x0112] = 1
    assert np.array_equal(
        decode_shrunk(encoded("JPEG", picture), side), decode_shrunk(encoded("JPEG", picture, exif=exif), side)
    )


def test_a_jpeg_in_rgb_comes_out_as_it_went_in() -> None:
    assert close(decode_shrunk(encoded("JPEG", keep_rgb=True, quality=95), 60), scene(), 3)


@pytest.mark.parametrize("size", [(300, 400), (333, 1000), (1000, 333), (64, 64), (65, 67), (20, 30)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_shrunk_is_the_whole_image_averaged_down(kind: str, size: tuple[int, int]) -> None:
    data = encoded(kind, Image.fromarray(scene(*size)))
    got = decode_shrunk(data, 64)
    width, height = fitted_size(size[1], size[0], 64)
    assert got.shape == (height, width, 3) and got.dtype == np.uint8
    slow = np.asarray(Image.fromarray(decode(data).pixels).resize((width, height), Image.Resampling.BOX))
    assert close(got, slow, 3)


def test_shrinking_twice_gives_the_same_bytes() -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encoded(kind, Image.fromarray(scene(700, 900)))
        assert np.array_equal(decode_shrunk(data, 64), decode_shrunk(data, 64))


def test_a_gray_jpeg_shrinks_to_rgb() -> None:
    assert decode_shrunk(encoded("JPEG", Image.fromarray(scene()[:, :, 0])), 30).shape == (30, 45, 3)


def interlaced(picture: NDArray[np.uint8]) -> bytes:
    """The rows of the seven passes, each with its filter byte. Pillow reads them and can't write them."""
    passes = [picture[y::dy, x::dx] for x, y, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                                                         (1, 0, 2, 2), (0, 1, 1, 2))]  # fmt: skip
    return b"".join(b"\0" + row.tobytes() for part in passes if part.shape[1] for row in part)


def png_of(width: int, height: int, depth: int, color: int, rows: bytes, interlace: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlace)
    return headers.PNG + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(8, 8), (9, 13), (33, 20), (90, 60)])
def test_an_interlaced_png_is_whole_with_all_of_its_rows_and_not_with_fewer(size: tuple[int, int]) -> None:
    width, height = size
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    rows = interlaced(picture)
    assert (decode(png_of(width, height, 8, 2, rows, 1)).pixels == picture).all()
    assert reason(png_of(width, height, 8, 2, rows[: -3 * width - 1], 1)) == "truncated"


@pytest.mark.parametrize(
    ("depth", "color"), [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2), (8, 4), (16, 4), (8, 6), (16, 6)]
)
@pytest.mark.parametrize("width", [8, 13, 31])
def test_a_png_of_any_depth_is_whole_with_all_of_its_rows_and_not_with_fewer(
    depth: int, color: int, width: int
) -> None:
    row = b"\0" + np.random.default_rng(0).bytes(-(-width * depth * headers.PNG_CHANNELS[color] // 8))
    assert decode(png_of(width, 10, depth, color, row * 10, 0)).pixels.shape == (10, width, 3)
    assert reason(png_of(width, 10, depth, color, row * 9, 0)) == "truncated"


def test_a_jpeg_that_ends_anywhere_before_its_image_does_is_truncated() -> None:
    for options in ({"quality": 90}, {"progressive": True}, {"exif": Image.Exif().tobytes() or b"Exif\0\0II*\0"}):
        data = encoded("JPEG", **options)
        scan = data.index(b"\xff\xda") + 20
        for cut in np.linspace(scan, len(data) - 40, 20).astype(int):
            if data[cut - 1] != 0xFF:
                assert reason(data[:cut] + b"\xff\xd9") == "truncated"


def tiff_of(
    width: int, height: int, rows: int, parts: int, *, planes: int = 1, tile: int = 0, orientation: int = 1
) -> bytes:
    """A plain TIFF with this number of strips of `rows` rows, or of square tiles."""
    size = tile * tile * 3 if tile else width * rows * (1 if planes > 1 else 3)
    data = np.random.default_rng(0).integers(0, 256, size * parts, np.uint8).tobytes()
    lists = {324: 325} if tile else {273: 279}
    entries = {
        256: width,
        257: height,
        258: None,
        259: 1,
        262: 2,
        274: orientation,
        277: 3,
        284: 2 if planes > 1 else 1,
    }
    entries |= {322: tile, 323: tile} if tile else {278: rows}
    ((offsets, counts),) = lists.items()
    entries |= {offsets: None, counts: None}
    at = 8 + 2 + 12 * len(entries) + 4
    extra = struct.pack("<HHH", 8, 8, 8)
    begin = at + len(extra) + 8 * parts
    tables = {offsets: [begin + i * size for i in range(parts)], counts: [size] * parts}
    directory, behind = struct.pack("<H", len(entries)), extra
    for tag, value in sorted(entries.items()):
        if tag in tables:
            packed = struct.pack(f"<{parts}I", *tables[tag])
            directory += struct.pack("<HHI", tag, 4, parts) + (
                packed if parts == 1 else struct.pack("<I", at + len(behind))
            )
            behind += packed if parts > 1 else bytes(4)
        elif value is None:
            directory += struct.pack("<HHII", tag, 3, 3, at)
        else:
            directory += struct.pack("<HHII", tag, 4, 1, value)
    return b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + behind + data


@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
@pytest.mark.parametrize("size", [(100, 50), (33, 47), (48, 48)])
def test_a_tiff_is_whole_with_all_of_its_strips_however_it_is_turned(size: tuple[int, int], orientation: int) -> None:
    width, height = size
    strips = -(-height // 10)
    assert sorted(decode(tiff_of(width, height, 10, strips, orientation=orientation)).pixels.shape[:2]) == sorted(size)
    assert reason(tiff_of(width, height, 10, strips - 1, orientation=orientation)) == "truncated"


def test_a_tiff_without_all_of_its_tiles_or_planes_is_truncated() -> None:
    assert decode(tiff_of(40, 30, 0, 6, tile=16)).pixels.shape == (30, 40, 3)
    assert reason(tiff_of(40, 30, 0, 5, tile=16)) == "truncated"
    assert decode(tiff_of(40, 30, 30, 3, planes=3)).pixels.shape == (30, 40, 3)
    assert reason(tiff_of(40, 30, 30, 2, planes=3)) == "truncated"


def test_half_a_jpeg_is_found_behind_restart_markers_and_other_flaws() -> None:
    whole = encoded("JPEG", quality=90)
    half = whole[: len(whole) // 2].rstrip(b"\xff") + b"\xff\xd9"
    restarting = encoded("JPEG", quality=90, restart_marker_rows=1)
    markers = [at for at in range(len(restarting) - 1) if restarting[at] == 0xFF and 0xD0 <= restarting[at + 1] <= 0xD7]
    assert reason(restarting[: markers[len(markers) // 2]] + b"\xff\xd9") == "truncated"
    for flaw in (lambda data: data.replace(b"JFIF\0\1\1", b"JFIF\0\2\1"), lambda data: data[:20] + b"xyz" + data[20:]):
        assert decode(flaw(whole)).pixels.shape == decode(whole).pixels.shape
        assert reason(flaw(half)) == "truncated"
