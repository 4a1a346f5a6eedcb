"""A toy study of one long step that saves its state, and can be interrupted."""

from pathlib import Path

import pandas as pd
import torch

from overparam.study import Field, Study, StudyConfig


class Config(StudyConfig):
    steps: int = Field(6, ge=1, description="steps of descent")
    stop_file: str = Field("", description="interrupt at the third step while this file exists")


study = Study("resume", theme="toys", config=Config, question="Does it go on where it was?")


@study.train(volatile=("seconds", "of_this_call"))
def descent(*, steps, stop_file, seeds, checkpoint):
    generator = torch.Generator().manual_seed(seeds[0])
    weight = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=0.1)
    losses, start = [], 0
    saved = checkpoint.load()
    if saved is not None:
        start, losses = saved["step"], list(saved["losses"])
        optimizer.load_state_dict(saved["optimizer"])
        generator.set_state(saved["generator"])
        with torch.no_grad():
            weight.copy_(saved["weight"])
    for step in range(start, steps):
        if step == 3 and stop_file and Path(stop_file).exists():
            raise RuntimeError("interrupted")
        loss = (weight - torch.randn(3, generator=generator)).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        checkpoint.save(
            {
                "step": step + 1,
                "losses": losses,
                "optimizer": optimizer.state_dict(),
                "generator": generator.get_state(),
                "weight": weight.detach(),
            }
        )
    of_this_call = [step >= start for step in range(steps)]
    return pd.DataFrame({"loss": losses, "of_this_call": of_this_call})
