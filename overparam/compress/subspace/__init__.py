"""Training in a random subspace of the weights, and the compressed model that comes of it."""

from overparam.compress.subspace.ensemble import SubspaceEnsemble
from overparam.compress.subspace.fastfood_projection import FastfoodProjection
from overparam.compress.subspace.hadamard import fwht
from overparam.compress.subspace.initialisation import he_normal, he_normal_members
from overparam.compress.subspace.layerwise import LayerwiseProjection, share_dimensions
from overparam.compress.subspace.layout import ParameterLayout
from overparam.compress.subspace.model import ProjectionKind, Structure, SubspaceModel
from overparam.compress.subspace.philox import PhiloxStream
from overparam.compress.subspace.policies import (
    SOLVED,
    SubspacePolicies,
    search_policies,
)
from overparam.compress.subspace.projections import (
    CoordinateProjection,
    DenseProjection,
    Projection,
)
from overparam.compress.subspace.quantise import BitSearch, QuantisedVector, fewest_bits
from overparam.compress.subspace.quantised_runs import (
    quantise_full,
    quantise_runs,
    round_trip_error,
)
from overparam.compress.subspace.runs import train_and_score, train_networks, train_subspaces
from overparam.compress.subspace.search import SubspaceSearch, affordable_projection
from overparam.compress.subspace.sparse_projection import SparseProjection
from overparam.compress.subspace.storage import SubspaceFile, load_subspace, save_subspace
from overparam.compress.subspace.toy import solve_group_sums

__all__ = [
    "SOLVED",
    "BitSearch",
    "CoordinateProjection",
    "DenseProjection",
    "FastfoodProjection",
    "LayerwiseProjection",
    "ParameterLayout",
    "PhiloxStream",
    "Projection",
    "ProjectionKind",
    "QuantisedVector",
    "SparseProjection",
    "Structure",
    "SubspaceEnsemble",
    "SubspaceFile",
    "SubspaceModel",
    "SubspacePolicies",
    "SubspaceSearch",
    "affordable_projection",
    "fewest_bits",
    "fwht",
    "he_normal",
    "he_normal_members",
    "load_subspace",
    "quantise_full",
    "quantise_runs",
    "round_trip_error",
    "save_subspace",
    "search_policies",
    "share_dimensions",
    "solve_group_sums",
    "train_and_score",
    "train_networks",
    "train_subspaces",
]
