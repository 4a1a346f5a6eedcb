import re

import pytest

from overparam.reporting.lineage import NODE, lineage
from overparam.study import make_plan


@pytest.fixture(params=["whole", "broken", "coin"])
def made(request):
    return request.getfixturevalue(request.param)


def drawn(made, records=()):
    return lineage(made.plan, records)


def test_one_node_per_step_and_the_report(made):
    names = [node.name for node in drawn(made).nodes]
    assert names == [*made.plan.study.steps, "report"]


def test_nodes_do_not_overlap_and_lie_in_the_drawing(made):
    graph = drawn(made)
    for index, node in enumerate(graph.nodes):
        assert node.x >= 0 and node.y >= 0
        assert node.x + NODE[0] <= graph.width and node.y + NODE[1] <= graph.height
        for other in graph.nodes[:index]:
            assert node.x != other.x or abs(node.y - other.y) >= NODE[1]


def test_edges_lead_right_from_node_to_node(made):
    graph = drawn(made)
    study = made.plan.study
    middles = {node.name: node.y + NODE[1] / 2 for node in graph.nodes}
    lefts = {node.name: node.x for node in graph.nodes}
    readers = [*study.claims, *study.figures]
    wanted = {(up.name, step.name) for step in study.steps.values() for up in step.inputs.values()}
    wanted |= {(step.name, "report") for reader in readers for step in reader.inputs.values()}
    found = set()
    for path in graph.paths:
        numbers = [tuple(map(float, pair)) for pair in re.findall(r"(-?[\d.]+),(-?[\d.]+)", path)]
        assert [x for x, _ in numbers[::3]] == sorted(x for x, _ in numbers[::3])
        (x0, y0), (x1, y1) = numbers[0], numbers[-1]
        (start,) = [n for n in lefts if lefts[n] + NODE[0] == x0 and middles[n] == y0]
        (stop,) = [n for n in lefts if lefts[n] == x1 and middles[n] == y1]
        found.add((start, stop))
    assert found == wanted and len(graph.paths) == len(wanted)


def test_edge_that_skips_a_layer_passes_beside_its_nodes(made):
    graph = drawn(made)
    for path in graph.paths:
        for x, level in re.findall(r"L(-?[\d.]+),(-?[\d.]+)", path):
            for node in graph.nodes:
                if node.x + NODE[0] == float(x):
                    assert not node.y < float(level) < node.y + NODE[1]


def test_states_are_told(broken, gallery):
    from overparam.study import StepRecord

    def record(state, **values):
        return StepRecord("gallery", "hung", "train", {}, "k", state, **values)

    graph = lineage(
        make_plan(gallery), [record("cached", seconds=1.5, bytes=2000), record("failed")]
    )
    nodes = {node.name: node for node in graph.nodes}
    assert nodes["hung"].state == "failed"
    assert nodes["hung"].lines == ("train", "1 failed, 1 cached", "1.5 s · 2.0 kB")
    assert nodes["walls"].state == "not run"
