"""The report of a run, from what its folder says and what was kept of its images."""

from ..clustering.features import Features
from ..files.text import printable
from ..nets.trained import Trained
from .facts import RunFacts
from .kept import Kept
from .map import ImageMap, draw_map
from .page import Page, render
from .parts import Section
from .sections.clusters import clusters_section
from .sections.collection import collection_section
from .sections.cost import cost_section
from .sections.curves import curves_section
from .sections.provenance import provenance_section
from .sections.quality import quality_section
from .sections.scores import scores_section
from .sections.summary import summary_lines


def draw_report(facts: RunFacts, kept: Kept | None) -> str:
    """Return the HTML of a report. Without `kept` it has what the folder of the run says, and no map."""
    sections = [section for section in _sections(facts, kept) if section is not None]
    notices = [f"A part of the run can't be read: {message}" for message in dict.fromkeys(facts.damage)]
    notices += _notices(facts, kept)
    title = printable(facts.folder.resolve().name)
    return render(Page(title, notices, summary_lines(facts, kept), sections, _map(facts, kept)))


def _map(facts: RunFacts, kept: Kept | None) -> ImageMap | None:
    """Return the map of the sample, if an encoder has seen the sample."""
    sample = None if kept is None else kept.sample()
    if kept is None or sample is None or sample.features is None:
        return None
    if not kept.record.whiten:
        return draw_map(sample, Features(sample.features, None))
    encoder = facts.folder / kept.record.encoder
    return draw_map(sample, Features.of(sample.features, Trained.load(encoder).whitening))


def _sections(facts: RunFacts, kept: Kept | None) -> list[Section | None]:
    return [
        clusters_section(facts, kept) if kept is not None else None,
        collection_section(facts, kept),
        curves_section(facts),
        scores_section(facts),
        quality_section(kept),
        cost_section(facts),
        provenance_section(facts),
    ]


def _notices(facts: RunFacts, kept: Kept | None) -> list[str]:
    """Messages about parts that are missing on the page, with the command that brings them."""
    notices = []
    if not facts.is_done:
        notices.append("The run is not finished. This page shows what there is; the end of the run writes it again.")
    if kept is None:
        notices.append(
            "The index of the collection is not there or damaged, so the page shows no images and no clusters."
        )
    elif kept.record.missing:
        notices.append(f"There are no pictures on this page: {kept.record.missing}.")
    return notices
