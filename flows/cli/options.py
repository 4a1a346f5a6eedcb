"""Options that several commands share."""

from enum import StrEnum
from typing import Annotated

import typer


class Profile(StrEnum):
    """The two sizes of a study."""

    quick = "quick"
    full = "full"


Studies = Annotated[
    list[str], typer.Argument(help="Names of studies, or paths of study files.", show_default=False)
]
ProfileOption = Annotated[
    Profile, typer.Option("--profile", "-p", help="quick: seconds; full: as the paper asks.")
]
Settings = Annotated[
    list[str],
    typer.Option(
        "--set", "-s", metavar="FIELD=VALUE", help="Override a config field (see `show`)."
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        help="Store address: a folder or a URL such as s3://bucket/place.",
        envvar="OVERPARAM_STORE",
        show_default="data/ in a checkout, else the user's data folder",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        "-w",
        min=1,
        max=256,
        help="Worker processes, one torch thread each.",
        show_default="number of cores",
    ),
]
DeviceOption = Annotated[str, typer.Option(help="Where torch computes; cpu is the reference.")]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Run again whatever is stored.")]
EphemeralOption = Annotated[
    bool, typer.Option("--ephemeral", help="Use a Prefect server that ends with this command.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON alone on standard output.")]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", help="Show Prefect's log, and tracebacks of errors.")
]
