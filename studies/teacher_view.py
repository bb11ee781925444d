"""What the teachers of DnC see: the view of the student, or the center of the image (DnC, Table 11), five seeds.

python -m studies teacher_view jobs=2
"""

from studies.instrument.table import Run

PASSES = {"fashion": 3, "openclipart": 4}
TABLES = {"fashion": "Fashion-MNIST, 4,000 images, 3 passes", "openclipart": "Open Clip Art, 4 passes"}
SAME, CENTER = LINES = "the student's view", "the center view"


def runs() -> list[Run]:
    """Ordered by seed: a study that is stopped has the same seeds of everything."""
    return [one(data, line, seed) for seed in range(5) for data in PASSES for line in LINES]


def one(data: str, line: str, seed: int) -> Run:
    view = "center" if line == CENTER else "same"
    options = {"encoder": "slim10", "size": 32, "epochs": PASSES[data], "student.teacher_view": view}
    return Run(
        table=TABLES[data], line=line, data=data, recipe="dnc", seed=seed, options=options,
        against=SAME if line == CENTER else None,
    )  # fmt: skip
