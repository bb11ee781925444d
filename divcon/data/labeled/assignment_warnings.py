"""Warnings about labeled images that are left out, or that a score counts in a way that surprises."""

from collections.abc import Mapping, Sequence

import numpy as np

from ... import log
from ...files.text import printable
from ..images import Images
from ..index.files import Files
from ..sources.names import is_hidden, name_key
from .assignment import ClassAssignment
from .layout import Layout
from .layout_errors import enumerated_names
from .split_names import roles_of

N_EXAMPLES = 3


def warn_of_left_out(assignment: ClassAssignment, layout: Layout, images: Images) -> None:
    """Log what is left out of the labeled images, and what is not as one may expect."""
    train, test = enumerated_names(layout.train), enumerated_names(layout.test)
    if layout.untestable is not None:
        log.warning(f"{printable(layout.untestable)}/ has no folders of classes, so {test} is tested on")
    _warn_of_files(assignment.left_out, layout)
    if assignment.contradictory:
        log.warning(
            f"images in the folders of several classes: {len(assignment.contradictory):,}. They are left out: "
            f"{_examples(assignment.contradictory, images)}"
        )
    if both := sorted(assignment.test & assignment.train):
        log.warning(
            f"images in {train} and in {test}: {len(both):,}. They are tested on, and not trained on: "
            f"{_examples(both, images)}"
        )
    untrained = assignment.test_classes - assignment.train_classes
    if untrained and not assignment.splits_have_no_common_class:
        log.warning(
            f"classes without an image to train on in {train}: {len(untrained):,}. All their images in {test} count as errors: "
            f"{enumerated_names(untrained)}{similar_names(assignment)}"
        )


def similar_names(assignment: ClassAssignment) -> str:
    """Return advice on classes that have one name in the train and a similar one in the test folder; often empty."""
    train = {name_key(name): name for name in sorted(assignment.train_classes)}
    similar = [
        f"'{printable(train[name_key(name)])}' and '{printable(name)}'"
        for name in sorted(assignment.test_classes - assignment.train_classes)
        if name_key(name) in train
    ]
    more = f" and {len(similar) - N_EXAMPLES:,} more" if len(similar) > N_EXAMPLES else ""
    return f". Give each class one name: there are {', '.join(similar[:N_EXAMPLES])}{more}" if similar else ""


def _warn_of_files(left_out: Mapping[str, int], layout: Layout) -> None:
    kinds = {
        "hidden": "files with hidden names or in system folders",
        "no_class": "files outside the folders of classes",
        "other_folders": f"files in {enumerated_names(layout.left_out) or 'folders without labels'}",
    }
    some = [f"{kind}: {left_out[name]:,}" for name, kind in kinds.items() if left_out[name]]
    if some:
        log.warning(f"left out of the labeled images are {'; '.join(some)}{_validation_advice(layout)}")


def _validation_advice(layout: Layout) -> str:
    """Say how to train also on the val/ beside train/ and test/."""
    validation = [name for name, (role, _) in roles_of(layout.left_out).items() if role == "val"]
    if not layout.guessed or len(validation) != 1:
        return ""
    split = f"{layout.train[0]}+{validation[0]},{layout.test[0]}"
    return f". To train on {enumerated_names(validation)} too, type split={printable(split)}"


def _examples(positions: Sequence[int], images: Images) -> str:
    """Return the visible paths of the first few images."""
    files = Files.of(images.index)
    examples = []
    for position in positions[:N_EXAMPLES]:
        paths = [files.paths[row] for row in np.flatnonzero(files.positions == position)]
        visible = sorted(path for path in paths if not is_hidden(path))
        examples.append(" = ".join(printable(path) for path in visible[:N_EXAMPLES]))
    return ", ".join(examples) + (", ..." if len(positions) > N_EXAMPLES else "")
