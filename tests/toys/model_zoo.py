"""Small networks with what breaks compressors: ties, shared modules, odd convolutions, odd inputs.

``ZOO[name]`` is ``(factory, inputs, classes)``: a module-level function without arguments that
makes the same network every time, a batch of :data:`SAMPLES` inputs (tensor, tuple or dict), and
the number of classes, 0 for a regression.
"""

from collections.abc import Callable
from functools import wraps
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from overparam.models import seeded

SAMPLES = 6
SEED = 5


class Toy(NamedTuple):
    factory: Callable[[], nn.Module]
    inputs: Tensor | tuple[Tensor, ...] | dict[str, Tensor]
    classes: int

    def targets(self) -> Tensor:
        """Labels 0, 1, ..., or numbers for a regression."""
        if self.classes:
            return torch.arange(SAMPLES) % self.classes
        return torch.linspace(-1, 1, SAMPLES)

    def call(self, model: nn.Module) -> Tensor:
        """The model's outputs (B, C) or (B,) on the inputs, unwrapped."""
        if isinstance(self.inputs, dict):
            outputs = model(**self.inputs)
        elif isinstance(self.inputs, tuple):
            outputs = model(*self.inputs)
        else:
            outputs = model(self.inputs)
        return getattr(outputs, "logits", outputs)


def _same_every_time(make: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    @wraps(make)
    def factory() -> nn.Module:
        return seeded(make, SEED)

    return factory


@_same_every_time
def linear() -> nn.Module:
    """The model is the layer."""
    return nn.Linear(12, 4)


@_same_every_time
def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 24), nn.ReLU(), nn.Dropout(0.2), nn.Linear(24, 4))


@_same_every_time
def regression() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 24), nn.Tanh(), nn.Linear(24, 1), nn.Flatten(0))


@_same_every_time
def conv_bn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 4),
    )


class Residual(nn.Module):
    """A residual sum and a concatenation of branches."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.body = nn.Sequential(
            nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 8, 3, padding=1)
        )
        self.wide, self.point = nn.Conv2d(8, 6, 3, padding=1), nn.Conv2d(8, 6, 1)
        self.head = nn.Linear(20, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = x + self.body(x)
        x = torch.cat([self.wide(x), self.point(x), x], dim=1)
        return self.head(F.relu(x).mean((2, 3)))


@_same_every_time
def residual() -> nn.Module:
    return Residual()


class OddConvolutions(nn.Module):
    """Strided, dilated, grouped, depthwise, circular, one-dimensional and transposed kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.strided = nn.Conv2d(2, 8, (3, 2), stride=(2, 1), padding=(1, 0))
        self.dilated = nn.Conv2d(8, 8, 3, dilation=2, padding="same", bias=False)
        self.grouped = nn.Conv2d(8, 16, 3, groups=2, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, groups=16, padding=1, padding_mode="circular")
        self.transposed = nn.ConvTranspose2d(16, 6, 3, stride=2, groups=2, output_padding=1)
        self.norm = nn.GroupNorm(2, 6)
        self.along = nn.Conv1d(6, 6, 5, padding=2, padding_mode="reflect")
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.dilated(F.relu(self.strided(x))))
        x = F.relu(self.depthwise(F.relu(self.grouped(x))))
        x = F.relu(self.norm(self.transposed(x)))
        return self.head(self.along(x.flatten(2)).mean(2))


@_same_every_time
def odd_convolutions() -> nn.Module:
    return OddConvolutions()


class TiedDecoder(nn.Module):
    """Token embedding and decoder are one ``Parameter`` under two names; a padding row."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8, padding_idx=0)
        self.mixer = nn.Linear(8, 8)
        self.decoder = nn.Linear(8, 20)
        self.decoder.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decoder(F.gelu(self.mixer(self.embedding(tokens)))).mean(1)


@_same_every_time
def tied_decoder() -> nn.Module:
    return TiedDecoder()


class TiedLayers(nn.Module):
    """Two layers with their own biases and one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(12, 12), nn.Linear(12, 12)])
        self.layers[1].weight = self.layers[0].weight
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.relu(layer(x))
        return self.head(x)


@_same_every_time
def tied_layers() -> nn.Module:
    return TiedLayers()


class SharedModule(nn.Module):
    """One module under two names, called three times."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.Sequential(nn.Linear(12, 12), nn.ReLU())
        self.blocks = nn.ModuleList([block, block])
        self.again = block[0]
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + block(x)
        return self.head(self.again(x))


@_same_every_time
def shared_module() -> nn.Module:
    return SharedModule()


class ChunkSplitView(nn.Module):
    """Chunks, splits, views and a gate between layers; a buffer that the forward pass reads."""

    gain: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(12, 32)
        self.left, self.right = nn.Linear(8, 6), nn.Linear(8, 10)
        self.head = nn.Linear(16, 4)
        self.register_buffer("gain", torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.up(x).chunk(2, dim=-1)
        gated = (torch.sigmoid(gate) * value * self.gain).view(len(x), 2, 8)
        left, right = gated.split(1, dim=1)
        joined = torch.cat([self.left(left[:, 0]), self.right(right[:, 0])], dim=-1)
        return self.head(F.relu(joined))


@_same_every_time
def chunk_split_view() -> nn.Module:
    return ChunkSplitView()


class Encoder(nn.Module):
    """torch's own transformer layer, which reads some of its layers' weights directly."""

    def __init__(self) -> None:
        super().__init__()
        self.inlet = nn.Linear(5, 16)
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.1, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.inlet(x)).mean(1))


@_same_every_time
def encoder() -> nn.Module:
    return Encoder()


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(60, 10)
        self.lstm = nn.LSTM(10, 6, batch_first=True)
        self.body = nn.Linear(6, 40)
        self.head = nn.Linear(40, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden, _ = self.lstm(self.embedding(tokens))
        return self.head(F.relu(self.body(hidden[:, -1])))


@_same_every_time
def recurrent() -> nn.Module:
    return Recurrent()


class Unused(nn.Module):
    """A layer that the forward pass never reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.unused, self.head = nn.Linear(12, 16), nn.Linear(9, 7), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.relu(self.body(x)))


@_same_every_time
def unused() -> nn.Module:
    return Unused()


@_same_every_time
def frozen() -> nn.Module:
    """The first layer takes no gradient."""
    net = nn.Sequential(
        nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 24), nn.ReLU(), nn.Linear(24, 4)
    )
    net[0].requires_grad_(False)
    return net


class TwoInputs(nn.Module):
    """Two inputs, handed over as a dict or as a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 8, 3, padding=1)
        self.fc = nn.Linear(5, 16)
        self.head = nn.Linear(24, 4)

    def forward(self, image: Tensor, numbers: Tensor) -> Tensor:
        seen = F.relu(self.conv(image)).mean((2, 3))
        return self.head(torch.cat([seen, F.relu(self.fc(numbers))], dim=1))


@_same_every_time
def two_inputs() -> nn.Module:
    return TwoInputs()


@_same_every_time
def bert() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        num_labels=4,
    )
    return transformers.BertForSequenceClassification(config)


def _inputs() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    tokens = torch.randint(1, 20, (SAMPLES, 7), generator=generator)
    mask = torch.ones(SAMPLES, 7, dtype=torch.long)
    mask[::2, 5:] = 0
    return {
        "vector": torch.randn(SAMPLES, 12, generator=generator),
        "numbers": torch.randn(SAMPLES, 5, generator=generator),
        "image": torch.randn(SAMPLES, 2, 8, 8, generator=generator),
        "sequence": torch.randn(SAMPLES, 7, 5, generator=generator),
        "tokens": tokens,
        "mask": mask,
    }


_DATA = _inputs()

ZOO: dict[str, Toy] = {
    "linear": Toy(linear, _DATA["vector"], 4),
    "mlp": Toy(mlp, _DATA["vector"], 4),
    "regression": Toy(regression, _DATA["vector"], 0),
    "conv_bn": Toy(conv_bn, _DATA["image"], 4),
    "residual": Toy(residual, _DATA["image"], 4),
    "odd_convolutions": Toy(odd_convolutions, _DATA["image"], 4),
    "tied_decoder": Toy(tied_decoder, _DATA["tokens"], 20),
    "tied_layers": Toy(tied_layers, _DATA["vector"], 4),
    "shared_module": Toy(shared_module, _DATA["vector"], 4),
    "chunk_split_view": Toy(chunk_split_view, _DATA["vector"], 4),
    "encoder": Toy(encoder, _DATA["sequence"], 4),
    "recurrent": Toy(recurrent, _DATA["tokens"], 4),
    "unused": Toy(unused, _DATA["vector"], 4),
    "frozen": Toy(frozen, _DATA["vector"], 4),
    "two_inputs": Toy(two_inputs, {"image": _DATA["image"], "numbers": _DATA["numbers"]}, 4),
    "tuple_inputs": Toy(two_inputs, (_DATA["image"], _DATA["numbers"]), 4),
    "bert": Toy(bert, {"input_ids": _DATA["tokens"], "attention_mask": _DATA["mask"]}, 4),
}
