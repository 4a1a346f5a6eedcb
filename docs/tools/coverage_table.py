"""Write the coverage table of docs/evidence.md: how often intervals hold the true mean.

Run it with the project's Python after a change to the intervals,
`python docs/tools/coverage_table.py`. It takes about four minutes on one core
and gives the same table every time.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from overparam.evidence import mean

PAGE = Path(__file__).parents[1] / "evidence.md"
BEGIN, END = "<!-- coverage:begin -->", "<!-- coverage:end -->"
SIZES = (3, 5, 10, 29, 30, 100)
REGION = (0.0, None)

Sampler = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]

# Each with true mean 0, so that one comparison serves all.
DISTRIBUTIONS: dict[str, Sampler] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "uniform": lambda rng, shape: rng.uniform(-1, 1, shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape) - 1,
    "lognormal (sigma 0.5)": lambda rng, shape: rng.lognormal(0, 0.5, shape) - np.exp(0.125),
    "lognormal (sigma 1)": lambda rng, shape: rng.lognormal(0, 1, shape) - np.exp(0.5),
    "Student t, 3 degrees of freedom": lambda rng, shape: rng.standard_t(3, shape),
    "Bernoulli 0.9": lambda rng, shape: (rng.random(shape) < 0.9) - 0.9,
}


def coverage(sampler: Sampler, n: int, simulations: int, level: float) -> float:
    """Share of simulated samples of n values whose interval holds the true mean."""
    draws = sampler(np.random.Generator(np.random.Philox(key=n)), (simulations, n))
    found = (mean(draw, region=REGION, level=level) for draw in draws)
    return sum(e.low <= 0.0 <= e.high for e in found) / simulations


def table(simulations: int, level: float) -> str:
    """The table as Markdown, a row per distribution and a column per sample size."""
    methods = [mean(np.arange(n), region=REGION).method for n in SIZES]
    heads = [f"{method}, n = {n}" for n, method in zip(SIZES, methods, strict=True)]
    lines = [
        "| distribution | " + " | ".join(heads) + " |",
        "|---|" + "---:|" * len(SIZES),
    ]
    for name, sampler in DISTRIBUTIONS.items():
        shares = [coverage(sampler, n, simulations, level) for n in SIZES]
        lines.append(f"| {name} | " + " | ".join(f"{share:.3f}" for share in shares) + " |")
    error = np.sqrt(level * (1 - level) / simulations)
    lines += [
        "",
        f"Nominal {level:g}; {simulations:,} samples a cell, standard error {error:.3f}.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Replace what stands between the two markers of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=2_000)
    parser.add_argument("--level", type=float, default=0.95)
    options = parser.parse_args()
    made = table(options.simulations, options.level)
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
