"""The undisturbed run, made once, that disturbed ones are held against."""

from pathlib import Path

import pytest
from reliability.campaign import Reference

HERE = Path(__file__).parent
SECONDS = 900


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs wait for conditions, not for seconds, and a busy machine takes its time."""
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(SECONDS))


@pytest.fixture(scope="session")
def reference(prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    """The undisturbed run of the steady toy, in a process of its own; nobody changes its store."""
    return Reference.make(tmp_path_factory.mktemp("undisturbed"))
