"""Training in cycles: masks, rewinding, what is carried over, and going on after a stop."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from gpu_bench import cycles, masks, methods, models
from gpu_bench.checkpoints import PERIOD, Checkpoints
from gpu_bench.cycles import CyclePlan
from gpu_bench.experiment import Experiment, Place
from gpu_bench.flat import Layout
from gpu_bench.protocols import cyclic, iterative, sculpt
from gpu_bench.ranks import Ranks
from gpu_bench.rates import learning_rates
from gpu_bench.settings import Cyclic, Iterative, Sculpt
from gpu_bench.train import Trainer
from mirrorflow import Factors, HyperbolicEntropy
from mirrorflow.checks import InputError

QUICK = {"epochs": 3, "batch_size": 359, "seeds": 1}
PROTOCOLS = {"iterative": iterative, "cyclic": cyclic, "sculpt": sculpt}


def tiny(name, shape, classes, seed, classifier=None):
    """A network of 800 weights in place of ResNet-20."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(shape[0], 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, classes),
        )


@pytest.fixture(autouse=True)
def _tiny(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(models, "build", tiny)
    yield
    torch.set_num_threads(before)


def spec_of(kind, **changes):
    """The first run's configuration: of the flags of its method, those among `changes`."""
    given = {**QUICK, **changes}
    name, *_ = given.pop("methods", kind.methods)
    method = methods.METHODS[name]
    own = {option: given.pop(option) for option in method.options() if option in given}
    if name in ("pilot", "spred"):
        own = {"total": 1.0, **own}
    options = methods.option_groups()(**{name.replace("-", "_"): method(**own)})
    return kind(**given, methods=(name,), options=options).runs()[0].spec


def experiment_of(kind, tmp_path, **changes):
    return Experiment(spec_of(kind, **changes), Place(tmp_path), Ranks())


@pytest.fixture(autouse=True)
def _every_epoch(monkeypatch):
    """A checkpoint after every epoch, however short it is."""
    monkeypatch.setattr("gpu_bench.checkpoints.PERIOD", 0.0)


class Stop(Exception):
    """What a kill looks like from inside; its argument is what was trained until then."""


def trained(kind, tmp_path, checkpoints=None, stop_after=None, **changes):
    """Run a protocol's plan; `stop_after` breaks it off after that epoch is on disk."""
    experiment = experiment_of(kind, tmp_path, **changes)
    numbers = []

    def tell(epoch):
        numbers.append(epoch.number)
        if epoch.number == stop_after:
            raise Stop(numbers)

    plan = PROTOCOLS[kind.name].PROTOCOL.plan(experiment)
    return cycles.run(experiment, plan, checkpoints, tell), numbers


def records_of(outcome, cycle):
    """The epochs of a cycle."""
    return outcome.epochs[QUICK["epochs"] * cycle : QUICK["epochs"] * (cycle + 1)]


# --- a training under a mask ---------------------------------------------------------------


def test_masked_training_is_torchs_pruned_training():
    """Against torch.nn.utils.prune, which multiplies by the mask inside autograd."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(4, 32, 1, 8, 8, generator=generator, dtype=torch.float64)
    labels = torch.randint(10, (4, 32), generator=generator)
    mask = {
        name: torch.rand(weight.shape, generator=generator) < 0.4
        for name, weight in masks.prunable(tiny("", (1, 8, 8), 10, 0)).items()
    }
    theirs = tiny("", (1, 8, 8), 10, 0).double()
    for name, part in mask.items():
        prune.custom_from_mask(theirs[int(name.split(".")[0])], "weight", part)
    rates = learning_rates(0.1, "cosine", 2, 4, 0.5)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    for k, rate in enumerate(rates):
        optimizer.param_groups[0]["lr"] = float(rate)
        optimizer.zero_grad()
        functional.cross_entropy(
            theirs(images[k % 4]), labels[k % 4], label_smoothing=0.2
        ).backward()
        optimizer.step()
    for layer in (theirs[0], theirs[4], theirs[8]):
        prune.remove(layer, "weight")

    class Batches:
        def epoch(self, k):
            yield from zip(images, labels, strict=True)

    ours = tiny("", (1, 8, 8), 10, 0).double()
    flat = Layout(masks.prunable(ours)).flatten(mask)
    method = methods.METHODS["dense"]()
    trainer = Trainer(ours, method, rates, 2, 0.9, 1e-3, mask=flat, smoothing=0.2)
    trainer.train(Batches())
    trainer.fold()
    for (name, one), two in zip(ours.state_dict().items(), _ordered(ours, theirs), strict=True):
        # float64's roundings over eight steps; a weight or a rate that differs moves more
        torch.testing.assert_close(
            one, two, rtol=1e-10, atol=1e-12, msg=lambda m, n=name: f"{n}{m}"
        )


def _ordered(ours, theirs):
    state = theirs.state_dict()
    return [state[name] for name in ours.state_dict()]


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_what_is_cut_stays_cut(name, tmp_path):
    experiment = experiment_of(Cyclic, tmp_path, methods=(name,))
    generator = torch.Generator().manual_seed(2)
    mask = torch.rand(sum(experiment.layout.sizes), generator=generator) < 0.3
    trainer = experiment.trainer(mask)
    seen = []

    def watch(epoch):
        seen.append(bool((trainer.x.values[~mask] == 0).all()))
        assert float(trainer.x.values[mask].abs().max()) > 0
        # a threshold that a layer shares must not follow weights that aren't there
        assert float(trainer.x.gradient[~mask].abs().max()) == 0

    trainer.train(experiment.batches, tell=watch)
    trainer.fold()
    assert seen == [True] * 3
    assert bool((trainer.x.values[~mask] == 0).all())
    assert trainer.history.epochs[0].norm < 0.6 * experiment_norm(tmp_path)


def experiment_norm(tmp_path):
    model = experiment_of(Cyclic, tmp_path).model
    return sum(float(w.detach().abs().sum()) for w in masks.prunable(model).values())


# --- protocols ------------------------------------------------------------------------------


STRONG = {"pilot": {"total": 8.0}, "str": {"start": -1.0}}


@pytest.mark.parametrize("name", ["dense", "pilot", "str"])
def test_iterative_cuts_exactly_and_never_gives_back(name, tmp_path):
    """Also where a method makes more exact zeros than are to be cut."""
    outcome, _ = trained(
        Iterative, tmp_path, methods=(name,), cycles=5, keep=0.5, **STRONG.get(name, {})
    )
    size = len(outcome.masks[0])
    kept = [int(mask.count_nonzero()) for mask in outcome.masks]
    assert kept == [size - math.floor((1 - 0.5**c) * size + 0.5) for c in range(5)]
    for before, after in zip(outcome.masks, outcome.masks[1:], strict=False):
        assert not bool((after & ~before).any())
    assert len(outcome.epochs) == 15
    assert [epoch.number for epoch in outcome.epochs] == list(range(1, 16))
    assert len(outcome.cycles) == 5


def test_a_cut_gives_nothing_back(tmp_path):
    """Where more of what is kept is exactly 0 than is to be cut, what was cut stays cut."""
    experiment = experiment_of(Iterative, tmp_path)
    weights = masks.prunable(experiment.model)
    with torch.no_grad():
        for weight in weights.values():
            weight.zero_()
    first = {name: torch.zeros_like(w, dtype=torch.bool) for name, w in weights.items()}
    last = list(first)[-1]
    first[last][:] = True  # the layer that loses ties
    after = iterative.pruned_masks(experiment.model, first, 0.95)
    kept = experiment.layout.flatten(after)
    assert int(kept.count_nonzero()) == len(kept) - math.floor(0.95 * len(kept) + 0.5)
    assert not bool((kept & ~experiment.layout.flatten(first)).any())


def test_the_order_of_the_images_goes_on(tmp_path, monkeypatch):
    experiment = experiment_of(Iterative, tmp_path, methods=("dense",), cycles=2)
    asked, epoch = [], experiment.batches.epoch
    monkeypatch.setattr(experiment.batches, "epoch", lambda k: asked.append(k) or epoch(k))
    cycles.run(experiment, iterative.PROTOCOL.plan(experiment))
    # epoch 0, which is never trained on, gives the statistics of the fresh readings
    assert [k for k in asked if k] == [1, 2, 3, 4, 5, 6]


def test_the_smallest_weights_are_cut(tmp_path):
    """Between cycles 1 and 2 of magnitude pruning, against a sort."""
    seen = []
    experiment = experiment_of(Iterative, tmp_path, methods=("dense",), cycles=2)
    plan = iterative.PROTOCOL.plan(experiment)

    def mask(cycle, model, kept):
        chosen = plan.mask(cycle, model, kept)
        if cycle:
            seen.append((experiment.layout.flatten(masks.prunable(model)).abs(), chosen))
        return chosen

    cycles.run(experiment, CyclePlan(2, mask))
    sizes, chosen = seen[0]
    kept = experiment.layout.flatten(chosen)
    assert float(sizes[kept].min()) >= float(sizes[~kept].max())


VARIANTS = {"imp": 0, "wr": 2, "lrr": None}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["dense", "pilot"])
def test_where_a_cycle_starts(variant, name, tmp_path, monkeypatch):
    """IMP: the initial weights; WR: those after the rewind epoch; LRR: the last ones. All of
    them: θ, biases, batch norm with its statistics; under the new mask, a fresh optimizer."""
    rewind = {"rewind_epoch": 2} if variant == "wr" else {}
    experiment = experiment_of(
        Iterative, tmp_path, methods=(name,), variant=(variant,), cycles=3, **rewind
    )
    starts, after = [], {}
    make = experiment.trainer

    def spied(mask=None, start=None, cycle=0):
        trainer = make(mask, start, cycle)
        starts.append((trainer.weights(), [v.abs().sum() for v in trainer.velocities]))
        spied.last = trainer
        return trainer

    monkeypatch.setattr(experiment, "trainer", spied)
    outcome = cycles.run(
        experiment,
        iterative.PROTOCOL.plan(experiment),
        tell=lambda epoch: after.setdefault(epoch.number, spied.last.weights()),
    )
    origin = {"imp": starts[0][0], "wr": after[2], "lrr": None}[variant]
    for cycle in (1, 2):
        start, velocities = starts[cycle]
        expected = after[3 * cycle] if origin is None else origin
        assert all(float(v) == 0 for v in velocities)
        assert torch.equal(start.x, expected.x * outcome.masks[cycle])
        assert torch.equal(start.rest, expected.rest)
        for one, two in zip(start.buffers, expected.buffers, strict=True):
            assert torch.equal(one, two)
        if name == "pilot":
            for one, two in zip(start.parameters, expected.parameters, strict=True):
                assert torch.equal(one, two)
        assert start.total == expected.total


def test_every_cycle_has_the_full_schedule(tmp_path):
    outcome, _ = trained(Iterative, tmp_path, methods=("spred",), cycles=3)
    totals = [cycle.total for cycle in outcome.cycles]
    assert totals == pytest.approx([k * totals[0] for k in (1, 2, 3)])
    alphas = [epoch.alpha for epoch in outcome.epochs]
    assert len(set(alphas)) == 1


def test_a_cycle_says_what_its_epochs_were(tmp_path, monkeypatch):
    """Its losses and α are those of its first and last epoch, its norms those of its weights.

    With a threshold above every norm, so that α falls after every epoch and no two are alike.
    """
    falling = {"threshold": 10.0, "swing": 1.5**1.5}
    experiment = experiment_of(Iterative, tmp_path, methods=("pilot",), cycles=3, **falling)
    starts, make = [], experiment.trainer

    def spied(*arguments, **options):
        trainer = make(*arguments, **options)
        starts.append(float(trainer.x.values.abs().double().sum()))
        return trainer

    monkeypatch.setattr(experiment, "trainer", spied)
    outcome = cycles.run(experiment, iterative.PROTOCOL.plan(experiment))
    for number, cycle in enumerate(outcome.cycles):
        first, *_, last = records_of(outcome, number)
        assert cycle.norm_initial == pytest.approx(starts[number], rel=1e-5)
        assert cycle.norm_final == last.norm
        assert (cycle.train_loss, cycle.train_accuracy) == (last.loss, last.accuracy)
        assert (cycle.alpha_first, cycle.alpha_last) == (first.alpha, last.alpha)
        assert (cycle.accuracy, cycle.total) == (last.test_accuracy, last.total)
        told = [cycle.train_accuracy, cycle.accuracy, first.alpha, last.alpha]
        told += [cycle.norm_initial, first.norm, last.norm]
        assert len(set(told)) == len(told)  # none can stand for another


@pytest.mark.parametrize(("name", "options"), [("continuous", {}), ("pilot", {"swing": 1.5**1.5})])
def test_what_moves_between_epochs_moves_alike_in_every_cycle(name, options, tmp_path):
    """A temperature and a controller count the epochs of their cycle."""
    seen = []
    for stop in range(1, 3):
        outcome, _ = trained(Iterative, tmp_path, methods=(name,), cycles=stop, **options)
        seen.append(outcome.trainer.method.readings())
    assert seen[0] == seen[1]
    if name == "continuous":
        assert seen[1]["tau"] == pytest.approx(200.0)
    else:  # up, up, down of T = 3: k ≤ T/2 in the first epoch alone
        rises = [np.array([e.alpha for e in records_of(outcome, c)]) for c in range(2)]
        np.testing.assert_array_equal(rises[0], rises[1])
        assert rises[0] / rises[0][0] == pytest.approx([1.0, 1.5, 1.0])


def test_weights_alone_are_carried(tmp_path, monkeypatch):
    """The method starts anew from x: m² − w² = β again, A from 0."""
    experiment = experiment_of(
        Iterative, tmp_path, methods=("pilot",), cycles=2, carry="weights", beta=0.5
    )
    made = []
    make = experiment.trainer

    def spied(*arguments, **options):
        trainer = make(*arguments, **options)
        made.append(trainer.weights())
        return trainer

    monkeypatch.setattr(experiment, "trainer", spied)
    outcome = cycles.run(experiment, iterative.PROTOCOL.plan(experiment))
    m, w = made[1].parameters
    torch.testing.assert_close(m**2 - w**2, torch.full_like(m, 0.5), rtol=1e-5, atol=1e-6)
    assert made[1].total == 0.0
    assert outcome.cycles[1].norm_initial < outcome.cycles[0].norm_final


def test_cyclic_keeps_its_mask(tmp_path):
    outcome, _ = trained(Cyclic, tmp_path, methods=("dense",), cycles=3, sparsities=(0.7,))
    size = len(outcome.masks[0])
    assert int(outcome.masks[0].count_nonzero()) == size - math.floor(0.7 * size + 0.5)
    assert all(torch.equal(mask, outcome.masks[0]) for mask in outcome.masks)
    assert len(outcome.epochs) == 9


def test_sculpt_cuts_once_before_its_last_cycle(tmp_path):
    outcome, _ = trained(
        Sculpt, tmp_path, methods=("dense",), cycles=2, start_sparsity=0.4, sparsities=(0.8,)
    )
    size = len(outcome.masks[0])
    kept = [int(mask.count_nonzero()) for mask in outcome.masks]
    assert kept == [size - math.floor(s * size + 0.5) for s in (0.4, 0.4, 0.8)]
    assert not bool((outcome.masks[2] & ~outcome.masks[0]).any())
    # what one cut leaves of the weights at its time is the mask that is trained
    assert torch.equal(outcome.candidates[1], outcome.masks[2])


def test_flops_follow_the_mask(tmp_path):
    experiment = experiment_of(Iterative, tmp_path, methods=("dense",), cycles=2, keep=0.5)
    outcome = cycles.run(experiment, iterative.PROTOCOL.plan(experiment))
    dense = masks.flops(experiment.model, experiment.shape)["dense"]
    images = len(experiment.batches) * 359 * 3
    assert outcome.cycles[0].flops == 3 * dense * images
    kept = experiment.layout.views(outcome.masks[1])
    half = masks.flops(experiment.model, experiment.shape, kept)["masked"]
    assert outcome.cycles[1].flops == 3 * half * images
    assert half < dense


# --- batch norm's statistics -----------------------------------------------------------------


def test_fresh_readings_do_not_see_how_large_the_weights_are(tmp_path):
    """Batch norm takes a factor of its layer's weights out again, once it has seen them."""
    changes = {"methods": ("dense",), "cycles": 1, "epochs": 6, "batch_size": 64}
    outcome, _ = trained(Iterative, tmp_path, **changes)
    trainer, experiment = outcome.trainer, experiment_of(Iterative, tmp_path, **changes)
    before = float(experiment.read(trainer)), float(experiment.read_fresh(trainer))
    assert outcome.cycles[0].fresh_accuracy == before[1] > 0.3
    with torch.no_grad():
        trainer.model[0].weight.mul_(1024.0)  # exact but for ε = 1e-5 in the variance
    assert float(experiment.read(trainer)) < before[0] - 0.1
    assert float(experiment.read_fresh(trainer)) == pytest.approx(before[1], abs=2 / 360)


def test_a_fresh_reading_leaves_no_trace(tmp_path):
    """Else it would change what the next cycle starts from, and what is exported."""
    experiment = experiment_of(Iterative, tmp_path, methods=("pilot",))
    trainer = experiment.trainer()
    trainer.train(experiment.batches)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    drawn = torch.get_rng_state()
    one, two = experiment.read_fresh(trainer), experiment.read_fresh(trainer)
    assert torch.equal(one, two)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(before[k], v) for k, v in trainer.model.state_dict().items())
    norms = [m for m in trainer.model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(norm.momentum == 0.1 for norm in norms)


# --- going on after a stop --------------------------------------------------------------------


CASES = [(Iterative, {"methods": (name,), "cycles": 2}) for name in methods.METHODS] + [
    (Iterative, {"methods": ("pilot",), "cycles": 3, "variant": ("wr",), "rewind_epoch": 2}),
    (Iterative, {"methods": ("pilot",), "cycles": 3, "variant": ("imp",)}),
    (Iterative, {"methods": ("pilot",), "cycles": 3, "carry": "weights"}),
    (Iterative, {"methods": ("pilot",), "cycles": 2, "threshold": 0.9, "swing": 1.5**1.5}),
    (Cyclic, {"methods": ("pilot",), "cycles": 2, "mask": ("snip",)}),
    (Sculpt, {"methods": ("pilot",), "cycles": 1}),
]


def same(one, two):
    """Bit by bit, but for the clock."""
    assert one.status == two.status
    assert repr(one.cycles) == repr(two.cycles)  # exact, and NaN equals NaN
    for a, b in zip(one.epochs, two.epochs, strict=True):
        for name in ("number", *cycles.CURVES[:-1]):
            assert getattr(a, name) == getattr(b, name), name
    for a, b in zip([*one.masks, *one.candidates], [*two.masks, *two.candidates], strict=True):
        assert torch.equal(a, b)
    ours, theirs = one.trainer.model.state_dict(), two.trainer.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_curves_are_those_of_the_epochs(tmp_path):
    outcome, numbers = trained(Iterative, tmp_path, methods=("dense",), cycles=2)
    curves = outcome.curves()
    assert tuple(curves) == cycles.CURVES
    for name, curve in curves.items():
        assert curve.tolist() == [getattr(epoch, name) for epoch in outcome.epochs]
        assert len(curve) == len(numbers)
    # without a penalty there is no α, not one of 0
    assert all(math.isnan(c.alpha_first) and math.isnan(c.alpha_last) for c in outcome.cycles)


@pytest.mark.parametrize("beta", [0.5, 3.0])
def test_the_predicted_scale_is_that_of_the_potential(beta):
    """a = ½βe^{−4A}, as of `HyperbolicEntropy`; none without m and w."""
    total = 0.7
    R = HyperbolicEntropy.of(Factors.pilot([0.3], beta), total)
    method = methods.METHODS["pilot"](beta=beta)
    method.begin(methods.Plan(1, np.ones(1), (1,)), torch.ones(1))
    found = cycles.predicted_scale(method, total)
    assert found == pytest.approx(math.exp(float(R.log_a[0])), rel=1e-14)
    assert cycles.predicted_scale(methods.METHODS["dense"](), total) is None


@pytest.mark.parametrize(("kind", "changes"), CASES, ids=lambda case: str(case)[:60])
def test_a_broken_off_run_ends_with_the_same_bits(kind, changes, tmp_path):
    """Stopped after every epoch in turn, at the ends of cycles too."""
    whole, numbers = trained(kind, tmp_path, **changes)
    checkpoints = Checkpoints(tmp_path / "checkpoints", "run")
    done = []
    for last in numbers[:-1]:
        with pytest.raises(Stop) as stop:
            trained(kind, tmp_path, checkpoints, stop_after=last, **changes)
        assert stop.value.args == ([last],)  # no earlier epoch again
        done.append(sorted(path.name for path in checkpoints.folder.iterdir()))
    again, rest = trained(kind, tmp_path, checkpoints, **changes)
    assert rest == numbers[-1:]
    same(again, whole)
    assert done[0] == ["000001.npz"]
    assert done[1] == ["000001.npz", "000002.npz"]
    assert done[-1] == [f"{n:06d}.npz" for n in numbers[-3:-1]]


def test_checkpoints_are_ten_seconds_apart(tmp_path, monkeypatch):
    """By a clock that does not go back."""
    now = [100.0]
    monkeypatch.setattr("gpu_bench.checkpoints.PERIOD", PERIOD)
    monkeypatch.setattr("gpu_bench.checkpoints.time.monotonic", lambda: now[0])
    checkpoints = Checkpoints(tmp_path, "run")
    due = [checkpoints.due]
    checkpoints.save(1, {})
    for now[0] in (109.9, 110.0):
        due.append(checkpoints.due)
    checkpoints.finish()
    assert due == [True, False, True]


def test_only_what_is_due_is_written(tmp_path, monkeypatch):
    """Of nine epochs the fourth and the eighth."""
    asked, saved = [], []
    monkeypatch.setattr(
        Checkpoints, "due", property(lambda _: asked.append(0) or not len(asked) % 4)
    )
    monkeypatch.setattr(Checkpoints, "save", lambda _, number, state: saved.append(number))
    trained(Cyclic, tmp_path, Checkpoints(tmp_path, "run"))
    assert saved == [4, 8]


def test_a_checkpoint_is_written_beside_the_training(tmp_path, monkeypatch):
    """`save` comes back before the disk has it, `finish` after, and an error is not lost."""
    go_on, written = threading.Event(), []

    def slowly(path, content):
        assert go_on.wait(60)
        written.append(path.name)
        raise OSError("disk full")

    monkeypatch.setattr("gpu_bench.checkpoints.atomic_write", slowly)
    checkpoints = Checkpoints(tmp_path, "run")
    checkpoints.save(1, {"x": np.ones(3)})
    assert written == []
    go_on.set()
    with pytest.raises(OSError, match="disk full"):
        checkpoints.finish()
    assert written == ["000001.npz"]


def test_runs_in_a_row_share_images_and_device_tensors(tmp_path):
    """Data are read, hashed and moved once in a process, whatever the seed."""
    spec = spec_of(Cyclic)
    one, other = (Experiment(spec | {"seed": s}, Place(tmp_path), Ranks()) for s in (0, 1))
    assert one.batches.dataset is other.batches.dataset
    assert one.batches._train is other.batches._train
    assert one.batches._test is other.batches._test
    assert one.batches.seed != other.batches.seed


def test_float32_is_float32_and_the_row_says_so(tmp_path, monkeypatch):
    """Torch's default has ten bits of mantissa in CUDA's convolutions."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    experiment = experiment_of(Cyclic, tmp_path)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert experiment.machine()["tf32"] is False
    experiment.device = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "H200")
    assert experiment.machine()["tf32"] is False
    with torch.backends.cudnn.flags(allow_tf32=True):
        assert experiment.machine()["tf32"] is True


def test_batch_norm_counts_no_batches(tmp_path):
    """A kernel a layer and step, for a number nobody reads."""
    norms = [
        m for m in experiment_of(Cyclic, tmp_path).model.modules() if hasattr(m, "running_var")
    ]
    assert [norm.num_batches_tracked for norm in norms] == [None]


@pytest.mark.parametrize("size", [1, 7, 8, 9, 800])
def test_packed_masks_come_back_as_they_were(size):
    """Eight to a byte; the last byte may hold fewer."""
    masks_ = [torch.arange(size) % (k + 2) == 0 for k in range(3)]
    arrays = {"masks": cycles._packed(masks_, size), "none": cycles._packed([], size)}
    assert arrays["masks"].nbytes == 3 * -(-size // 8)
    found = cycles._unpacked(arrays, "masks", size, 3)
    assert all(torch.equal(a, b) for a, b in zip(found, masks_, strict=True))
    assert cycles._unpacked(arrays, "none", size, 0) == []


def test_a_stop_after_the_last_epoch_repeats_none(tmp_path):
    whole, numbers = trained(Iterative, tmp_path, methods=("pilot",), cycles=2)
    checkpoints = Checkpoints(tmp_path / "checkpoints", "run")
    with pytest.raises(Stop):
        trained(Iterative, tmp_path, checkpoints, numbers[-1], methods=("pilot",), cycles=2)
    again, rest = trained(Iterative, tmp_path, checkpoints, methods=("pilot",), cycles=2)
    assert rest == []
    same(again, whole)


def _broken_off(tmp_path, after=5):
    checkpoints = Checkpoints(tmp_path / "checkpoints", "run")
    with pytest.raises(Stop):
        trained(Iterative, tmp_path, checkpoints, after, methods=("pilot",), cycles=2)
    return checkpoints


def _saved(checkpoints, number, arrays):
    checkpoints.save(number, arrays)
    checkpoints.finish()


def _torn(path):
    path.write_bytes(path.read_bytes()[:-2000])


def _flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def _foreign(path):
    _saved(Checkpoints(path.parent, "other"), 9, {"x": np.zeros(3)})
    (path.parent / "other" / "000009.npz").rename(path)


def _of_another_run(path):
    """The very same arrays under another run's name, as after a change of a flag."""
    run = Checkpoints(path.parent.parent, "run")
    ((_, arrays), *_) = run.read()
    _saved(Checkpoints(path.parent, "other"), 5, arrays)
    (path.parent / "other" / path.name).replace(path)


def _nameless(path):
    run = Checkpoints(path.parent.parent, "run")
    ((_, arrays), *_) = run.read()
    np.savez(path, **arrays)


def _of_another_model(path):
    _saved(Checkpoints(path.parent.parent, "run"), int(path.stem), {"origin": np.zeros(3)})


def _empty(path):
    path.write_bytes(b"")


DAMAGES = [_torn, _flipped, _foreign, _of_another_run, _nameless, _of_another_model, _empty]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_checkpoint_is_passed_over(damage, tmp_path, capsys):
    """With a sentence; the one before it is used, and the end is the same."""
    whole, _ = trained(Iterative, tmp_path, methods=("pilot",), cycles=2)
    checkpoints = _broken_off(tmp_path)
    damage(checkpoints.folder / "000005.npz")
    again, rest = trained(Iterative, tmp_path, checkpoints, methods=("pilot",), cycles=2)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("A checkpoint is passed over: ")
    assert rest == [5, 6]
    same(again, whole)


def _with(name, change):
    """Damage: an entry of the checkpoint is another."""

    def damage(path):
        run = Checkpoints(path.parent.parent, "run")
        arrays = next(arrays for found, arrays in run.read() if found == path)
        _saved(run, int(path.stem), {**arrays, name: change(arrays[name])})

    return damage


def _without(name):
    """Damage: the checkpoint lacks an entry."""

    def damage(path):
        run = Checkpoints(path.parent.parent, "run")
        arrays = next(arrays for found, arrays in run.read() if found == path)
        _saved(run, int(path.stem), {k: v for k, v in arrays.items() if k != name})

    return damage


LATE = {  # what is looked at last: all that came before it fitted
    "torn": _torn,
    "velocity": _with("trainer_velocity_1", lambda array: array[:-1]),
    "epochs": _with("trainer_epochs", lambda array: array[:, :-1]),
    "dtype": _with("trainer_velocity_0", lambda array: array.astype(np.float64)),
    "cycles": _with("cycles", lambda array: array[:, :-1]),
    "flat cycles": _with("cycles", np.ravel),
    **{f"no {name}": _without(name) for name in ("masks", "passed", "origin", "trainer_rest")},
}


@pytest.mark.parametrize("damage", LATE)
def test_without_a_good_checkpoint_a_run_starts_anew(damage, tmp_path, capsys):
    """With nothing of what was read before the refusal."""
    whole, numbers = trained(Iterative, tmp_path, methods=("pilot",), cycles=2)
    checkpoints = _broken_off(tmp_path)
    for path in sorted(checkpoints.folder.iterdir()):
        LATE[damage](path)
    again, rest = trained(Iterative, tmp_path, checkpoints, methods=("pilot",), cycles=2)
    assert capsys.readouterr().err.count("passed over") == 2
    assert rest == numbers
    same(again, whole)


def test_a_diverged_run_diverges_again_after_a_stop(tmp_path):
    """What is not a number is never gone on from: the last checkpoint is of finite weights."""
    changes = {"methods": ("dense",), "cycles": 2, "lr": 1e30}
    checkpoints = Checkpoints(tmp_path / "checkpoints", "run")
    whole, numbers = trained(Iterative, tmp_path, checkpoints, **changes)
    assert whole.status == "diverged"
    again, repeated = trained(Iterative, tmp_path, checkpoints, **changes)
    assert (again.status, again.message) == (whole.status, whole.message)
    assert repeated == numbers[-1:]
    assert len(again.epochs) == len(whole.epochs)


@pytest.mark.parametrize(
    ("entry", "change"),
    [
        ("velocity_1", lambda array: array[:-1]),
        ("velocity_1", lambda array: array.astype(np.float64)),
        ("parameter_0", lambda array: array.astype(np.float16)),
        ("buffer_1", lambda array: array.astype(np.int32)),
    ],
)
def test_nothing_is_restored_from_a_checkpoint_that_fits_in_part(entry, change, tmp_path):
    experiment = experiment_of(Iterative, tmp_path, methods=("pilot",))
    trainer = experiment.trainer()
    state = trainer.state()
    before = trainer.weights()
    state["rest"] = state["rest"] + 1
    state[entry] = change(state[entry])
    with pytest.raises(InputError, match=f"{entry} of the checkpoint must be (float32|int64)"):
        trainer.restore(state)
    assert torch.equal(trainer.rest.values, before.rest)


# --- masks from files ---------------------------------------------------------------------------


def with_mask(mask, tmp_path, name="dense"):
    """Train under a mask that is read from a file."""
    torch.save(mask, tmp_path / "mask.pt")
    setting = Cyclic(**QUICK, methods=(name,), mask_file=tmp_path / "mask.pt", cycles=1)
    place = Place(tmp_path, mask_file=str(tmp_path / "mask.pt"))
    experiment = Experiment(setting.runs()[0].spec, place, Ranks())
    return cycles.run(experiment, cyclic.PROTOCOL.plan(experiment)), experiment


def test_a_mask_file_is_trained(tmp_path):
    mask = masks.magnitude(masks.prunable(experiment_of(Cyclic, tmp_path).model), 0.6)
    outcome, experiment = with_mask(mask, tmp_path)
    assert torch.equal(outcome.masks[0], experiment.layout.flatten(mask))


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_a_layer_without_weights_is_trained_around(name, tmp_path):
    """Here nothing leads past it: the biases alone learn, and every number is finite."""
    weights = masks.prunable(experiment_of(Cyclic, tmp_path).model)
    mask = {k: torch.full(w.shape, k != "4.weight") for k, w in weights.items()}
    outcome, experiment = with_mask(mask, tmp_path, name)
    assert outcome.status == "completed"
    state = experiment.model.state_dict()
    assert not bool(state["4.weight"].any())
    assert all(bool(torch.isfinite(value).all()) for value in state.values())
    assert math.isfinite(outcome.cycles[0].accuracy)


def test_a_mask_that_keeps_all_is_no_mask(tmp_path):
    weights = masks.prunable(experiment_of(Cyclic, tmp_path).model)
    ones = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in weights.items()}
    outcome, _ = with_mask(ones, tmp_path)
    assert outcome.trainer.mask is None
    plain = experiment_of(Cyclic, tmp_path, methods=("dense",)).trainer()
    plain.train(outcome_batches(tmp_path))
    for one, two in zip(outcome.trainer.parameters, plain.parameters, strict=True):
        assert torch.equal(one, two)


def outcome_batches(tmp_path):
    return experiment_of(Cyclic, tmp_path, methods=("dense",)).batches


def test_a_mask_file_of_another_model_is_refused(tmp_path):
    masks.save(tmp_path / "mask.pt", {"other.weight": torch.ones(3, dtype=torch.bool)})
    setting = Cyclic(**QUICK, methods=("dense",), mask_file=tmp_path / "mask.pt")
    place = Place(tmp_path, mask_file=str(tmp_path / "mask.pt"))
    experiment = Experiment(setting.runs()[0].spec, place, Ranks())
    with pytest.raises(InputError, match="masks must be named like the model's weights"):
        cycles.run(experiment, cyclic.PROTOCOL.plan(experiment))


def test_a_mask_file_that_is_too_sparse_for_the_target_is_refused(tmp_path):
    experiment = experiment_of(Cyclic, tmp_path)
    masks.save(tmp_path / "m.pt", masks.magnitude(masks.prunable(experiment.model), 0.6))
    setting = Sculpt(**QUICK, methods=("dense",), mask_file=tmp_path / "m.pt", sparsities=(0.5,))
    place = Place(tmp_path, mask_file=str(tmp_path / "m.pt"))
    experiment = Experiment(setting.runs()[0].spec, place, Ranks())
    with pytest.raises(InputError, match=r"--sparsities must be at least .* one is 0\.5"):
        cycles.run(experiment, sculpt.PROTOCOL.plan(experiment))
