"""The tags of a TIFF that are read, and the numbers that stand for compressions and colors."""

from enum import IntEnum


class Tag(IntEnum):
    SUBFILE = 254
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    FILL_ORDER = 266
    STRIPS = 273
    ORIENTATION = 274
    SAMPLES = 277
    ROWS_PER_STRIP = 278
    STRIP_BYTES = 279
    MAX_SAMPLE = 281
    PLANAR = 284
    FAX3 = 292
    FAX4 = 293
    PREDICTOR = 317
    COLORS = 320
    TILE_WIDTH = 322
    TILE_HEIGHT = 323
    TILES = 324
    TILE_BYTES = 325
    SUBDIRECTORIES = 330
    INKS = 332
    EXTRA = 338
    FORMAT = 339
    SIGNED_MAX_SAMPLE = 341
    JPEG_TABLES = 347
    WHOLE_JPEG = 513
    JPEG_LENGTH = 514
    SUBSAMPLING = 530
    FILTERS = 33421
    DNG = 50706


TAGS = frozenset(int(tag) for tag in Tag)
WHOLE_NUMBERS = {1: "u1", 3: "u2", 4: "u4", 7: "u1", 13: "u4", 16: "u8", 18: "u8"}  # numpy's types, by the tag's type

RAW, FAX, OLD_JPEG, JPEG = 1, (2, 3, 4), 6, 7
JPEGS = (OLD_JPEG, JPEG)
COMPRESSIONS = {RAW, *FAX, 5, *JPEGS, 8, 32773, 32946, 34925, 50000}  # also LZW, deflate, PackBits, LZMA, Zstandard
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
# The number of color samples, and the bits that a sample may have, of each kind of color that is read.
READ = {
    WHITE_IS_ZERO: (1, (1, 2, 4, 8, 16)),
    BLACK_IS_ZERO: (1, (1, 2, 4, 8, 12, 16)),
    RGB: (3, (8, 16)),
    PALETTE: (1, (1, 2, 4, 8)),
    CMYK: (4, (8, 16)),
    YCBCR: (3, (8,)),
}
NAMES = {0: "gray, white is 0,", 1: "gray", 2: "RGB", 3: "palette", 4: "mask", 5: "separated", 6: "YCbCr", 8: "Lab"}
SAMPLE_NAMES = {1: "whole", 2: "signed", 3: "floating point", 4: "untyped", 5: "complex", 6: "complex"}
UNSIGNED, UNTYPED = 1, 4  # sample formats that are read as whole numbers
REDUCED = 1  # the bit of SUBFILE that marks a thumbnail
PREMULTIPLIED, UNASSOCIATED = 1, 2  # kinds of alpha, in EXTRA
