"""What an ONNX file takes, says of itself and promises; what is refused."""

import json
import sys
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

import ddpnas
from ddpnas import Architecture, TrainedModel, export_onnx
from ddpnas.errors import ExportError, OptionError
from ddpnas.export import Deployable, Input, OnnxFile, export_torch
from ddpnas.export.exported import check_outputs
from ddpnas.export.trained import export_trained
from tests.export.networks import settled


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return settled(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(4 * 3 * 4, 5),
        )
    )


SHAPE, MEAN, STD = (3, 8, 10), (0.2, 0.4, 0.6), (0.3, 0.2, 0.1)


def described(network, about=None, preprocessing=False):
    takes = Input(SHAPE, MEAN, STD, preprocessing)
    return Deployable(network, takes, tuple("abcde"), about or {})


@pytest.fixture(scope="module")
def pictures():
    return torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (120, *SHAPE), dtype=np.uint8)
    )


@pytest.fixture(scope="module")
def files(network, pictures, tmp_path_factory):
    """Return the exports with the normalisation outside and inside."""
    folder = tmp_path_factory.mktemp("files")
    return [
        export_onnx(
            described(network, {"architecture": "a;b"}, preprocessing=inside),
            folder / f"{inside}.onnx",
            images=pictures,
        )
        for inside in (False, True)
    ]


def test_the_normalisation_is_that_of_training_inside_the_file_or_outside(files, network, pictures):
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    with torch.no_grad():
        expected = network((pictures / 255 - mean) / std)
    for done in files:
        assert done.agreement.inputs == done.agreement.equal_top1 == 120
        assert torch.allclose(OnnxFile(done.path).outputs(pictures), expected, atol=1e-4)


def test_the_input_is_float_nchw_or_with_preprocessing_uint8_nhwc_of_any_number(files):
    import onnxruntime

    for done, shape, kind in zip(
        files, ([3, 8, 10], [8, 10, 3]), ("tensor(float)", "tensor(uint8)")
    ):
        session = onnxruntime.InferenceSession(str(done.path))
        given = session.get_inputs()[0]
        assert (given.name, given.type, given.shape) == ("input", kind, ["batch", *shape])
        dtype = np.float32 if kind == "tensor(float)" else np.uint8
        for n in (1, 2, 7):
            assert session.run(["logits"], {"input": np.zeros((n, *shape), dtype)})[0].shape == (
                n,
                5,
            )


def test_the_file_says_what_is_needed_to_use_it_and_nothing_of_the_machine(files):
    outside, inside = (OnnxFile(done.path) for done in files)
    assert outside.classes == tuple("abcde") and outside.takes.mean == MEAN
    said = outside.metadata
    assert json.loads(said["std"]) == list(STD) and json.loads(said["input_shape"]) == list(SHAPE)
    assert json.loads(said["about"]) == {"architecture": "a;b"}
    assert json.loads(said["versions"])["ddpnas"] == ddpnas.__version__
    assert said["input_layout"].startswith("float32 NCHW") and said["preprocessing"] == "outside"
    assert inside.metadata["input_layout"].startswith("uint8 NHWC")
    # 4 kernels of 3x3x3 with a bias each; 5 rows of 48 weights and a bias
    assert said["params"] == str(4 * 27 + 4 + 5 * 48 + 5)
    assert said["macs"] == str(12 * 4 * 27 + 5 * 48)
    assert b".py" not in files[0].path.read_bytes()


def test_a_file_is_read_as_it_was_described(files, network, tmp_path):
    for done in files:
        assert OnnxFile(done.path).takes == done.takes
    bicubic = Input(SHAPE, MEAN, STD, interpolation="bicubic")
    path = export_onnx(Deployable(network, bicubic), tmp_path / "net.onnx").path
    assert OnnxFile(path).takes == bicubic
    content = path.read_bytes().replace(b"bicubic", b"biquick")
    with pytest.raises(OptionError, match="interpolation in the file: .*bilinear"):
        OnnxFile(content)


def test_a_fixed_batch_of_one(network, tmp_path):
    done = export_onnx(described(network), tmp_path / "one.onnx", dynamic_batch=False)
    opened = OnnxFile(done.path)
    assert opened.session.get_inputs()[0].shape == [1, 3, 8, 10]
    assert len(opened.outputs(opened.takes.random(3))) == 3


def test_the_model_stays_as_it_was(network, tmp_path):
    network.train()
    export_onnx(described(network), tmp_path / "net.onnx")
    assert network.training and all(p.requires_grad for p in network.parameters())
    network.eval()


def test_a_file_that_disagrees_is_not_written(network, pictures, tmp_path, monkeypatch):
    outputs = OnnxFile.outputs
    monkeypatch.setattr(OnnxFile, "outputs", lambda self, raw: outputs(self, raw) * 1.01)
    with pytest.raises(ExportError, match="does not compute what the network computes"):
        export_onnx(described(network), tmp_path / "net.onnx", images=pictures)
    assert not list(tmp_path.iterdir())


def test_another_class_is_a_disagreement_unless_the_two_are_equally_likely():
    takes, x = Input((2,)), torch.tensor([[1.0, 1.0001], [5.0, 0.0]])
    assert check_outputs(nn.Identity(), x.clone(), takes, x).equal_top1 == 2
    tie = torch.tensor([[1.0001, 1.0], [5.0, 0.0]])
    assert check_outputs(nn.Identity(), tie, takes, x).equal_top1 == 1
    with pytest.raises(ExportError):
        check_outputs(nn.Identity(), torch.tensor([[1.0, 1.0], [float("nan"), 0.0]]), takes, x)


def test_a_torch_export_file_gives_the_same_without_this_package(network, pictures, tmp_path):
    path = tmp_path / "net.pt2"
    found = export_torch(described(network, preprocessing=True), path, images=pictures)
    assert found.bytes == path.stat().st_size
    with zipfile.ZipFile(path) as parts:
        assert not any(b"_graph.py" in parts.read(part) for part in parts.namelist())
    assert found.agreement.equal_top1 == found.agreement.inputs == 120
    extra = {"metadata.json": ""}
    read = torch.export.load(path, extra_files=extra).module()
    for n in (1, 3):
        x = pictures[:n].permute(0, 2, 3, 1).contiguous()
        assert torch.allclose(read(x), _expected(network, pictures[:n]), atol=1e-4)
    assert json.loads(json.loads(extra["metadata.json"])["classes"]) == list("abcde")


def _expected(network, pictures):
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    with torch.no_grad():
        return network((pictures / 255 - mean) / std)


def test_wrong_inputs_are_refused_in_a_sentence(network, tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    with pytest.raises(OptionError, match="preprocessing is for images"):
        Input(SHAPE, preprocessing=True)
    with pytest.raises(OptionError, match="each of 3 channels"):
        Input(SHAPE, mean=(0.5,), std=(0.5,))
    with pytest.raises(OptionError, match=r"Sequential is unknown: export Deployable\(model"):
        export_onnx(network, path)
    for images, sentence in (
        (torch.zeros(2, 3, 9, 9, dtype=torch.uint8), "of shape"),
        (torch.zeros(2, *SHAPE), "uint8 images"),
        (torch.zeros(0, *SHAPE, dtype=torch.uint8), "must be at least one"),
        (42, "images to check a file with must be a torch.Tensor, not 42"),
    ):
        for export in (export_onnx, export_torch):
            with pytest.raises(OptionError, match=sentence):
                export(described(network), path, images=images)
    for export in (export_onnx, export_torch):
        with pytest.raises(OptionError, match="path of export_.* must be .*, not None"):
            export(described(network), None)
    with pytest.raises(OptionError, match="there is no file"):
        OnnxFile(path)
    path.write_bytes(b"no network")
    with pytest.raises(OptionError, match="as an ONNX file"):
        OnnxFile(path)
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(OptionError, match="pip install onnxscript"):
        export_onnx(described(network), path)


def test_biases_of_zeros_and_equal_tensors_are_accounted_for(tmp_path):
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    layers += [nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 5)]
    nn.init.zeros_(layers[0].bias)
    nn.init.zeros_(layers[4].bias)
    nn.init.ones_(layers[4].weight)
    nn.init.ones_(layers[6].weight)
    network = nn.Sequential(*layers).eval()
    counts = export_onnx(Deployable(network, Input(SHAPE, MEAN, STD)), tmp_path / "n.onnx").counts
    assert counts.implied_params == 4 + 4 + 16 and counts.add_up
    assert "24 left out, all zero or equal to others; this adds up to" in counts.explain()


def shared_prelu():
    act = nn.PReLU()
    return nn.Sequential(nn.Conv2d(1, 4, 3), act, nn.Conv2d(4, 4, 3), act, nn.Flatten())


def shared_norm():
    norm = nn.BatchNorm2d(4)
    return nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.Conv2d(4, 4, 3), norm, nn.Flatten())


def shared_convolution():
    block = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(nn.Conv2d(1, 4, 1), block, block, nn.Flatten())


def tied_linear():
    one, other = nn.Linear(64, 64), nn.Linear(64, 64)
    other.weight = one.weight
    return nn.Sequential(nn.Flatten(), one, nn.ReLU(), other)


@pytest.mark.parametrize("make", [shared_prelu, shared_norm, shared_convolution, tied_linear])
def test_shared_weights_are_counted_once_in_the_file(make, tmp_path):
    torch.manual_seed(0)
    network = settled(make()).eval()
    counts = export_onnx(Deployable(network, Input((1, 8, 8))), tmp_path / "a.onnx").counts
    assert counts.network.params == sum(p.numel() for p in network.parameters())
    assert counts.add_up, counts.explain()


class Runs(nn.Module):
    """Layers run by a function."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x):
        return self.function(x, *self.layers)


def with_coordinates(x, conv, last):
    line = torch.linspace(-1, 1, x.shape[-1], device=x.device)
    place = line.expand(x.shape[0], 1, x.shape[-2], x.shape[-1])
    return last(conv(torch.cat([x, place], 1)).mean((2, 3)))


def attention():
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    return Runs(lambda x, a, last: last(a(x, x, x)[0].mean(1)), layer, nn.Linear(8, 3)), (5, 8)


def encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(40, 3)), (5, 8)


def coordinates():
    return Runs(with_coordinates, nn.Conv2d(3, 4, 3), nn.Linear(4, 3)), (2, 8, 8)


def transposed():
    up = nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2)
    return nn.Sequential(up, nn.Flatten(), nn.Linear(6 * 11 * 11, 3)), (4, 5, 5)


def dead_end():
    def run(x, first, aside, last):
        x = first(x).relu_()
        aside(x)
        return last(x.mean((2, 3)))

    aside = nn.Sequential(nn.Conv2d(4, 5, 3), nn.ReLU(inplace=True), nn.Conv2d(5, 5, 3))
    return Runs(run, nn.Conv2d(3, 4, 3), aside, nn.Linear(4, 3)), (3, 8, 8)


@pytest.mark.parametrize("make", [attention, encoder, coordinates, transposed, dead_end])
def test_attention_tensors_made_in_between_and_transposed_convolutions_add_up(make, tmp_path):
    network, shape = make()
    done = export_onnx(Deployable(network.eval(), Input(shape)), tmp_path / "net.onnx")
    assert done.counts.add_up and not done.counts.file.uncounted, done.counts.explain()
    assert done.counts.network.macs == ddpnas.count_network(network, shape)["macs"]
    assert OnnxFile(done.path).metadata["macs"] == str(done.counts.file.macs)


def recurrent(layer):
    return Runs(lambda x, a, last: last(a(x)[0][:, -1]), layer(4, 8, batch_first=True),
                nn.Linear(8, 3)), (3, 4)  # fmt: skip


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU])
def test_operators_that_cannot_be_counted_are_named(layer, tmp_path):
    network, shape = recurrent(layer)
    done = export_onnx(Deployable(network, Input(shape)), tmp_path / "net.onnx")
    gates = {nn.LSTM: 4, nn.GRU: 3}[layer]
    assert done.counts.network.macs == 3 * gates * 8 * (4 + 8) + 8 * 3
    assert done.counts.file.macs is None and layer.__name__ in done.counts.file.uncounted
    assert done.counts.add_up and "adds up to the" in done.counts.explain()
    assert not {"macs"} & OnnxFile(done.path).metadata.keys() >= {"params"}


def test_parameters_that_the_exporter_computes_with_are_not_compared(tmp_path):
    class Placed(nn.Module):
        def __init__(self):
            super().__init__()
            self.place, self.last = nn.Parameter(torch.randn(1, 10, 8)), nn.Linear(8, 3)

        def forward(self, x):
            return self.last((x + self.place[:, :5]).mean(1))

    done = export_onnx(Deployable(Placed(), Input((5, 8))), tmp_path / "net.onnx")
    assert done.counts.file.params is None and done.counts.file.macs == 24
    assert "this adds up to the 24 MACs of the network" in done.counts.explain()
    assert "params" not in OnnxFile(done.path).metadata


def test_a_network_that_needs_values_is_exported_without_counts(tmp_path):
    scale = [2.0]

    def run(x, last):
        return last(x) * (0 if x.is_meta and scale.pop() else 1)

    network = Runs(run, nn.Linear(4, 3))
    network.scale = scale
    export_onnx(Deployable(network, Input((4,))), tmp_path / "net.onnx")
    done = export_onnx(Deployable(network, Input((4,))), tmp_path / "again.onnx")
    assert done.counts is None and done.agreement.equal_top1 == 64
    assert "macs" not in OnnxFile(done.path).metadata


TYPES = [torch.float64, torch.float16, torch.int32, torch.int8, torch.uint8, torch.bool]


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_inputs_of_any_type(dtype, tmp_path):
    network = Runs(lambda x, last: last(x.float()), nn.Linear(4, 3))
    done = export_onnx(Deployable(network, Input((4,), dtype=dtype)), tmp_path / "net.onnx")
    opened = OnnxFile(done.path)
    assert opened.takes.dtype == dtype and opened.outputs(opened.takes.random(3)).shape == (3, 3)


def test_inputs_that_numpy_does_not_have_are_refused_in_a_sentence(tmp_path):
    network = Runs(lambda x, last: last(x.float()), nn.Linear(4, 3))
    with pytest.raises(ExportError, match="no inputs of type tensor.bfloat16."):
        export_onnx(Deployable(network, Input((4,), dtype=torch.bfloat16)), tmp_path / "net.onnx")


def test_an_error_of_onnxruntime_is_one_of_the_export(tmp_path, monkeypatch):
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as Missing

    def refuse(*given, **named):
        raise Missing("no kernel for Conv(11) of doubles")

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", refuse)
    model = Deployable(nn.Linear(4, 3), Input((4,)))
    with pytest.raises(ExportError, match="cannot run the file: no kernel"):
        export_onnx(model, tmp_path / "net.onnx")
    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    with pytest.raises(ExportError, match="cannot open the file .*: no kernel"):
        export_onnx(model, tmp_path / "net.onnx")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("export", [export_onnx, export_torch])
@pytest.mark.parametrize(
    ("run", "found"),
    [
        (lambda x: (x, x), "tuple"),
        (lambda x: {"logits": x}, "dict"),
        (lambda x: x.sum(), r"a tensor \(\)"),
        (lambda x: x[:, None], r"a tensor \(2, 1, 4\)"),
        (lambda x: x[:1], r"a tensor \(1, 4\)"),
    ],
)
def test_a_network_that_gives_no_tensor_of_logits_is_refused(run, found, export, tmp_path):
    with pytest.raises(ExportError, match=f"gives {found}; .* one tensor .2, classes"):
        export(Deployable(Runs(run), Input((4,))), tmp_path / "net")


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize("export", [export_onnx, export_torch])
def test_a_network_that_torch_cannot_trace_is_refused_in_a_sentence(tmp_path, export):
    with pytest.raises(ExportError, match=r"^torch.export cannot trace this network: [^\n]+$"):
        export(Deployable(Branches(), Input((4,))), tmp_path / "net")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("export", [export_onnx, export_torch])
def test_a_network_that_fails_on_its_inputs_is_refused_in_a_sentence(tmp_path, export):
    tokens = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 3))
    with pytest.raises(ExportError, match=r"^the network fails on float32 .batch, 5.: [^\n]+$"):
        export(Deployable(tokens, Input((5,))), tmp_path / "net")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("of_space", [True, False])
def test_a_trained_network_of_tokens_is_exported_for_whole_numbers(of_space, tmp_path):
    def network(choose, num_classes=3, input_shape=(5,)):
        last = choose("last", {"on": nn.ReLU, "off": nn.Identity})
        return nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), last, nn.Linear(20, num_classes))

    space = ddpnas.SearchSpace(network, (5,), input_dtype=torch.int64)
    model = TrainedModel(
        space.build(space.decode([0])).eval(),
        space.decode([0]) if of_space else Architecture({}),
        "",
        (5,),
        ("a", "b", "c"),
        space=space if of_space else None,
    )
    data = ddpnas.make_data((torch.arange(200).reshape(40, 5) % 9, torch.arange(40) % 3))
    assert (Deployable.of(model).takes.dtype == torch.int64) == of_space
    found = export_trained("onnx", model, data, tmp_path, print)
    opened = OnnxFile(found["onnx"])
    assert opened.takes.dtype == torch.int64
    raw = data.valid.inputs
    torch.testing.assert_close(opened.outputs(raw).softmax(1), model.predict(raw))
