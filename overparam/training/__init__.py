"""Training loops, ensembles, losses, schedules."""

from overparam.training.balance_break import balance_break_step, estimate_sigma_r
from overparam.training.checkpoint import Checkpoint
from overparam.training.cost import CostCounter
from overparam.training.cross_entropy_method import CemResult, cem
from overparam.training.data import Batch, MemberData
from overparam.training.ensemble import Ensemble
from overparam.training.evaluate import accuracy, predict
from overparam.training.factor_trace import FactorTrace, log_spaced_steps
from overparam.training.factored_gd import (
    DivergenceError,
    FactoredDescent,
    accelerated_factored_gd,
    factored_gd,
    random_factors,
)
from overparam.training.fit import FitTrace, fit
from overparam.training.losses import cross_entropy, mse
from overparam.training.mesa import MESA
from overparam.training.orders import batch_orders
from overparam.training.outputs import all_outputs
from overparam.training.recipe import Recipe
from overparam.training.recomputed_saf import RecomputedSAF
from overparam.training.running import Callback, Fit
from overparam.training.saf import SAF
from overparam.training.sam import SAM
from overparam.training.schedules import Schedule, constant, cosine, multistep
from overparam.training.state_bytes import state_bytes
from overparam.training.task import Task
from overparam.training.train_model import History, mean_loss, train_model
from overparam.training.trajectory_buffer import TrajectoryBuffer
from overparam.training.trajectory_loss import squared_trajectory_loss, trajectory_loss
from overparam.training.trajectory_term import BalancedLambda

__all__ = [
    "MESA",
    "SAF",
    "SAM",
    "BalancedLambda",
    "Batch",
    "Callback",
    "CemResult",
    "Checkpoint",
    "CostCounter",
    "DivergenceError",
    "Ensemble",
    "FactorTrace",
    "FactoredDescent",
    "Fit",
    "FitTrace",
    "History",
    "MemberData",
    "Recipe",
    "RecomputedSAF",
    "Schedule",
    "Task",
    "TrajectoryBuffer",
    "accelerated_factored_gd",
    "accuracy",
    "all_outputs",
    "balance_break_step",
    "batch_orders",
    "cem",
    "constant",
    "cosine",
    "cross_entropy",
    "estimate_sigma_r",
    "factored_gd",
    "fit",
    "log_spaced_steps",
    "mean_loss",
    "mse",
    "multistep",
    "predict",
    "random_factors",
    "squared_trajectory_loss",
    "state_bytes",
    "train_model",
    "trajectory_loss",
]
