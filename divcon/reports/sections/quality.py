"""The quality of the encoder without labels."""

from ..kept import Kept, Quality
from ..parts import Cell, Section, Table, decimals


def quality_section(kept: Kept | None) -> Section:
    """Return the section; it says what was missing where nothing could be measured."""
    quality = kept.record.quality if kept is not None else None
    if kept is None or quality is None:
        why = kept.record.missing if kept is not None else ""
        text = why or "no stage with an encoder was done when the report was made"
        return Section("quality", "Quality without labels", [f"Not measured: {text}."])
    text = (
        f"Measured on {quality.images:,} images of the sample, by the encoder of {kept.record.encoder}. These numbers need no labels. "
        "They tell a collapsed encoder from a sound one, and runs of one kind from each other; they do not replace a score."
    )
    return Section("quality", "Quality without labels", [text], tables=[_table(kept.record.encoder, quality)])


def _table(encoder: str, quality: Quality) -> Table:
    rows: list[list[Cell]] = [
        [
            "effective rank of the features (RankMe)",
            f"{quality.rank:.1f}",
            f"1 to {min(quality.dimensions, quality.images):,}; more is better",
        ],
        ["spread of the features", decimals(quality.spread), "0 (all alike) to 1"],
        [
            "silhouette of the clusters, as this encoder sees them",
            decimals(quality.silhouette),
            "-1 to 1; above 0 they are apart",
        ],
    ]
    chance = 10 / max(1, quality.agreement_images - 1)
    for name, value in quality.agreement.items():
        reading = f"by chance {chance:.3f}, at most 1; of {quality.agreement_images:,} images"
        rows.append([f"agreement of the neighbors by two views, {name}", decimals(value), reading])
    return Table(f"Measures of {encoder}", ["measure", "value", "how to read it"], rows)
