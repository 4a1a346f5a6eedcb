"""Write requirements.lock: the newest versions that resolve together, all extras included.

Run by ``make lock``. The lock names versions only, no index and no hashes: the same file serves a
machine with a CPU build of torch and one with another.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
TORCH = "torch==2.13.0"
PREFECT = "prefect==3.9.1"
HEADER = "# Written by `make lock`: exact versions of everything, extras included.\n"


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        wanted += extra
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", python.parent.parent], check=True)
        # torch first: another package asking for it would bring a build of another kind.
        for chosen in ([TORCH], [TORCH, PREFECT, *wanted]):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *chosen], check=True)
        frozen = subprocess.run(
            [python, "-m", "pip", "freeze"], check=True, capture_output=True, text=True
        ).stdout
    pinned = [line for line in frozen.splitlines() if re.fullmatch(r"[\w.-]+==\S+", line)]
    # `torch==2.13.0+cpu` names one kind of build; without the tail any build of it will do.
    lines = [line.partition("+")[0] for line in pinned]
    (ROOT / "requirements.lock").write_text(HEADER + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
