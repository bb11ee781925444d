"""Command, versions and fingerprints: what is needed to do the run again."""

import json
import shlex

from ..facts import RunFacts
from ..parts import Cell, Section, Table

MOST_STAGES = 200


def provenance_section(facts: RunFacts) -> Section:
    """Return the section."""
    tables = [_command(facts), _stages(facts), _versions(facts), _options(facts)]
    damage = [f"Damaged: {message}" for message in dict.fromkeys(facts.damage)]
    return Section("provenance", "Command, versions, fingerprints", damage, tables=tables)


def command(facts: RunFacts) -> str:
    """Return the command line that makes the same run."""
    words = [f"{name}={_typed(value)}" for name, value in facts.record.typed.items()]
    return shlex.join(["divcon", "run", *(facts.record.data or ["DATA"]), f"out={facts.folder.name}", *words])


def _typed(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _command(facts: RunFacts) -> Table:
    record = facts.record
    machine = ", ".join(f"{name} {value}" for name, value in record.machine.items())
    rows: list[list[Cell]] = [
        ["command", command(facts)],
        ["fingerprint of the images", record.images],
        ["images used", record.used],
        ["machine", machine],
    ]
    return Table("The run", ["", ""], rows)


def _stages(facts: RunFacts) -> Table:
    rows = [[stage.name, stage.state, stage.digest or "-"] for stage in facts.stages[:MOST_STAGES]]
    more = len(facts.stages) - len(rows)
    return Table(
        "SHA-256 of the record of each stage", ["stage", "state", "SHA-256"], rows, f"and {more:,} more" if more else ""
    )


def _versions(facts: RunFacts) -> Table:
    return Table("Versions", ["package", "version"], [[name, value] for name, value in facts.record.versions.items()])


def _options(facts: RunFacts) -> Table:
    rows = [[name, json.dumps(value)] for name, value in facts.record.options.items()]
    return Table("All options", ["option", "value"], rows)
