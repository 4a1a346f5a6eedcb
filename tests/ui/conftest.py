"""A browser that shows the session's Prefect UI, and a served toy study."""

import pytest
from headless import chromium
from prefect_ui import Ui, serving


@pytest.fixture(scope="session")
def ui(prefect_url, tmp_path_factory):
    driver = chromium(tmp_path_factory.mktemp("chromium"))
    yield Ui(driver, prefect_url.removesuffix("/api"))
    driver.quit()


@pytest.fixture(scope="module")
def served(prefect_api, tmp_path_factory):
    with serving(tmp_path_factory.mktemp("served")) as found:
        yield found
