"""Measure, exploit and remove over-parameterization, each technique checked against its paper.

The library works without Prefect: ``from overparam.studies import load`` and
``load("parameter-sharing").run(profile="quick")`` runs a study in this process. The flows in
``flows`` and the tasks in ``tasks`` run the same steps, with the same keys and artifacts, under
Prefect.
"""

__version__ = "0.1.0"
