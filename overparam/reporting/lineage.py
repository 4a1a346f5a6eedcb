"""The lineage of a run as a small graph: one node per step, layered from left to right."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from overparam.reporting.words import plural, seconds, size
from overparam.study import Claim, Figure, Plan, Step, StepRecord

NODE = (156.0, 80.0)
THREAD = 14.0
"""Height kept free where an edge passes a layer."""
GAPS = (34.0, 18.0)
SWEEPS = 4
WORST_FIRST = ("failed", "skipped", "completed", "cached")


@dataclass(frozen=True)
class Node:
    """A step in the graph; ``x`` and ``y`` are its upper left corner."""

    name: str
    state: str
    lines: tuple[str, ...]
    x: float
    y: float


@dataclass(frozen=True)
class Lineage:
    """Nodes, edges (as SVG paths) and the size of the drawing."""

    nodes: tuple[Node, ...]
    paths: tuple[str, ...]
    width: float
    height: float


def lineage(plan: Plan, records: Sequence[StepRecord]) -> Lineage:
    """Lay out the steps of a plan and its report, with what became of them."""
    upstream = _upstream(plan)
    layers, threads = _layers(upstream)
    places = _places(layers)
    found: dict[str, list[StepRecord]] = {}
    for record in records:
        found.setdefault(_name(plan, record.study, record.step), []).append(record)
    nodes = tuple(
        _node(name, found.get(name, []), *places[name], *_described(plan, name))
        for name in upstream
    )
    paths = tuple(_path([places[stop] for stop in stops]) for stops in threads)
    width = len(layers) * (NODE[0] + GAPS[0]) - GAPS[0]
    return Lineage(nodes, paths, width, max(y for _, y in places.values()) + NODE[1])


def _name(plan: Plan, study: str, step: str) -> str:
    return step if study == plan.study.name else f"{study}/{step}"


def _upstream(plan: Plan) -> dict[str, list[str]]:
    """The names that each step reads; the report reads what claims and figures do."""
    steps: dict[Step, None] = dict.fromkeys(cell.step for cell in plan.cells)
    graph = {
        _name(plan, s.study, s.name): [_name(plan, u.study, u.name) for u in s.inputs.values()]
        for s in steps
    }
    readers: list[Claim | Figure] = [*plan.study.claims, *plan.study.figures]
    read = dict.fromkeys(step for reader in readers for step in reader.inputs.values())
    return {**graph, "report": [_name(plan, step.study, step.name) for step in read]}


def _described(plan: Plan, name: str) -> tuple[str, int]:
    """Stage and number of cells."""
    cells = [c for c in plan.cells if _name(plan, c.step.study, c.step.name) == name]
    return (cells[0].step.stage, len(cells)) if cells else ("report", 1)


def _layers(graph: dict[str, list[str]]) -> tuple[list[list[str]], list[list[str]]]:
    """Names by depth, with a slot in every layer that an edge passes; and each edge's stops."""
    depth: dict[str, int] = {}
    for name, above in graph.items():
        depth[name] = 1 + max((depth[up] for up in above), default=-1)
    if graph["report"] == []:
        depth["report"] = max(depth.values())
    layers: list[list[str]] = [[] for _ in range(max(depth.values()) + 1)]
    for name in graph:
        layers[depth[name]].append(name)
    threads = []
    for name, above in graph.items():
        for up in above:
            stops = [f"{up}\0{name}\0{at}" for at in range(depth[up] + 1, depth[name])]
            for at, stop in enumerate(stops, depth[up] + 1):
                layers[at].append(stop)
            threads.append([up, *stops, name])
    return _untangled(layers, threads), threads


def _untangled(layers: list[list[str]], threads: list[list[str]]) -> list[list[str]]:
    """Fewer crossings: order each layer by the mean place of its neighbours, to and fro."""
    near: dict[str, list[str]] = {}
    for stops in threads:
        for one, other in pairwise(stops):
            near.setdefault(one, []).append(other)
            near.setdefault(other, []).append(one)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        order = range(1, len(layers)) if forward else range(len(layers) - 2, -1, -1)
        for index in order:
            beside = layers[index - 1 if forward else index + 1]
            layers[index] = _pulled(layers[index], beside, near)
    return layers


def _pulled(layer: list[str], beside: list[str], near: dict[str, list[str]]) -> list[str]:
    """The layer ordered by its neighbours in the layer beside it."""
    rank = {name: place for place, name in enumerate(beside)}
    pull = {
        name: fmean([rank[n] for n in near.get(name, []) if n in rank] or [place])
        for place, name in enumerate(layer)
    }
    return sorted(layer, key=pull.__getitem__)


def _height(name: str) -> float:
    return THREAD if "\0" in name else NODE[1]


def _places(layers: list[list[str]]) -> dict[str, tuple[float, float]]:
    heights = [sum(map(_height, layer)) + GAPS[1] * (len(layer) - 1) for layer in layers]
    places = {}
    for index, layer in enumerate(layers):
        y = (max(heights) - heights[index]) / 2
        for name in layer:
            places[name] = (index * (NODE[0] + GAPS[0]), y)
            y += _height(name) + GAPS[1]
    return places


def _path(corners: list[tuple[float, float]]) -> str:
    """A smooth line from the right side of the first stop to the left side of the last."""
    heights = [NODE[1], *[THREAD] * (len(corners) - 2), NODE[1]]
    levels = [y + height / 2 for (_, y), height in zip(corners, heights, strict=True)]
    bend = GAPS[0] / 2
    path = ""
    for index in range(1, len(corners)):
        start, stop = corners[index - 1][0] + NODE[0], corners[index][0]
        before, after = levels[index - 1], levels[index]
        path += f" L{start:g},{before:g}" if path else f"M{start:g},{before:g}"
        path += f" C{start + bend:g},{before:g} {stop - bend:g},{after:g} {stop:g},{after:g}"
    return path


def _node(name: str, records: list[StepRecord], x: float, y: float, stage: str, cells: int) -> Node:
    states = Counter[str](record.state for record in records)
    worst = next((state for state in WORST_FIRST if states[state]), "not run")
    if len(states) == 1:
        summary = worst if cells == 1 else f"{plural(cells, 'cell')}, {worst}"
    else:
        summary = ", ".join(f"{states[s]} {s}" for s in WORST_FIRST if states[s]) or "not run"
    spent = seconds(sum(record.seconds for record in records))
    lines = (stage, summary, f"{spent} · {size(sum(record.bytes for record in records))}")
    return Node(name, worst, lines, x, y)
