"""What a GPU asks of the trainer, on the CPU: captured steps, and no waiting inside an epoch."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import weakref

import pytest
import sync_points
import torch

from benchmarks import vision_parts
from benchmarks.vision_parts import Mode, Setting
from gpu_bench import capture, data, memory, methods
from gpu_bench.train import Trainer

CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def setting():
    """Three batches of 16 augmented random images."""
    images = vision_parts.random_images(48, 20)
    return Setting("cifar10", "random images", images, 16, 1, CPU, "wall")


# --- an epoch without waiting ---


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_an_epoch_reads_the_host_once(setting, name):
    """Training, augmentation, evaluation and the controller: one reading, at the end."""
    assert sync_points.of_an_epoch(setting, name) == ["tolist"]


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: float(x.sum()),
        lambda x: bool((x > 0).any()),
        lambda x: x.nonzero(),
        lambda x: x[x > 0],
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.add_(torch.tensor(1.0)),
        lambda x: torch.equal(x, x),
    ],
)
def test_what_would_wait_is_counted(wait):
    x = torch.arange(3.0)
    with sync_points.counted() as found:
        (x * 2).sum().add_(1.0)
    assert found == []
    with sync_points.counted() as found:
        wait(x)
    assert len(found) == 1


def test_a_state_crosses_the_bus_at_once(setting):
    """θ, velocities and batch norm's seventy tensors, each with its own bytes."""
    trainer = setting.trainer("pilot")
    trainer.train(setting.batches())
    with sync_points.counted() as found:
        state = trainer.state()
    assert found.count("cpu") == 1
    for name, tensor in trainer._tensors().items():
        assert state[name].shape == tuple(tensor.shape)
        assert torch.equal(torch.from_numpy(state[name].copy()), tensor.detach())
    kinds = {str(state[name].dtype) for name in trainer._tensors()}
    assert kinds == {"float32", "int64"}


# --- captured steps, with a CUDA that records what is asked of it ---


class Cuda:
    """Streams, graphs and their order; a graph replays by calling the captured step."""

    def __init__(self, monkeypatch):
        self.events, self.streams, self.current = [], 0, "main"
        self.trainer = self.refused = None
        monkeypatch.setattr(capture, "_streams", {})
        for name in ("Stream", "CUDAGraph", "graph", "stream", "device", "current_stream"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, f"_{name}"))

    def _Stream(self, device):
        self.streams += 1
        return _Stream(self, f"side {self.streams}")

    def _current_stream(self, device):
        return _Stream(self, self.current)

    @contextlib.contextmanager
    def _stream(self, stream):
        before, self.current = self.current, stream.name
        yield
        self.current = before

    def _device(self, device):
        return contextlib.nullcontext()

    def _CUDAGraph(self):
        return _Graph(self)

    @contextlib.contextmanager
    def _graph(self, graph, stream, capture_error_mode):
        """Record without running: what the step does to memory is undone."""
        assert capture_error_mode == "thread_local"
        trainer = self.trainer
        kept = [*trainer._tensors().values(), trainer.x.values, trainer.sums, trainer.counts]
        before = [tensor.clone() for tensor in kept]
        if self.refused is not None:
            raise self.refused
        yield
        with torch.no_grad():
            for tensor, value in zip(kept, before, strict=True):
                tensor.copy_(value)
        self.events.append(f"capture on {stream.name}")


class _Stream:
    def __init__(self, cuda, name):
        self.cuda, self.name = cuda, name

    def wait_stream(self, other):
        self.cuda.events.append(f"{self.name} waits for {other.name}")


class _Graph:
    def __init__(self, cuda):
        self.cuda = cuda

    def replay(self):
        self.cuda.events.append(f"replay on {self.cuda.current}")
        trainer = self.cuda.trainer
        for one, step in zip(trainer._captured, (trainer._step, trainer._count), strict=True):
            if one.graph is self:
                step(one.images, one.labels)


@pytest.fixture
def cuda(monkeypatch):
    return Cuda(monkeypatch)


def captured(setting, cuda, name, epochs):
    trainer = setting.trainer(name, epochs=epochs)
    trainer._captured = capture.Captured(CPU), capture.Captured(CPU)
    cuda.trainer = trainer
    return trainer


@pytest.mark.parametrize("name", ["dense", "pilot", "str", "continuous"])
def test_captured_steps_are_the_eager_ones(setting, cuda, name):
    """Two epochs, bit for bit: fixed inputs, η and α in memory, nothing skipped or done twice."""
    eager = setting.trainer(name, epochs=2)
    eager.train(setting.batches())
    ours = captured(setting, cuda, name, 2)
    ours.train(setting.batches())
    for key, tensor in eager._tensors().items():
        assert torch.equal(ours._tensors()[key], tensor), key
    assert cuda.events.count("capture on side 1") == 1
    assert [event for event in cuda.events if event.startswith("replay")] == 3 * ["replay on main"]


def test_what_moves_between_captured_steps_is_seen_by_the_next(setting, cuda):
    """RigL's mask, by the gradient that the replay has left; no step is captured anew."""
    trainers = [setting.trainer("rigl", epochs=2), captured(setting, cuda, "rigl", 2)]
    start = trainers[0].parameters[1].clone()
    for trainer in trainers:
        object.__setattr__(trainer.method, "interval", 2)
        trainer.train(setting.batches())
    eager, ours = trainers
    assert not torch.equal(eager.parameters[1], start)
    for key, tensor in eager._tensors().items():
        assert torch.equal(ours._tensors()[key], tensor), key
    assert cuda.events.count("capture on side 1") == 1


def test_captured_evaluations_are_the_eager_ones(setting, cuda):
    """Of a batch's shape; the last, smaller one is eager. They know what the weights are now."""
    batches, trainer = setting.batches(), captured(setting, cuda, "dense", 1)
    found = []
    for _ in range(6):
        found.append(trainer.accuracy(batches.evaluation()).clone())
        trainer.x.values.mul_(-1.0)
    assert cuda.events.count("replay on main") >= 2
    trainer._captured = None
    for value in found:
        assert torch.equal(trainer.accuracy(batches.evaluation()), value)
        trainer.x.values.mul_(-1.0)


def test_a_graph_is_freed_when_training_ends_and_with_its_trainer(setting, cuda):
    """Without the garbage collector: one of a cycle may take half of the device's memory."""
    trainer = captured(setting, cuda, "pilot", 2)
    graphs = []
    steps = trainer._captured[0]
    trainer.train(setting.batches(), None, lambda _: graphs.append(steps.graph))
    assert graphs[-1] is not None
    assert steps.graph is None
    freed = weakref.ref(trainer)
    cuda.trainer = None
    gc.disable()
    try:
        del trainer
        assert freed() is None
    finally:
        gc.enable()


def test_where_capturing_fails_steps_are_eager(setting, cuda):
    """With a warning, once, and the same numbers; not where the memory is full."""
    eager, ours = setting.trainer("dense", epochs=2), captured(setting, cuda, "dense", 2)
    eager.train(setting.batches())
    cuda.refused = RuntimeError("operation would make the legacy stream depend on a capture")
    with pytest.warns(UserWarning, match="could not be captured") as found:
        ours.train(setting.batches())
    assert len(found) == 1
    for key, tensor in eager._tensors().items():
        assert torch.equal(ours._tensors()[key], tensor), key
    cuda.refused = RuntimeError("CUDA error: out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        captured(setting, cuda, "dense", 2).train(setting.batches())


def test_a_thread_keeps_one_side_stream(setting, cuda):
    """Torch gives out 32, and then the first again: another thread's."""
    for _ in range(3):
        captured(setting, cuda, "dense", 1).train(setting.batches())
    assert cuda.streams == 1
    other = threading.Thread(target=capture._side, args=(CPU,))
    other.start()
    other.join()
    assert cuda.streams == 2


def test_no_step_of_another_thread_runs_while_one_captures(cuda, monkeypatch):
    """CuDNN's search in an eager step waits for the device, which ends every capture."""
    order, begun, waiting = [], threading.Event(), threading.Event()

    @contextlib.contextmanager
    def graph(*_, **__):
        order.append("capture begins")
        begun.set()
        waiting.wait()
        time.sleep(0.1)  # in which the other would step
        yield
        order.append("capture ends")

    def step(*_):
        order.append("step of the other")

    def others():
        begun.wait()
        waiting.set()
        capture.Captured(CPU).eager(step, images, images)

    monkeypatch.setattr(torch.cuda, "graph", graph)
    cuda.trainer = None
    images, ours = torch.zeros(2), capture.Captured(CPU)
    other = threading.Thread(target=others)
    other.start()
    for _ in range(capture.EAGER_STEPS):
        ours(lambda *_: None, images, images)
    ours._capture(lambda *_: None, images, images)
    other.join()
    assert order == ["capture begins", "capture ends", "step of the other"]


def test_fresh_statistics_are_taken_in_turn(setting, cuda):
    """On the side stream, as the other eager steps, and with the same numbers."""
    eager, ours = setting.trainer("dense"), captured(setting, cuda, "dense", 1)
    for trainer in (eager, ours):
        trainer.refresh(setting.batches().epoch(0))
    assert cuda.events == 3 * ["side 1 waits for main", "main waits for side 1"]
    for one, other in zip(eager.buffers, ours.buffers, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("words", [*memory.FULL, "CUDA error: out of memory", "cuDNN: fine"])
def test_a_full_memory_is_known_by_its_words(words):
    """Also where leaving the capture raised another error on top of it."""
    full = "fine" not in words
    inner, outer = RuntimeError(words), ValueError("capture_end")
    outer.__context__ = inner
    assert memory.is_full(inner) == memory.is_full(outer) == full


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_weights_rounded_once_a_step_give_the_bits_of_autocast(setting, name):
    """Each weight is used once in a pass, so its gradient is rounded once, as autocast's is."""
    mode = Mode(half=True)
    batches = setting.batches(mode)
    ours, theirs = (setting.trainer(name, mode, epochs=2) for _ in range(2))
    theirs._rounds = False
    for trainer in (ours, theirs):
        trainer.train(batches, lambda t=trainer: t.accuracy(batches.evaluation()))
    assert ours.x.narrow is not None
    assert theirs.x.narrow is None
    for trainer in (ours, theirs):
        trainer.fold()
    assert {weight.dtype for weight in ours.model.parameters()} == {torch.float32}
    for key, tensor in theirs._tensors().items():
        assert torch.equal(ours._tensors()[key], tensor), key
    assert torch.equal(ours.x.values, theirs.x.values)
    assert [e.test_accuracy for e in ours.history.epochs] == [
        e.test_accuracy for e in theirs.history.epochs
    ]


def test_eager_steps_share_one_side_stream(setting, cuda):
    trainer = captured(setting, cuda, "dense", 1)
    trainer.train(setting.batches())
    assert cuda.events == 3 * ["side 1 waits for main", "main waits for side 1"]
    assert cuda.streams == 1


def test_a_batch_of_another_shape_is_a_step_of_its_own(setting, cuda):
    trainer = captured(setting, cuda, "dense", 2)
    images, labels = next(iter(setting.batches().epoch(1)))
    trainer.model.train()
    for _ in range(4):
        trainer.step(images, labels, 0.1)
    cuda.events.clear()
    trainer.step(images[:8], labels[:8], 0.1)
    assert cuda.events == ["side 1 waits for main", "main waits for side 1"]
    trainer.step(images, labels, 0.1)
    assert cuda.events[-1] == "replay on main"


def test_only_cuda_and_one_rank_capture(setting):
    rates = torch.ones(3).double().numpy()
    trainer = Trainer(setting.model(), methods.METHODS["dense"](), rates, 1, capture=True)
    assert trainer._captured is None


def test_cuda_evaluates_in_large_batches(monkeypatch):
    """Small ones are bound by their launches; the answers are the same."""
    digits = data.load("digits")
    batches = data.Batches(digits, 64, 0)
    sizes = [len(labels) for _, labels in batches.evaluation()]
    assert max(sizes) == 64
    batches.device = torch.device("cuda")  # chooses the size, moves nothing
    large = [len(labels) for _, labels in batches.evaluation()]
    assert large == [sum(sizes)]
