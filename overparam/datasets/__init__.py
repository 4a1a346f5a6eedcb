"""Generators and loaders of data."""

from overparam.datasets.batches import Batches, InMemory, Inputs
from overparam.datasets.cartpole import (
    cartpole_failed,
    cartpole_starts,
    cartpole_step,
    cartpole_vec,
)
from overparam.datasets.containers import Labelled, Split
from overparam.datasets.digit_transfer import (
    TARGETS,
    SourceTask,
    TransferTask,
    digit_source,
    digit_target,
    dihedral,
    own_target,
    signal_target,
)
from overparam.datasets.digits import digits
from overparam.datasets.files import read_arrays, read_table
from overparam.datasets.image_corruptions import CORRUPTIONS, corrupt
from overparam.datasets.indexed import IndexedDataset
from overparam.datasets.labels import permuted_labels, uniform_label_noise
from overparam.datasets.matrix_sensing import (
    SensingOperator,
    SensingProblem,
    load_sensing_problem,
    low_rank_ground_truth,
    positive_semidefinite,
)
from overparam.datasets.mnist1d import mnist1d
from overparam.datasets.own import read_labelled
from overparam.datasets.own_samples import OwnSamples, read_batches, read_schema
from overparam.datasets.own_source import own_samples
from overparam.datasets.random_functions import RandomFunction, random_function
from overparam.datasets.samples import member_samples, split_tables
from overparam.datasets.sensing_tables import problem_kinds, read_sensing, sensing_tables
from overparam.datasets.splits import permutation, stratified_split
from overparam.datasets.standardize import Standardizer

__all__ = [
    "CORRUPTIONS",
    "TARGETS",
    "Batches",
    "InMemory",
    "IndexedDataset",
    "Inputs",
    "Labelled",
    "OwnSamples",
    "RandomFunction",
    "SensingOperator",
    "SensingProblem",
    "SourceTask",
    "Split",
    "Standardizer",
    "TransferTask",
    "cartpole_failed",
    "cartpole_starts",
    "cartpole_step",
    "cartpole_vec",
    "corrupt",
    "digit_source",
    "digit_target",
    "digits",
    "dihedral",
    "load_sensing_problem",
    "low_rank_ground_truth",
    "member_samples",
    "mnist1d",
    "own_samples",
    "own_target",
    "permutation",
    "permuted_labels",
    "positive_semidefinite",
    "problem_kinds",
    "random_function",
    "read_arrays",
    "read_batches",
    "read_labelled",
    "read_schema",
    "read_sensing",
    "read_table",
    "sensing_tables",
    "signal_target",
    "split_tables",
    "stratified_split",
    "uniform_label_noise",
]
