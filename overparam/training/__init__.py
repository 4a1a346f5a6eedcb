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
from overparam.training.member_rates import MemberRates
from overparam.training.mesa import MESA
from overparam.training.orders import batch_orders
from overparam.training.outputs import all_outputs
from overparam.training.rate_search import RateSearch, rate_search
from overparam.training.recipe import Recipe
from overparam.training.recomputed_saf import RecomputedSAF
from overparam.training.run_table import run_table
from overparam.training.running import Callback, Fit
from overparam.training.saf import SAF
from overparam.training.sam import SAM
from overparam.training.schedules import Schedule, constant, cosine, multistep
from overparam.training.sensing_descents import (
    FactorStart,
    SensingDescent,
    descend_side_by_side,
)
from overparam.training.sharpness_methods import SHARPNESS_METHOD, SharpnessMethod
from overparam.training.spared_adamw import spared_adamw
from overparam.training.state_bytes import state_bytes, state_bytes_after
from overparam.training.step_clock import StepClock
from overparam.training.target_scale import TargetScale, target_scale
from overparam.training.task import Task
from overparam.training.train_model import History, mean_loss, train_model
from overparam.training.trajectory_buffer import TrajectoryBuffer
from overparam.training.trajectory_loss import squared_trajectory_loss, trajectory_loss
from overparam.training.trajectory_term import BalancedLambda

__all__ = [
    "MESA",
    "SAF",
    "SAM",
    "SHARPNESS_METHOD",
    "BalancedLambda",
    "Batch",
    "Callback",
    "CemResult",
    "Checkpoint",
    "CostCounter",
    "DivergenceError",
    "Ensemble",
    "FactorStart",
    "FactorTrace",
    "FactoredDescent",
    "Fit",
    "FitTrace",
    "History",
    "MemberData",
    "MemberRates",
    "RateSearch",
    "Recipe",
    "RecomputedSAF",
    "Schedule",
    "SensingDescent",
    "SharpnessMethod",
    "StepClock",
    "TargetScale",
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
    "descend_side_by_side",
    "estimate_sigma_r",
    "factored_gd",
    "fit",
    "log_spaced_steps",
    "mean_loss",
    "mse",
    "multistep",
    "predict",
    "random_factors",
    "rate_search",
    "run_table",
    "spared_adamw",
    "squared_trajectory_loss",
    "state_bytes",
    "state_bytes_after",
    "target_scale",
    "train_model",
    "trajectory_loss",
]
