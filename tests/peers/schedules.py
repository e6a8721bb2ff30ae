"""Runs the schedules of other implementations and keeps their rates.

    python3 -m venv peers && peers/bin/pip install torch transformers optax pytorch-accelerated
    peers/bin/pip install --no-deps megatron-core ai2-olmo-core dataclass-extensions torchtitan levanter
    peers/bin/python tests/peers/schedules.py tests/peers/schedules.json

The versions are those of the file that is kept; others may give other rates, and the test then says where.
What a peer imports besides its schedule and is not installed (command lines, logging, file access) is replaced
by an empty stand-in. The scheduler that runs is the peer's own, unchanged, in double precision. Levanter 1.1 is
one module with its whole trainer: only the class of the schedule and its functions are taken from the file.

A case has the arguments by the names of the peer, and the rate of every update from the first to some past the
end where the peer is defined there. `step` counts updates; the rate of the (t+1)-th update is rates[t].
"""

import ast
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import json
import math
import os
import pathlib
import sys
import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Optional
from unittest.mock import MagicMock

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_ENABLE_X64", "1")
warnings.filterwarnings("ignore")


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """The last finder asked: whatever is not installed is found here, empty."""

    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = MagicMock(name=spec.name)
        module.__path__ = []
        return module

    def exec_module(self, module):
        pass


CASES = []


def keep(peer, schedule, arguments, rates):
    rates = [float(rate) for rate in rates]
    assert all(math.isfinite(rate) for rate in rates), (peer, schedule, arguments)
    CASES.append({"peer": peer, "schedule": schedule, "arguments": arguments, "rates": rates})


def optimizer(peak):
    import torch

    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)


def lambda_rates(make, peak, steps):
    """The rates of a LambdaLR as a training loop sees them."""
    opt = optimizer(peak)
    scheduler = make(opt)
    rates = []
    for _ in range(steps):
        rates.append(opt.param_groups[0]["lr"])
        opt.step()
        scheduler.step()
    return rates


def transformers():
    import transformers.optimization as peer

    def case(name, steps, **arguments):
        peak = arguments.pop("lr")
        rates = lambda_rates(lambda o: getattr(peer, name)(o, **arguments), peak, steps)
        keep("transformers", name, {"lr": peak, **arguments}, rates)

    for warmup in (0, 1, 10, 37):
        case("get_constant_schedule_with_warmup", 60, lr=6e-4, num_warmup_steps=warmup)
        for timescale in (None, 3, 500):
            case("get_inverse_sqrt_schedule", 300, lr=6e-4, num_warmup_steps=warmup, timescale=timescale)
        for total in (38, 100, 333):
            common = {"lr": 6e-4, "num_warmup_steps": warmup, "num_training_steps": total}
            case("get_linear_schedule_with_warmup", total + 5, **common)
            # The rate of a cosine rises again after the end.
            case("get_cosine_schedule_with_warmup", total + 1, **common)
            case("get_cosine_with_min_lr_schedule_with_warmup", total + 1, **common, min_lr_rate=0.1)
            for start in (None, 0.25):
                case("get_cosine_with_min_lr_schedule_with_warmup_lr_rate", total, **common, min_lr_rate=0.1,
                     warmup_lr_rate=start)
            for power in (1.0, 0.5, 2.0):
                case("get_polynomial_decay_schedule_with_warmup", total + 5, **common, power=power, lr_end=1e-7)
    for warmup, total, cycles in ((10, 100, 3), (0, 100, 4), (37, 137, 2)):
        case("get_cosine_with_hard_restarts_schedule_with_warmup", total + 3, lr=6e-4,
             num_warmup_steps=warmup, num_training_steps=total, num_cycles=cycles)
    for warmup, stable, decay in ((0, 90, 10), (10, 70, 20), (7, 0, 13), (5, 15, 1), (1, 4, 0), (100, 300, 100)):
        for rise in ("linear", "cosine", "1-sqrt"):
            for fall in ("linear", "cosine", "1-sqrt"):
                for floor in (0.0, 0.1):
                    case("get_wsd_schedule", warmup + stable + decay + 3, lr=6e-4, num_warmup_steps=warmup,
                         num_stable_steps=stable, num_decay_steps=decay, warmup_type=rise, decay_type=fall,
                         min_lr_ratio=floor)


def megatron():
    from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

    def case(samples, **arguments):
        groups = [{"lr": 0.0, "default_config": True}]
        peer = OptimizerParamScheduler(
            SimpleNamespace(param_groups=groups), start_wd=0.0, end_wd=0.0, wd_incr_steps=1,
            wd_incr_style="constant", **arguments)
        rates = []
        for batch in samples:
            rates.append(groups[0]["lr"])
            peer.step(batch)
        keep("megatron-core", arguments["lr_decay_style"], {**arguments, "batches": samples}, rates)

    ones = lambda n: [1] * n
    ragged = [(17, 64, 64, 128)[(i * i + i // 3) % 4] for i in range(120)]
    for warmup in (0, 1, 12):
        for init, floor in ((0.0, 0.0), (1e-6, 6e-5)):
            common = {"init_lr": init, "max_lr": 6e-4, "min_lr": floor, "lr_warmup_steps": warmup}
            for end in (13, 100):
                for style in ("linear", "cosine", "inverse-square-root"):
                    case(ones(end + 4), **common, lr_decay_steps=end, lr_decay_style=style)
                for style in ("linear", "cosine", "exponential", "minus_sqrt"):
                    for decay in (1, end - 12):
                        case(ones(end + 4), **common, lr_decay_steps=end, lr_decay_style="WSD",
                             wsd_decay_steps=decay, lr_wsd_decay_style=style)
            for style in ("linear", "cosine", "exponential", "minus_sqrt"):
                case(ragged, **{**common, "lr_warmup_steps": 700}, lr_decay_steps=7000, lr_decay_style="WSD",
                     wsd_decay_steps=1500, lr_wsd_decay_style=style)


def olmo():
    import olmo_core.optim.scheduler as peer

    def case(name, total, **arguments):
        peak = arguments.pop("lr")
        schedule = getattr(peer, name)(**arguments)
        start = 1 if arguments.get("warmup", None) == 0 and name == "WSD" else 0
        # Past the end WSD goes below its floor; with no warmup it divides by zero at step 0.
        after = 0 if name == "WSD" else 3
        rates = [schedule.get_lr(peak, t, total) for t in range(start, total + 1 + after)]
        keep("olmo-core", name, {"lr": peak, "t_max": total, "start": start, **arguments}, rates)

    for total in (35, 100, 1005, 25):
        for warmup in (0, 1, 9) if total < 1000 else (9,):
            for init, floor in ((0.0, 0.0), (1e-6, 6e-5)):
                for decay in ({"decay_fraction": 0.1}, {"decay_fraction": 0.3},
                              {"decay_fraction": None, "decay": 7}):
                    case("WSD", total, lr=6e-4, warmup=warmup, warmup_min_lr=init, decay_min_lr=floor, **decay)
                if warmup or init == 0.0:
                    for name in ("LinearWithWarmup", "CosWithWarmup"):
                        case(name, total, lr=6e-4, warmup=warmup, warmup_min_lr=init, alpha_f=0.1)
        case("WSD", total, lr=6e-4, warmup_fraction=0.05, decay_fraction=0.1)
    for periods in ([100], [50, 40, 100], [30, 30, 30]):
        for warmup, decay in ((0, 5), (10, 1), (10, 20)):
            for floor in (0.0, 6e-5):
                case("WSDS", sum(periods), lr=6e-4, period_lengths=periods, warmup=warmup, decay=decay,
                     decay_min_lr=floor)


def torchtitan():
    from torchtitan.components.optimizer.lr_scheduler import LRSchedulersContainer as peer

    for warmup, total, ratio in ((0, 100, 0.1), (10, 100, None), (2, 35, 0.1), (7, 25, 0.3), (5, 20, 0.9),
                                 (30, 20, 0.5), (1, 8, None), (100, 1005, 0.2)):
        for kind in ("linear", "sqrt", "cosine"):
            for floor in (0.0, 0.1):
                config = peer.Config(warmup_steps=warmup, decay_ratio=ratio, decay_type=kind, min_lr_factor=floor)
                opt = optimizer(6e-4)
                scheduler = config.build(optimizers=[opt], training_steps=total)
                rates = []
                # Past the end the rate leaves the range.
                for _ in range(total):
                    rates.append(opt.param_groups[0]["lr"])
                    opt.step()
                    scheduler.step()
                keep("torchtitan", "LRSchedulersContainer",
                     {"lr": 6e-4, "warmup_steps": warmup, "training_steps": total, "decay_ratio": ratio,
                      "decay_type": kind, "min_lr_factor": floor}, rates)


def levanter():
    import jax
    import jax.numpy as jnp
    import optax

    path = importlib.metadata.distribution("levanter").locate_file("levanter/trainer.py")
    tree = ast.parse(pathlib.Path(str(path)).read_text())
    wanted = {"OptimizerConfig", "_inv_sqrt_decay_schedule", "_convert_ratio_or_steps"}
    nodes = [node for node in tree.body if getattr(node, "name", None) in wanted]
    assert len(nodes) == len(wanted)
    names = {"optax": optax, "jnp": jnp, "jax": jax, "dataclass": dataclass, "Optional": Optional,
             "warnings": warnings, "GradientTransformation": optax.GradientTransformation}
    exec(compile(ast.Module(nodes, []), str(path), "exec"), names)
    for kind, warmups in (("cosine", (0, 10, 0.05)), ("linear", (0,)), ("constant", (10,)),
                          ("inv_sqrt", (0, 10, 500))):
        # With a warmup its linear decay ends W steps early.
        for warmup in warmups:
            for ratio in (0.0, 0.1):
                total = 900 if kind == "inv_sqrt" else 100
                peer = names["OptimizerConfig"](learning_rate=6e-4, warmup=warmup, min_lr_ratio=ratio, lr_schedule=kind)
                schedule = peer.lr_scheduler(total)
                steps = range(0, 20000, 37) if kind == "inv_sqrt" else range(total + 3)
                keep("levanter", kind,
                     {"learning_rate": 6e-4, "warmup": warmup, "min_lr_ratio": ratio, "num_train_steps": total,
                      "stride": steps.step}, [schedule(t) for t in steps])


def pytorch_accelerated():
    from pytorch_accelerated.schedulers.cosine_scheduler import CosineLrScheduler
    from pytorch_accelerated.schedulers.wsd_scheduler import WSDLrScheduler

    for total, checkpoints in ((100, 1), (400, 3), (203, 2), (240, 4)):
        for warmup in (0, 10):
            for ratio in (0.1, 0.2):
                for sqrt, floor in ((True, 0.0), (True, 0.1), (False, 0.1)):
                    arguments = {"total_steps": total, "num_checkpoints": checkpoints, "num_warmup_steps": warmup,
                                 "decay_phase_ratio": ratio, "lr_min": floor, "warmup_starting_lr": 1e-6,
                                 "use_inverse_sqrt_decay": sqrt}
                    peer = WSDLrScheduler(optimizer(6e-4), **arguments)
                    keep("pytorch-accelerated", "WSDLrScheduler", {"lr": 6e-4, **arguments},
                         [peer.get_updated_values(t)[0] for t in range(total + 5)])
    for epochs, each, warmup, cooldown in ((10, 10, 0, 0), (10, 12, 0, 2), (20, 5, 2, 1)):
        arguments = {"total_num_epochs": epochs, "num_update_steps_per_epoch": each, "num_warmup_epochs": warmup,
                     "num_cooldown_epochs": cooldown, "lr_min": 6e-5, "warmup_starting_lr": 1e-6}
        peer = CosineLrScheduler(optimizer(6e-4), **arguments)
        # With a warmup the cosine breaks off early.
        steps = epochs * each - (warmup + cooldown) * each if warmup else epochs * each + 3
        keep("pytorch-accelerated", "CosineLrScheduler", {"lr": 6e-4, **arguments},
             [peer.get_updated_values(t)[0] for t in range(steps)])


def optax():
    import optax as peer

    def case(name, steps, schedule, **arguments):
        keep("optax", name, arguments, [schedule(t) for t in range(steps)])

    for warmup in (0, 1, 10):
        for init, floor in ((0.0, 0.0), (1e-6, 6e-5)):
            common = {"init_value": init, "peak_value": 6e-4, "warmup_steps": warmup}
            if warmup:
                case("warmup_constant_schedule", 30, peer.warmup_constant_schedule(**common), **common)
            for steps in (11, 100):
                arguments = {**common, "decay_steps": steps, "end_value": floor}
                case("warmup_cosine_decay_schedule", steps + 3, peer.warmup_cosine_decay_schedule(**arguments),
                     **arguments)
            for rate, transition in ((0.5, 10), (0.9, 3)):
                arguments = {**common, "transition_steps": transition, "decay_rate": rate, "end_value": floor}
                case("warmup_exponential_decay_schedule", 120, peer.warmup_exponential_decay_schedule(**arguments),
                     **arguments)
            for stable, decay in ((0, 20), (60, 30), (20, 1)):
                end = warmup + stable + decay
                for kind in ("linear", "cosine", "polynomial"):
                    fall = {
                        "linear": lambda: peer.linear_schedule(6e-4, floor, decay),
                        "cosine": lambda: peer.cosine_decay_schedule(6e-4, decay, floor / 6e-4),
                        "polynomial": lambda: peer.polynomial_schedule(6e-4, floor, 2.0, decay),
                    }[kind]()
                    parts = [peer.linear_schedule(init, 6e-4, warmup), peer.constant_schedule(6e-4), fall]
                    schedule = peer.join_schedules(parts, [warmup, warmup + stable])
                    case("join_schedules", end + 3, schedule, **common, stable=stable, decay=decay, kind=kind,
                         end_value=floor)


def oddities():
    """What no one can want, as it happens: the rate as a part of the peak, or the error's name."""
    import jax.numpy as jnp
    import olmo_core.optim.scheduler as olmo_core
    import optax as optax_
    import transformers.optimization as transformers_
    from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler
    from pytorch_accelerated.schedulers.cosine_scheduler import CosineLrScheduler
    from pytorch_accelerated.schedulers.wsd_scheduler import WSDLrScheduler
    from torchtitan.components.optimizer.lr_scheduler import LRSchedulersContainer

    def of(call):
        try:
            return round(float(call()), 6)
        except (ZeroDivisionError, AssertionError) as error:
            return type(error).__name__

    def torchtitan_at(t, **config):
        opt = optimizer(1.0)
        scheduler = LRSchedulersContainer.Config(**config).build(optimizers=[opt], training_steps=10)
        return scheduler.schedulers[0].lr_lambdas[0](t)

    def accelerated_wsd(t, **arguments):
        return WSDLrScheduler(optimizer(1.0), total_steps=100, **arguments).get_updated_values(t)[0]

    def accelerated_first():
        opt = optimizer(1.0)
        WSDLrScheduler(opt, total_steps=100, num_warmup_steps=10)
        return opt.param_groups[0]["lr"]

    def megatron_rate(t):
        groups = [{"lr": 0.0, "default_config": True}]
        peer = OptimizerParamScheduler(
            SimpleNamespace(param_groups=groups), init_lr=0.0, max_lr=1.0, min_lr=0.0, lr_warmup_steps=50,
            lr_decay_steps=100, lr_decay_style="WSD", start_wd=0.0, end_wd=0.0, wd_incr_steps=1,
            wd_incr_style="constant", wsd_decay_steps=80, lr_wsd_decay_style="linear")
        peer.step(t)
        return groups[0]["lr"]

    cosine = transformers_.get_cosine_schedule_with_warmup(optimizer(1.0), 0, 100).lr_lambdas[0]
    shifted = transformers_.get_cosine_with_min_lr_schedule_with_warmup_lr_rate(
        optimizer(1.0), 0, 100, min_lr_rate=0.1).lr_lambdas[0]
    wsd = lambda **arguments: olmo_core.WSD(**arguments)
    epochs = {"total_num_epochs": 10, "num_update_steps_per_epoch": 10, "num_warmup_epochs": 2, "lr_min": 0.0}
    return {
        "transformers cosine, 50 steps after 100": of(lambda: cosine(150)),
        "transformers cosine with warmup rate, 50 steps after 100": of(lambda: shifted(150)),
        "olmo-core WSD, warmup 0, step 0": of(lambda: wsd(warmup=0).get_lr(1.0, 0, 100)),
        "olmo-core WSD, decay 0, step 100 of 100": of(
            lambda: wsd(warmup=1, decay=0, decay_fraction=None).get_lr(1.0, 100, 100)),
        "olmo-core WSD, step 105 of 100": of(lambda: wsd(warmup=1).get_lr(1.0, 105, 100)),
        "olmo-core WSDS, the step at the end of the first of two periods": of(
            lambda: olmo_core.WSDS(period_lengths=[50, 50], warmup=0, decay=5).get_lr(1.0, 50, 100)),
        "torchtitan, step 12 of 10": of(lambda: torchtitan_at(12, warmup_steps=0, decay_ratio=0.5)),
        "torchtitan, decay 0, step 11 of 10": of(lambda: torchtitan_at(11, warmup_steps=0, decay_ratio=0.0)),
        "pytorch-accelerated WSD, decay 0, step 100 of 100": of(lambda: accelerated_wsd(100, decay_phase_ratio=0.0)),
        "pytorch-accelerated WSD, warmup of 10, rate before the first scheduler step": of(accelerated_first),
        "pytorch-accelerated cosine, warmup of 20, step 79 of 100": of(
            lambda: CosineLrScheduler(optimizer(1.0), **epochs).get_updated_values(79)[0]),
        "pytorch-accelerated cosine, warmup of 20, step 80 of 100": of(
            lambda: CosineLrScheduler(optimizer(1.0), **epochs).get_updated_values(80)[0]),
        "megatron-core WSD, warmup 50, decay 80 of 100, step 50": of(lambda: megatron_rate(50)),
        "megatron-core WSD, warmup 50, decay 80 of 100, step 51": of(lambda: megatron_rate(51)),
        "optax warmup_constant, warmup 0, init 0, step 10": of(
            lambda: jnp.asarray(optax_.warmup_constant_schedule(0.0, 1.0, 0)(10))),
    }


def main():
    versions = {}
    for package in ("torch", "jax", "transformers", "megatron-core", "ai2-olmo-core", "torchtitan", "levanter",
                    "pytorch-accelerated", "optax"):
        versions[package] = importlib.metadata.version(package)
    # Whole packages first: a stand-in must not take the place of what they look for themselves.
    for peer in (transformers, optax, pytorch_accelerated, megatron, levanter):
        peer()
    sys.meta_path.append(StandIns())
    for peer in (olmo, torchtitan):
        peer()
    found = oddities()
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in CASES)
    text = '{"versions":' + json.dumps(versions) + ',"oddities":' + json.dumps(found, indent=1) + ',"cases":[\n' + lines + "\n]}\n"
    path = pathlib.Path(sys.argv[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    print(versions)
    for what, value in found.items():
        print(f"{what}: {value}")
    for peer in sorted({case["peer"] for case in CASES}):
        of_peer = [case for case in CASES if case["peer"] == peer]
        print(peer, len(of_peer), "cases,", sum(len(case["rates"]) for case in of_peer), "rates")


if __name__ == "__main__":
    main()
