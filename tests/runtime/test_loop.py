"""The training loop: resuming equals not stopping, averages, schedules, broken steps, fingerprints."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from vist3a.runtime.history import History
from vist3a.runtime.loop import LoopConfig, TrainingLoop, step_generator
from vist3a.runtime.run_folder import run_folder
from vist3a.runtime.schedule import rate_factor, warmup_cosine


def problem(seed: int = 0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    def step_loss(step: int):
        x = torch.randn(16, 4, generator=step_generator(5, step), dtype=torch.float64)
        loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
        return loss, {"mse": loss.detach()}

    return model, step_loss


CONFIG = LoopConfig(steps=20, learning_rate=1e-2, warmup=3, ema=0.9, log_every=5, checkpoint_every=4)


@pytest.mark.parametrize("matrix_learning_rate", [None, 5e-3])
def test_resumed_run_equals_uninterrupted_run(tmp_path: Path, matrix_learning_rate: float | None) -> None:
    config = replace(CONFIG, matrix_learning_rate=matrix_learning_rate)
    whole, loss = problem()
    assert TrainingLoop({"m": whole}, config, tmp_path / "a.pt").run(loss) == CONFIG.steps
    stopped, loss = problem()
    loop = TrainingLoop({"m": stopped}, config, tmp_path / "b.pt")
    assert loop.run(loss, max_seconds=0.0) == loop.step < CONFIG.steps
    resumed, loss = problem(seed=1)
    again = TrainingLoop({"m": resumed}, config, tmp_path / "b.pt")
    assert again.step == loop.step
    assert again.run(loss) == CONFIG.steps
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_second_run_of_one_loop_goes_on_from_the_weights_that_were_trained(dtype: torch.dtype) -> None:
    def trained(stops: int) -> tuple[TrainingLoop, nn.Module]:
        torch.manual_seed(0)
        model = nn.Linear(4, 1).to(dtype)

        def step_loss(step: int):
            x = torch.randn(16, 4, generator=step_generator(5, step)).to(dtype)
            return (model(x) - x.sum(1, keepdim=True)).square().mean(), {}

        loop = TrainingLoop({"m": model}, CONFIG)
        for _ in range(stops):
            # A single step; the modules then hold the average.
            loop.run(step_loss, max_seconds=0.0)
            assert torch.equal(model.weight, loop.average[0].to(dtype))
        loop.run(step_loss)
        return loop, model

    (whole, at_once), (halting, stopped) = trained(0), trained(3)
    assert whole.step == halting.step == CONFIG.steps
    for one, other in ((whole.masters, halting.masters), *([dict(m.named_parameters()) for m in (at_once, stopped)],)):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_weights_of_half_precision_move_as_a_float64_twin_does(tmp_path: Path) -> None:
    """Small steps of bfloat16 weights are not lost: neither theirs nor the average's, nor over a stop."""
    torch.manual_seed(0)
    model = nn.Linear(32, 32).to(torch.bfloat16)
    slopes = torch.randn(40, 32, 32, generator=torch.Generator().manual_seed(1)) + 0.3
    start = model.weight.detach().double()

    def step_loss(step: int):
        return (model.weight * slopes[step].to(torch.bfloat16)).sum() + model.bias.sum() * 1e-3, {}

    config = LoopConfig(
        steps=40, learning_rate=1e-4, warmup=0, weight_decay=0.0, ema=0.9, gradient_clip=1e9, checkpoint_every=10**6
    )
    loop = TrainingLoop({"m": model}, config, tmp_path / "a.pt")
    loop.run(step_loss, max_seconds=0.0)
    assert loop.step < 40
    loop = TrainingLoop({"m": model}, config, tmp_path / "a.pt")
    loop.run(step_loss)
    value, first, second, average = start.clone(), *(torch.zeros_like(start) for _ in range(2)), start.clone()
    for step in range(40):
        slope = slopes[step].to(torch.bfloat16).double()
        first, second = 0.9 * first + 0.1 * slope, 0.99 * second + 0.01 * slope.square()
        rate = 1e-4 * warmup_cosine(step, 40, 0)
        value = value - rate * (first / (1 - 0.9 ** (step + 1))) / ((second / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8)
        average = average + (1 - min(0.9, (1 + step) / (10 + step))) * (value - average)
    master = loop.masters["m.weight"].detach()
    assert master.dtype == torch.float32
    torch.testing.assert_close(master.double() - start, value - start, rtol=1e-2, atol=1e-6)
    torch.testing.assert_close(loop.average[0].double() - start, average - start, rtol=1e-2, atol=1e-6)
    assert model.weight.dtype == torch.bfloat16
    assert torch.equal(model.weight, loop.average[0].to(torch.bfloat16))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_look_at_the_average_changes_no_training(dtype: torch.dtype) -> None:
    """Not even one that ends in an error."""

    def trained(looking: bool) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model, seen = nn.Linear(4, 1).to(dtype), []
        loop = TrainingLoop({"m": model}, replace(CONFIG, learning_rate=0.1))

        def step_loss(step: int):
            if looking:
                with suppress(KeyError), loop.averaged():
                    seen.append(torch.equal(model.weight, loop.average[0].to(dtype)))
                    raise KeyError
                # Only the first step begins where trained weights and average are one.
                seen.append(step == 0 or not torch.equal(model.weight, loop.average[0].to(dtype)))
            x = torch.randn(16, 4, generator=step_generator(5, step)).to(dtype)
            return (model(x) - x.sum(1, keepdim=True)).square().mean(), {}

        loop.run(step_loss)
        assert all(seen) and len(seen) == 2 * CONFIG.steps * looking
        return [*loop.masters.values(), model.weight]

    assert all(torch.equal(one, other) for one, other in zip(trained(False), trained(True), strict=True))


def test_without_an_average_a_look_is_at_what_is_trained() -> None:
    model, _ = problem()
    with TrainingLoop({"m": model}, replace(CONFIG, ema=None)).averaged():
        assert torch.equal(model[0].weight, problem()[0][0].weight)


def test_average_is_the_exponential_one() -> None:
    model, loss = problem()
    config = LoopConfig(steps=6, learning_rate=1e-2, warmup=0, ema=0.5, weight_decay=0.0)
    twin, twin_loss = problem()
    optimizer = torch.optim.AdamW(twin.parameters(), lr=1e-2, betas=(0.9, 0.99), weight_decay=0.0)
    average = [p.detach().clone() for p in twin.parameters()]
    for step in range(6):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * warmup_cosine(step, 6, 0)
        value, _ = twin_loss(step)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        optimizer.step()
        decay = min(0.5, (1 + step) / (10 + step))
        average = [decay * a + (1 - decay) * p.detach() for a, p in zip(average, twin.parameters(), strict=True)]
    TrainingLoop({"m": model}, config).run(loss)
    for a, p in zip(average, model.parameters(), strict=True):
        torch.testing.assert_close(p.detach(), a, rtol=1e-12, atol=1e-12)


def test_matrices_of_linear_layers_step_by_muon_and_the_rest_by_adam() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Conv1d(2, 3, 1)).double()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    left, right = (torch.linalg.qr(torch.randn(n, 4, dtype=torch.float64)).Q for n in (8, 4))
    slope = left * torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64) @ right.T

    def step_loss(step: int):
        others = [p for name, p in model.named_parameters() if name != "0.weight"]
        return (model[0].weight * slope).sum() + torch.stack([p.sum() for p in others]).sum(), {}

    config = LoopConfig(steps=1, learning_rate=1e-4, matrix_learning_rate=1e-2, warmup=0, weight_decay=0.0, ema=None)
    TrainingLoop({"m": model}, config).run(step_loss)
    moved = {name: p.detach() - before[name] for name, p in model.named_parameters()}
    for name in ("0.bias", "1.weight", "1.bias"):
        # AdamW's first step has the length of its rate.
        torch.testing.assert_close(moved[name], torch.full_like(moved[name], -1e-4), rtol=1e-3, atol=0)
    # Muon's has the singular vectors of the slope, and near equal singular values (in bfloat16): 0.2 * sqrt(8) of the rate.
    found = -(left.T @ moved["0.weight"] @ right) / (0.2 * 8**0.5 * 1e-2)
    torch.testing.assert_close(found, torch.eye(4, dtype=torch.float64), rtol=0.35, atol=0.05)


def test_steps_with_broken_gradients_are_skipped_and_counted() -> None:
    model, loss = problem()
    logged: dict[int, dict[str, float]] = {}

    def sometimes_broken(step: int):
        value, parts = loss(step)
        return (value * float("nan") if step == 2 else value), parts

    loop = TrainingLoop({"m": model}, LoopConfig(steps=5, learning_rate=1e-2, log_every=5, ema=None))
    loop.run(sometimes_broken, lambda step, scalars: logged.update({step: dict(scalars)}))
    assert loop.skipped == 1
    assert logged[5]["skipped_steps"] == 1
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


def test_nothing_to_train_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to train"):
        TrainingLoop({"m": nn.Linear(2, 2).requires_grad_(False)}, CONFIG)


def test_foreign_checkpoints_are_refused(tmp_path: Path) -> None:
    model, loss = problem()
    TrainingLoop({"m": model}, CONFIG, tmp_path / "a.pt").run(loss)
    with pytest.raises(ValueError, match="checkpoint of other parameters"):
        TrainingLoop({"other": model}, CONFIG, tmp_path / "a.pt")


def test_schedule_ends() -> None:
    values = [warmup_cosine(step, 100, 10) for step in range(100)]
    assert values[0] == pytest.approx(0.1)
    assert values[9] == pytest.approx(1.0)
    assert values[10:] == sorted(values[10:], reverse=True)
    assert values[-1] < 0.03


def test_a_constant_schedule_stays_up_after_the_warm_up() -> None:
    values = [rate_factor("constant", step, 100, 10) for step in range(100)]
    assert values[:10] == [warmup_cosine(step, 100, 10) for step in range(10)]
    assert values[10:] == [1.0] * 90
    assert [rate_factor("cosine", step, 100, 10) for step in range(100)] == [
        warmup_cosine(step, 100, 10) for step in range(100)
    ]


def test_run_folder_follows_content(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "a").write_text("1")
    first = run_folder(tmp_path, "align", "params", data)
    assert first == run_folder(tmp_path, "align", "params", data)
    assert first != run_folder(tmp_path, "align", "other", data)
    (data / "a").write_text("2")
    assert first != run_folder(tmp_path, "align", "params", data)


def test_history_survives_a_restart(tmp_path: Path) -> None:
    seen: list[int] = []
    path = tmp_path / "history.json"
    history = History(lambda step, _: seen.append(step), path)
    for step in (1, 2, 3):
        history(step, {"reward": float(step)})
    again = History(lambda step, _: seen.append(step), path)
    again(3, {"reward": 30.0})
    again(4, {"reward": 4.0})
    assert again.table()["step"].tolist() == [1, 2, 3, 4]
    assert again.ends(2) == ({"reward": 1.5}, {"reward": 17.0})
    assert seen == [1, 2, 3, 3, 4]


def test_history_forwards_what_it_does_not_keep_and_reports_what_is_finite(tmp_path: Path) -> None:
    forwarded: list[dict[str, float]] = []
    history = History(lambda _, scalars: forwarded.append(dict(scalars)), tmp_path / "h.json", passing=("seconds/",))
    history(1, {"reward": 1.0, "covered": float("nan"), "seconds/rollout": 3.0})
    history(2, {"reward": 2.0, "covered": 0.5, "seconds/rollout": 4.0})
    assert [row["seconds/rollout"] for row in forwarded] == [3.0, 4.0]
    assert history.ends(1) == ({"reward": 1.0}, {"reward": 2.0, "covered": 0.5})


def test_a_resumed_run_logs_the_last_value_of_rare_terms(tmp_path: Path) -> None:
    def run(name: str, seconds: float | None) -> dict[int, dict[str, float]]:
        model, loss = problem()
        logged: dict[int, dict[str, float]] = {}

        def rare(step: int):
            value, parts = loss(step)
            return value, parts if step % 4 else {**parts, "rare": value}

        config = replace(CONFIG, steps=6, log_every=1)
        loop = TrainingLoop({"m": model}, config, tmp_path / name)
        loop.run(rare, lambda step, scalars: logged.update({step: dict(scalars)}), seconds)
        return logged

    whole = run("a.pt", None)
    assert run("b.pt", 0.0).keys() == {1}
    assert run("b.pt", None) == {step: row for step, row in whole.items() if step > 1}
    assert whole[2]["rare"] == whole[1]["rare"]


def test_gradients_may_be_there_already() -> None:
    models = []
    for early in (False, True):
        model, loss = problem()

        def step_loss(step: int, early: bool = early, loss=loss):
            value, parts = loss(step)
            if early:
                value.backward()
                return value.detach(), parts
            return value, parts

        TrainingLoop({"m": model}, replace(CONFIG, steps=3)).run(step_loss)
        models.append(model)
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b)
