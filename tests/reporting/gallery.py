"""A study with everything that a page can show: verdicts, charts, scales, odd characters."""

from typing import ClassVar

import numpy as np
import pandas as pd

from overparam.evidence import exact, paired_difference, ratio
from overparam.study import Field, Paper, Study, StudyConfig

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=hacked=1>\"']]>&amp;"


class Config(StudyConfig):
    methods: tuple[str, ...] = Field(("rotated", "pruned", "dense"), description="what is compared")
    note: str = Field(HOSTILE, description='a text with <b>markup</b> & "quotes" ]]>')
    rows: int = Field(100, ge=2, description="points of the scatter plot, für α ≤ 1")
    broken: bool = Field(False, description="whether pruning fails on purpose")
    profiles: ClassVar = {"quick": {"seeds": 5}, "full": {"seeds": 8}}


study = Study(
    "gallery",
    theme="toys",
    config=Config,
    question="Are </script><script>window.hacked=2</script> and ]]>&amp; text? Été, 深度, σ²≤½?",
    paper=Paper(
        title="On Galleries <i>and</i> Their Walls",
        authors="Ø. Ünïcode, 王小明",
        year=2024,
        venue="Journal of Pages",
        arxiv="2401.00001",
    ),
)


@study.generate
def walls(*, rows, seeds):
    generator = np.random.Generator(np.random.Philox(key=seeds[0]))
    x = generator.lognormal(size=rows)
    return pd.DataFrame({"x": x, "y": x**-0.25 * generator.lognormal(sigma=0.2, size=rows)})


@study.train(each={"method": "methods", "seed": "seeds"})
def hung(walls, *, method, seed, broken):
    if broken and method == "pruned":
        raise RuntimeError(f"told to fail {HOSTILE}")
    generator = np.random.Generator(np.random.Philox(key=seed + 1000 * len(method)))
    slope = {"rotated": 0.02, "pruned": 0.10, "dense": 0.0}[method]
    compression = 2.0 ** np.arange(9)
    accuracy = 0.97 - slope * np.log2(compression) + 0.01 * generator.normal(size=9)
    return pd.DataFrame({"compression": compression, "accuracy": accuracy})


@study.compress(each={"method": "methods", "seed": "seeds"})
def lit(hung, *, method, seed):
    generator = np.random.Generator(np.random.Philox(key=seed))
    t = np.arange(1, 401)
    rate = {"rotated": 1.0, "pruned": 2.0, "dense": 0.5}[method]
    error = t**-rate * np.exp(0.2 * generator.normal())
    return pd.DataFrame({"t": t, "error": error}).assign(seconds=0.0)


@study.evaluate(partial=True)
def judged(hung, lit):
    table = hung["hung"]
    return table.groupby(["method", "seed"], sort=False)["accuracy"].mean().reset_index()


def _by_method(judged):
    table = judged["judged"].pivot(index="seed", columns="method", values="accuracy")
    return table.reindex(columns=["rotated", "pruned", "dense"])


@study.claim(
    "Rotation <b onclick='hacked=1'>beats</b> \"pruning\"",
    source="Table 2",
    arm="rotated",
    control="dense",
)
def rotation_wins(judged, *, arm):
    table = _by_method(judged)
    other = "pruned" if arm == "rotated" else "dense"
    return paired_difference(table[arm], table[other], region=(0.1, None), label="accuracy")


@study.claim("Pruning loses at most a hundredth", source="Section 3", arm="pruned", control="dense")
def pruning_is_harmless(judged, *, arm):
    table = _by_method(judged)
    other = "dense" if arm == "pruned" else "rotated"
    return paired_difference(table[arm], table[other], region=(-0.01, 0.01))


@study.claim(
    "Rotation is at least 1.16 times as accurate", source="Fig. 1", arm="rotated", control="dense"
)
def about_as_good(judged, *, arm):
    table = _by_method(judged)
    other = "pruned" if arm == "rotated" else "dense"
    parts = [ratio(table[arm], table[other], region=(1.0, None))]
    wild = table[arm] + table.index % 3
    return [*parts, paired_difference(wild, table[other], region=(1.0, None))]


@study.claim("Both are exact", source="Eq. 4", arm="rotated", control="dense")
def both_pass(judged, *, arm):
    return exact(1.0, region=(0.5, 1.5), label="σ² of walls")


@study.claim("It scales", source="Appendix", arm="rotated", control="dense", decided_at="full")
def scales(judged, *, arm):
    table = _by_method(judged)
    return ratio(table[arm] * 100, table["dense"], region=(0.5, 2000.0))


@study.figure(
    "Accuracy against compression", caption=f"Mean and 95 % t interval over seeds. {HOSTILE}"
)
def accuracy(hung):
    from overparam.reporting import charts

    frame = hung["hung"].replace("pruned", HOSTILE)
    chart = charts.band(
        frame,
        "compression",
        "accuracy",
        "method",
        log_x=True,
        x_title="compression (dense parameters / parameters kept)",
    )
    return chart + charts.reference_line(0.9, "dense, 90 %")


@study.figure("Error against iterations", caption="One line per seed.")
def errors(lit):
    from overparam.reporting import charts

    return charts.lines(lit["lit"], "t", "error", "method", each="seed", log_x=True, log_y=True)


@study.figure("Points", caption="Two charts on top of each other.")
def points(walls):
    from overparam.reporting import charts

    frame = walls["walls"].assign(kind=lambda t: np.where(t["x"] > 1, "large", "small"))
    plain = charts.scatter(frame, "x", "y", "kind")
    return charts.scatter(frame, "x", "y", "kind", log_x=True, log_y=True) & plain


@study.figure("Histogram")
def loads(lit):
    from overparam.reporting import charts

    frame = lit["lit"].query("t < 50")
    return charts.histogram(frame, "error", "method", log_x=True)


@study.figure("Bars", caption="Two charts side by side.")
def means(judged, hung):
    from overparam.reporting import charts

    both = charts.bars(judged["judged"], "method", "accuracy", title="accuracy")
    frame = hung["hung"].query("compression in (1, 16)")
    return both | charts.bars(frame, "method", "accuracy", "compression")


@study.figure("Panels", caption="A panel for each method, with axes of its own.")
def panels(hung):
    from overparam.reporting import charts

    frame = hung["hung"].query("compression < 32").replace("pruned", HOSTILE)
    return charts.points(frame, "compression", "accuracy", "compression", panel="method")


@study.figure("Too many rows")
def heavy(lit):
    import altair as alt

    return alt.Chart(lit["lit"].head(5_001)).mark_tick().encode(x="t:Q", y="error:Q")
