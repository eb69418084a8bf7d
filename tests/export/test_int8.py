"""int8 files of a network trained on real images, and what is said of them."""

import pytest
import torch

import ddpnas
from ddpnas import export_onnx
from ddpnas.errors import OptionError
from ddpnas.export import (
    Deployable,
    FileMeasurement,
    Input,
    OnnxFile,
    measure_files,
    measure_latencies,
    quantize_onnx,
    raw_inputs,
    summarize_int8,
)


@pytest.fixture(scope="module")
def data():
    return ddpnas.load_data("fashion-mnist-12k", limit_train_images=2000, image_size=14)


@pytest.fixture(scope="module")
def files(data, tmp_path_factory):
    """Return the float and the int8 file, normalisation inside, of a network with skips."""
    torch.manual_seed(0)
    space = ddpnas.create_space(
        "nasbench201", channels=4, cells_per_stage=1, input_shape=data.input_shape
    )
    choices = "|nor_conv_3x3~0|+|skip_connect~0|nor_conv_3x3~1|+|skip_connect~0|none~1|none~2|"
    trained = ddpnas.train(space.build(space.parse(choices)), data, epochs=2, device="cpu")
    folder = tmp_path_factory.mktemp("int8")
    test = raw_inputs(data, data.test, 500)
    takes = Input(data.input_shape, data.mean, data.std, preprocessing=True)
    deployable = Deployable(trained.model, takes, data.classes)
    done = export_onnx(deployable, folder / "float.onnx", images=test)
    made = quantize_onnx(done.path, folder / "int8.onnx", raw_inputs(data, data.train, 200))
    assert made.agreement.inputs == 200 and made.bytes == made.path.stat().st_size
    return OnnxFile(done.path), OnnxFile(made.path)


def test_weights_are_integers_by_channel_and_input_and_output_are_as_they_were(files):
    import onnx

    before, after = files
    model = onnx.load_from_string(after.content)
    scales = {i.name: list(i.dims) for i in model.graph.initializer}
    kinds = {i.name: i.data_type for i in model.graph.initializer}
    dequantized = {
        n.output[0]: n.input for n in model.graph.node if n.op_type == "DequantizeLinear"
    }
    convolutions = [n for n in model.graph.node if n.op_type == "Conv"]
    assert len(convolutions) > 5
    for node in convolutions:
        weight, scale, *_ = dequantized[node.input[1]]
        assert kinds[weight] == onnx.TensorProto.INT8 and scales[scale] == scales[weight][:1]
    for one in (before, after):
        given = one.session.get_inputs()[0]
        assert given.type == "tensor(uint8)" and given.shape == ["batch", 14, 14, 1]
        assert one.session.get_outputs()[0].type == "tensor(float)"
    assert after.takes == before.takes and after.classes == before.classes
    assert after.metadata["quantization"] == "int8, calibrated on 200 images"


def test_int8_names_nearly_the_same_classes_on_unseen_images(files, data):
    before, after = measure_files(files, data, data.test)
    assert before.accuracy > 0.5  # a floor: two epochs on 2,000 images
    assert abs(before.accuracy - after.accuracy) < 0.03
    raw = raw_inputs(data, data.test, 500)
    same = files[0].outputs(raw).argmax(1) == files[1].outputs(raw).argmax(1)
    assert same.float().mean() > 0.9
    assert before.latency_ms > 0 and before.images == 2000


def test_what_is_worse_is_said():
    def measured(size, right, ms):
        return FileMeasurement(size, right, 200, ms, 0.1)

    before = measured(1000, 190, 2.0)
    assert summarize_int8(before, measured(300, 190, 1.0)) == (
        "int8 against float: same accuracy, 0.30 times the size, 0.50 times the latency on this "
        "machine"
    )
    worse = summarize_int8(before, measured(300, 186, 3.0))
    assert "accuracy 2.00 points lower (4 of 200 images)" in worse
    assert worse.endswith("The int8 file is WORSE: less accurate and slower")
    assert "1.00 points higher" in summarize_int8(before, measured(300, 192, 1.0))


def test_the_times_of_files_are_measured_in_turns(files):
    for median_ms, iqr_ms in measure_latencies(files, seconds=0.1):
        assert median_ms > 0 and iqr_ms >= 0


def test_images_of_another_shape_are_refused(files, tmp_path):
    path = tmp_path / "float.onnx"
    path.write_bytes(files[0].content)
    with pytest.raises(OptionError, match="of shape"):
        quantize_onnx(path, tmp_path / "x.onnx", torch.zeros(3, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(OptionError, match="images of quantize_onnx.* must be a torch.Tensor"):
        quantize_onnx(path, tmp_path / "x.onnx", None)
    with pytest.raises(OptionError, match=r"path of quantize_onnx\(\) must be"):
        quantize_onnx(path, None, torch.zeros(3, 1, 8, 8, dtype=torch.uint8))
    assert not (tmp_path / "x.onnx").exists()
