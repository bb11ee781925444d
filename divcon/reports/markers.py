"""The color and the shape of each cluster in plots.

The ten colors are those of Petroff 2021 (https://arxiv.org/abs/2107.02270), chosen so that people with any color vision
tell them apart; report.css has them as --color-0 to --color-9. Four shapes make twenty markers of them that differ.
"""

from dataclasses import dataclass

COLORS = 10
SHAPES = (  # paths of SVG, around 0 0, of about equal area
    "M-4.5 0A4.5 4.5 0 1 1 4.5 0A4.5 4.5 0 1 1-4.5 0Z",
    "M-4-4H4V4H-4Z",
    "M0-5.6L5.4 3.8H-5.4Z",
    "M0-5.9L5.9 0L0 5.9L-5.9 0Z",
)


@dataclass(frozen=True)
class Marker:
    """The number of a color and the number of a shape."""

    color: int
    shape: int

    @property
    def path(self) -> str:
        """The outline, as the path of an SVG whose middle is 0 0."""
        return SHAPES[self.shape]


def marker(cluster: int) -> Marker:
    """Return the marker of a cluster; of 20 clusters that follow one another, no two have the same."""
    return Marker(cluster % COLORS, cluster % len(SHAPES))
