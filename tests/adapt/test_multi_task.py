"""One backbone serves requests of several tasks in one batch."""

import threading

import pytest
import torch

from overparam.adapt import MultiTask, inject_ssf, replace_head
from overparam.models import ResidualMLP, TinyConvNeXt, TinyViT, seeded


def task_model(factory, seed, classes, learn="both"):
    model = replace_head(seeded(factory, 0), classes, seed=seed, std=0.5)
    return inject_ssf(model, std=0.3, seed=seed, learn=learn).eval()


@pytest.mark.parametrize("factory", [TinyViT, TinyConvNeXt, ResidualMLP])
def test_mixed_batch_equals_each_task_alone(factory):
    learns = {"a": "both", "b": "scale", "c": "both"}
    models = {t: task_model(factory, i, 3 + i, learns[t]) for i, t in enumerate("abc")}
    server = MultiTask(models)
    x = torch.randn(7, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    tasks = ["b", "a", "c", "c", "a", "b", "b"]
    logits = server(x, tasks)
    assert logits.shape == (7, 5)
    for i, task in enumerate(tasks):
        alone = models[task](x[i : i + 1])[0]
        torch.testing.assert_close(logits[i, : len(alone)], alone, rtol=0, atol=2e-5)
        assert torch.isneginf(logits[i, len(alone) :]).all()
    numbers = torch.tensor([server.tasks.index(task) for task in tasks])
    assert torch.equal(server(x, numbers), logits)


def test_backbone_is_shared_and_detached():
    models = {str(i): task_model(ResidualMLP, i, 10) for i in range(4)}
    server = MultiTask(models)
    single = sum(p.numel() for p in ResidualMLP().parameters())
    per_task = 2304 + 650
    assert sum(t.numel() for t in server.state_dict().values()) == single + 4 * per_task
    before = server(torch.ones(1, 64), ["2"])
    with torch.no_grad():
        for parameter in models["2"].parameters():
            parameter.zero_()
    assert torch.equal(server(torch.ones(1, 64), ["2"]), before)
    assert not any(p.requires_grad for p in server.parameters())


def test_threads_do_not_see_each_others_tasks():
    models = {str(i): task_model(ResidualMLP, i, 10) for i in range(2)}
    server = MultiTask(models)
    x = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    expected = {task: server(x, [task] * 16) for task in models}
    wrong = []

    def ask(task):
        for _ in range(30):
            if not torch.equal(server(x, [task] * 16), expected[task]):
                wrong.append(task)

    threads = [threading.Thread(target=ask, args=(task,)) for task in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_bad_requests_and_models_are_refused():
    models = {str(i): task_model(ResidualMLP, i, 10) for i in range(2)}
    server = MultiTask(models)
    x = torch.zeros(2, 64)
    with pytest.raises(ValueError, match="unknown task 'x'"):
        server(x, ["x", "0"])
    with pytest.raises(ValueError, match="2 requests need as many tasks, got 1"):
        server(x, ["0"])
    with pytest.raises(ValueError, match=r"0\.\.1"):
        server(x, torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="empty"):
        MultiTask({})
    with pytest.raises(ValueError, match="no pairs"):
        MultiTask({"0": ResidualMLP()})
    other_base = inject_ssf(seeded(ResidualMLP, 1))
    with pytest.raises(ValueError, match=r"1: stem\.weight differs"):
        MultiTask({"0": models["0"], "1": other_base})
    fewer = inject_ssf(seeded(ResidualMLP, 0), exclude=("stem",))
    with pytest.raises(ValueError, match="'stem'"):
        MultiTask({"0": models["0"], "1": fewer})


def test_models_that_fold_windows_into_the_batch_are_refused():
    class Windows(ResidualMLP):
        def forward(self, x):
            return super().forward(x.reshape(-1, 64))

    server = MultiTask({"0": inject_ssf(Windows())})
    with pytest.raises(RuntimeError, match="axis 0 must be the 2 requests"):
        server(torch.zeros(2, 2, 64), ["0", "0"])
