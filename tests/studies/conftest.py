"""What the tests of several studies share."""

import pytest

from overparam.evidence import confidence_level, judge
from overparam.store import Tables


@pytest.fixture
def judged_without():
    """Judges every claim of a run on the rows of its tables that some column's values leave."""

    def judged(results, **kept):
        found = {}
        for claim in results.plan.study.claims:
            tables = {
                name: _only(results.tables(step.name), kept) for name, step in claim.inputs.items()
            }
            with confidence_level(0.99):
                arm, control = (
                    claim.evidence(tables, results.plan.config, of_control=of_control)
                    for of_control in (False, True)
                )
            found[claim.name] = judge(arm, control)
        return found

    return judged


def _only(tables, kept):
    frames = {}
    for name in tables:
        if "tensor" in tables.columns(name):  # weights, which no claim reads
            continue
        frame = tables[name]
        for column, values in kept.items():
            if column in frame:
                frame = frame[frame[column].isin(values)].reset_index(drop=True)
        frames[name] = frame
    return Tables.of(frames)
