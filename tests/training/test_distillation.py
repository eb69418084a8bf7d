"""Distillation: the loss is timm's, the teacher is asked as it was trained, and never changes."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn import functional

import ddpnas
from ddpnas.errors import OptionError, RunError
from ddpnas.training import OpenedNetwork, TrainStep
from ddpnas.training.distillation import Teacher, as_teacher, distillation_loss

QUICK = ddpnas.Recipe(epochs=2, batch_size=16, ema=0.0)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    )


def test_the_loss_is_that_of_timms_task():
    task = pytest.importorskip("timm.task")
    student, teacher = nn.Linear(4, 3), nn.Linear(4, 3)
    student.pretrained_cfg = {"mean": (0.0,), "std": (1.0,)}
    x, labels = torch.randn(8, 4), torch.arange(8) % 3
    theirs = task.LogitDistillationTask(
        student, task.DistillationTeacher(teacher), nn.CrossEntropyLoss(), temperature=2.0,
        verbose=False,
    )  # fmt: skip
    theirs.teacher.normalize_input = lambda x, *_: x  # these are no images
    mine = distillation_loss(student(x), teacher(x), 2.0)
    torch.testing.assert_close(mine, theirs(x, labels)["kd_loss"])
    with pytest.raises(OptionError, match="give a teacher of the same classes"):
        distillation_loss(torch.zeros(2, 3), torch.zeros(2, 4))


def test_a_step_learns_half_from_the_teacher_on_the_same_mixed_batch():
    model, teacher = nn.Linear(4, 3), nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    x, labels = torch.randn(8, 4), torch.arange(8) % 3

    def mix(inputs, labels):
        return inputs.flip(0) + inputs, functional.one_hot(labels, 3).float()

    arguments = (model, optimizer, list(model.parameters()))
    loss = TrainStep(*arguments, mix=mix, teacher=Teacher(teacher, "t"))(x, labels)
    mixed, targets = mix(x, labels)
    wanted = 0.5 * functional.cross_entropy(model(mixed), targets)
    wanted = wanted + 0.5 * distillation_loss(model(mixed), teacher(mixed))
    torch.testing.assert_close(loss, wanted.detach())
    assert all(p.grad is None for p in teacher.parameters())


def test_a_teacher_gets_images_as_it_was_trained_on_them(stripes):
    model = network()
    own = dataclasses.replace(stripes.preprocessing, mean=(0.1,), std=(0.7,))
    teacher = as_teacher(OpenedNetwork(model, "net", own), stripes, torch.device("cpu"))
    images = stripes.train.inputs[:4]
    wanted = model.eval()(own.normalize(images))
    torch.testing.assert_close(teacher(stripes.preprocessing.normalize(images)), wanted)


def test_a_student_comes_close_to_its_teacher_which_stays_as_it_is(stripes):
    recipe = dataclasses.replace(QUICK, epochs=6)
    teacher = ddpnas.train(network(), stripes, recipe, device="cpu").model.train()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    found = {}
    for given in (None, teacher):
        student = network(seed=1)
        result = ddpnas.train(student, stripes, recipe, teacher=given, device="cpu")
        x = stripes.preprocessing.normalize(stripes.test.inputs)
        with torch.no_grad():
            gap = distillation_loss(result.model(x), teacher.eval()(x))
        found[given is None] = float(gap)
        teacher.train()
    assert found[False] < found[True]
    assert all(torch.equal(before[n], t) for n, t in teacher.state_dict().items())


def test_resuming_refuses_another_teacher(stripes, tmp_path):
    options = {"folder": tmp_path, "device": "cpu"}

    def stop(record):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        ddpnas.train(network(), stripes, QUICK, teacher=network(3), on_epoch=stop, **options)
    for teacher in (None, network(4)):
        with pytest.raises(RunError, match="cannot go on .*teacher was .* and is"):
            ddpnas.train(network(), stripes, QUICK, teacher=teacher, resume=True, **options)
    resumed = ddpnas.train(network(), stripes, QUICK, teacher=network(3), resume=True, **options)
    unbroken = ddpnas.train(network(), stripes, QUICK, teacher=network(3), device="cpu")
    assert [r["loss"] for r in resumed.history] == [r["loss"] for r in unbroken.history]
    with pytest.raises(RunError, match="teacher was .* and is null"):
        ddpnas.train(network(), stripes, QUICK, resume=True, **options)


def test_a_teacher_that_fails_on_the_inputs_is_refused(stripes):
    with pytest.raises(OptionError, match="the teacher Conv2d fails on inputs of shape 1x8x8"):
        as_teacher(nn.Conv2d(3, 3, 8), stripes, torch.device("cpu"))


def test_a_teacher_of_other_classes_is_refused(stripes, tmp_path):
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\ndef network(num_classes=9):\n"
        "    layers = nn.Conv2d(1, 4, 8), nn.Flatten(), nn.Linear(4, num_classes)\n"
        "    return nn.Sequential(*layers)\n"
    )
    name = f"{tmp_path / 'net.py'}:network"
    with pytest.raises(OptionError, match="does not know the 3 classes of stripes; fine-tune it"):
        ddpnas.train(network(), stripes, QUICK, teacher=name, device="cpu")
    opened = OpenedNetwork(network(), "runs/a", classes=("x", "y", "z"))
    with pytest.raises(OptionError, match="knows the classes x, y, z; those of stripes are 0, 1"):
        ddpnas.train(network(), stripes, QUICK, teacher=opened, device="cpu")
    with pytest.raises(OptionError, match="teacher"):
        ddpnas.train(network(), stripes, QUICK, teacher=3, device="cpu")
