"""Parquet artifacts: addresses, manifests, tables, weights, checkpoints, cleaning."""

from overparam.store.checkpoint import Checkpoint
from overparam.store.cleaning import Removal, apply_clean, plan_clean
from overparam.store.columns import tensor_column
from overparam.store.compare import content_digest, differences, equal_tables
from overparam.store.errors import DamagedArtifact, StoreError
from overparam.store.failures import forget_failure, known_failure, record_failure
from overparam.store.folders import folder_table, write_folders
from overparam.store.manifest import Manifest, TableEntry
from overparam.store.names import (
    ArtifactRef,
    StoreNameError,
    check_key,
    check_name,
    check_tensor_name,
)
from overparam.store.pins import pin_for_page, pinned, pinned_by_run
from overparam.store.sources import TableLike
from overparam.store.store import Store
from overparam.store.tables import Tables
from overparam.store.transfer import export_safetensors, import_safetensors
from overparam.store.weights import Weights

__all__ = [
    "ArtifactRef",
    "Checkpoint",
    "DamagedArtifact",
    "Manifest",
    "Removal",
    "Store",
    "StoreError",
    "StoreNameError",
    "TableEntry",
    "TableLike",
    "Tables",
    "Weights",
    "apply_clean",
    "check_key",
    "check_name",
    "check_tensor_name",
    "content_digest",
    "differences",
    "equal_tables",
    "export_safetensors",
    "folder_table",
    "forget_failure",
    "import_safetensors",
    "known_failure",
    "pin_for_page",
    "pinned",
    "pinned_by_run",
    "plan_clean",
    "record_failure",
    "tensor_column",
    "write_folders",
]
