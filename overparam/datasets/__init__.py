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
from overparam.datasets.digits import DIGITS_FILE, digits
from overparam.datasets.files import read_arrays, read_table
from overparam.datasets.image_corruptions import CORRUPTIONS, corrupt, corrupted_members
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
from overparam.datasets.noisy_parts import noisy_parts
from overparam.datasets.own import read_labelled
from overparam.datasets.own_images import read_images
from overparam.datasets.own_samples import OwnSamples, read_batches, read_schema
from overparam.datasets.own_source import own_samples
from overparam.datasets.random_functions import RandomFunction, random_function
from overparam.datasets.samples import (
    member_samples,
    parts_tables,
    samples_table,
    split_tables,
)
from overparam.datasets.sensing_tables import (
    drawn_sensing_tables,
    own_sensing_tables,
    problem_kinds,
    problem_rank,
    read_sensing,
    sensing_tables,
)
from overparam.datasets.shuffled_splits import SHUFFLED_SOURCES, shuffled_splits
from overparam.datasets.splits import permutation, stratified_split
from overparam.datasets.standardize import Standardizer
from overparam.datasets.train_test import TrainTest

__all__ = [
    "CORRUPTIONS",
    "DIGITS_FILE",
    "SHUFFLED_SOURCES",
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
    "TrainTest",
    "TransferTask",
    "cartpole_failed",
    "cartpole_starts",
    "cartpole_step",
    "cartpole_vec",
    "corrupt",
    "corrupted_members",
    "digit_source",
    "digit_target",
    "digits",
    "dihedral",
    "drawn_sensing_tables",
    "load_sensing_problem",
    "low_rank_ground_truth",
    "member_samples",
    "mnist1d",
    "noisy_parts",
    "own_samples",
    "own_sensing_tables",
    "own_target",
    "parts_tables",
    "permutation",
    "permuted_labels",
    "positive_semidefinite",
    "problem_kinds",
    "problem_rank",
    "random_function",
    "read_arrays",
    "read_batches",
    "read_images",
    "read_labelled",
    "read_schema",
    "read_sensing",
    "read_table",
    "samples_table",
    "sensing_tables",
    "shuffled_splits",
    "signal_target",
    "split_tables",
    "stratified_split",
    "uniform_label_noise",
]
