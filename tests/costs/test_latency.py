"""Latency tables, measured on this machine for the moment that a test may take."""

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest
from torch import nn

from ddpnas import (
    CostTable,
    JointDistribution,
    SearchSpace,
    count_costs,
    create_space,
    generate,
    measure_latency,
)
from ddpnas.costs import (
    LatencyConfig,
    check_latency,
    export_latency,
    import_latency,
    read_measurements,
    stopwatch,
)
from ddpnas.costs.latency_check import measured_here
from ddpnas.errors import DataError, OptionError, SpaceError
from ddpnas.spaces.user_space import space_from_file

QUICK = LatencyConfig(architectures=4, seconds=0.001, rounds=1, most_rounds=1)
TOY = create_space("toy", width=64)
OWN = """
from torch import nn

def network(choose, input_shape=(1, 8, 8)):
    conv = lambda: nn.Conv2d(1, 1, {kernel}, padding={kernel} // 2)
    return nn.Sequential(choose("op", {{"conv": conv, "skip": nn.Identity}}), nn.Flatten())
"""


def stopping(after):
    """Return a progress function that interrupts after so many timings."""
    seen = []

    def on_progress(number, i, count):
        seen.append(i)
        if len(seen) == after:
            raise KeyboardInterrupt

    return on_progress


def check_table(table):
    """A longer chain takes longer, and the table says where it comes from."""
    assert (table.name, table.unit) == ("latency_ms", "ms")
    table.check(TOY)
    everything = {d.name: "conv3" for d in TOY.decisions}
    nothing = {d.name: "skip" for d in TOY.decisions}
    assert table.cost(everything) > table.cost(nothing)
    about = table.about
    assert about["space"] == "toy" and about["options"]["width"] == 64
    assert about["machine"] and about["versions"]["torch"] and about["dtype"] == "float32"
    assert about["threads"] == 1 and len(about["date"]) == 10
    parts = set(about["parts"])
    assert len(parts) == 4  # two convolutions, the rest of the network, and an empty call
    assert all(part["median_ms"] > 0 for part in about["parts"].values())
    check = about["check"]
    assert check["architectures"] == len(check["networks"]) == 4
    for row in check["networks"]:
        assert TOY.parse(row["architecture"]) and row["median_ms"] > 0
    assert check["scale"] > 0 and check["mape_percent"] >= 0


def test_torch_measures_each_distinct_part_and_the_table_limits_generation(tmp_path):
    table = measure_latency(TOY, QUICK)
    check_table(table)
    table.save(tmp_path / "table.json")
    loaded = CostTable.load(tmp_path / "table.json")
    uniform = JointDistribution.uniform(TOY.decisions)
    costs = {"latency_ms": loaded}
    middle = table.cost(dict.fromkeys(("layer1", "layer2"), "conv3")
                        | dict.fromkeys(("layer3", "layer4"), "skip"))  # fmt: skip
    # Without a margin: after moments of measuring, its own error may be above 100 %.
    found = generate(uniform, TOY, {"latency_ms": middle}, costs, margin=0)
    assert found.costs["latency_ms"] <= middle
    again = check_latency(TOY, loaded, found.architecture)
    assert again.predicted_ms == found.costs["latency_ms"] and again.measured_ms > 0
    assert again.error_percent == pytest.approx(100 * (again.predicted_ms / again.measured_ms - 1))


def test_given_networks_are_among_those_that_are_measured_whole():
    space = create_space("toy")
    given = [space.decode([0] * len(space.decisions)), space.decode([1] * len(space.decisions))]
    quick = LatencyConfig(architectures=4, seconds=0.001, rounds=1, most_rounds=1)
    table = measure_latency(space, quick, networks=given)
    measured = [row["architecture"] for row in table.about["check"]["networks"]]
    assert len(measured) == 4 and measured[:2] == table.about["networks"]
    assert measured[:2] == [space.format(space.canonical(one)) for one in given]


def test_an_interrupted_measurement_goes_on_where_it_was(tmp_path):
    partial = tmp_path / "table.json.part"
    with pytest.raises(KeyboardInterrupt):
        measure_latency(TOY, QUICK, partial=partial, on_progress=stopping(3))
    before = json.loads(partial.read_text())["times"]
    assert len(before) == 3
    with pytest.raises(DataError, match=r"another measurement \(other batch\)"):
        measure_latency(TOY, QUICK, partial=partial, batch=2)
    table = measure_latency(TOY, QUICK, partial=partial)
    for name, ((_, median, _, _),) in before.items():
        assert table.about["parts"][name]["median_ms"] == median
    assert partial.exists()  # until whoever gave it has saved the table


def test_a_table_of_something_else_is_not_checked():
    table = measure_latency(TOY, QUICK)
    architecture = TOY.decode([0, 0, 0, 0])
    with pytest.raises(SpaceError, match="to another network: width 64 instead of 4"):
        check_latency(create_space("toy"), table, architecture)
    other = CostTable("latency_ms", "ms", 0, {}, {**table.about, "machine": "Abacus"})
    with pytest.raises(OptionError, match="another machine: Abacus"):
        check_latency(TOY, other, architecture)
    with pytest.raises(OptionError, match="not measured by ddpnas latency"):
        check_latency(TOY, CostTable("latency_ms", "ms", 0, {}), architecture)


def test_a_space_with_too_few_networks_to_check_is_refused_before_anything_is_timed():
    def network(choose):
        return nn.Sequential(choose("x", {"relu": nn.ReLU, "none": nn.Identity}), nn.Linear(4, 2))

    with pytest.raises(SpaceError, match="has 2 different networks"):
        measure_latency(SearchSpace(network, (4,)), QUICK)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"backend": "onxruntime"}, "did you mean 'onnxruntime'"),
        ({"device": "tpu"}, "unknown device of a latency measurement 'tpu'"),
        ({"threads": 0}, "threads .* must be a whole number from 1"),
        ({"architectures": 3}, "from 4 to 100,000, not 3"),
        ({"most_rounds": 0}, "most_rounds .* must be a whole number from 1"),
        ({"secondz": 1}, "did you mean 'seconds'"),
    ],
)
def test_a_wrong_setting_gets_one_sentence(settings, says):
    with pytest.raises(OptionError, match=says):
        measure_latency(TOY, QUICK, **settings)


def test_times_of_another_machine_make_a_table_of_the_space_that_was_exported(
    measured_elsewhere, tmp_path
):
    exported = tmp_path / "exported"
    measurements = read_measurements(measured_elsewhere)
    table = import_latency(measurements, TOY)
    table.check(TOY)
    assert table.about["backend"] == "onnxruntime" and table.about["machine"] == "a phone"
    measurements["measured_with"]["machine"] = stopwatch.processor()  # one of the same name
    assert not measured_here(import_latency(measurements, TOY))
    with pytest.raises(SpaceError, match="another network than space 'toy'"):
        import_latency(measurements, create_space("toy"))
    with pytest.raises(DataError, match="manifest.json: times is missing; it must be"):
        read_measurements(exported / "manifest.json")
    export_latency(TOY, exported, LatencyConfig(architectures=4, rounds=1, most_rounds=1))
    with pytest.raises(DataError, match="another export"):
        export_latency(create_space("toy"), exported, QUICK)


def widths(choose):
    """Return a network of two widths that has 12 x 12 distinct convolutions between them."""
    a, b = (choose.width(name, tuple(range(4, 52, 4))) for name in "ab")
    return nn.Sequential(
        nn.Conv2d(3, a, 3), nn.ReLU(), nn.Conv2d(a, b, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(36 * b, 5),
    )  # fmt: skip


def test_where_time_is_short_operations_are_interpolated_and_the_table_says_how_well(
    tmp_path, counted_times
):
    space = SearchSpace(widths, (3, 8, 8))
    partial = tmp_path / "table.json.part"
    short = {"minutes": 1e-6}  # over once the needed operations are timed
    with pytest.raises(KeyboardInterrupt):
        measure_latency(space, QUICK, **short, partial=partial, on_progress=stopping(6))
    kept = json.loads(partial.read_text())["times"]
    table = measure_latency(space, QUICK, **short, partial=partial)
    assert all(name in table.about["parts"] for name in kept if name.startswith("part-"))
    found = table.about["interpolation"]
    assert found["operations"] == 12 + 12 * 12 + 12
    assert found["timed"] == 9 == len(table.about["parts"]) - 1  # and an empty call
    assert 0 <= found["mape_percent"] <= found["p95_percent"]
    # Every combination has a time, and a larger network takes longer.
    assert table.cost({"a": "48", "b": "48"}) > table.cost({"a": "4", "b": "4"})
    more = measure_latency(space, QUICK, minutes=5, rounds=1)
    assert more.about["interpolation"] == {"operations": 168, "timed": 168}
    with pytest.raises(OptionError, match="only torch can time: use backend torch"):
        measure_latency(space, QUICK, backend="onnxruntime")


@pytest.mark.slow
def test_a_limit_in_milliseconds_holds_for_the_network_that_is_built():
    space = create_space("edge", input_shape=(1, 28, 28), limits={"macs": "2M"})
    table = measure_latency(space, minutes=1)
    assert table.about["interpolation"]["operations"] > 1000
    # A busy machine may measure with an error that leaves no network within a limit and its margin.
    check = {**table.about["check"], "p95_percent": 5.0}
    table = dataclasses.replace(table, about={**table.about, "check": check})
    uniform = JointDistribution.uniform(space.decisions)
    costs = {**count_costs(space), "latency_ms": table}
    sized = {"macs": (2e6, 4e6)}
    limit = 1.1 * table.cost(generate(uniform, space, sized, costs).architecture)
    found = generate(uniform, space, {"latency_ms": limit, **sized}, costs)
    assert found.costs["latency_ms"] * (1 + table.margin) <= limit * 1.001
    again = check_latency(space, table, found.architecture)
    assert again.predicted_ms == pytest.approx(found.costs["latency_ms"]) and again.measured_ms > 0


@pytest.mark.slow
def test_another_machine_measures_with_the_script_alone(exported_toy, tmp_path):
    exported = shutil.copytree(exported_toy, tmp_path / "there")
    done = subprocess.run(
        [sys.executable, "-I", "measure.py"],  # without PYTHONPATH, and nothing of this package
        check=False,
        cwd=exported,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin"},
    )
    assert done.returncode == 0, done.stderr
    assert "round 1: 8 of 8" in done.stdout and "ddpnas latency import" in done.stdout
    measurements = read_measurements(exported / "measurements.json")
    table = import_latency(measurements, TOY)
    check_table(table)
    assert table.about["backend"] == "onnxruntime" and table.about["versions"]["onnxruntime"]


@pytest.mark.slow
def test_an_export_goes_on_but_does_not_mix(exported_toy):
    exported = exported_toy
    before = {file.name: file.stat().st_mtime_ns for file in exported.glob("*.onnx")}
    export_latency(TOY, exported, QUICK)
    assert {file.name: file.stat().st_mtime_ns for file in exported.glob("*.onnx")} == before


def test_onnx_files_of_another_measurement_are_not_timed(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    found = []

    def interrupted_export(space, plan, batch, folder):
        found.append([file.name for file in folder.glob("*.onnx")])
        (folder / "network-0.onnx").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("ddpnas.costs._timers.export_probes", interrupted_export)
    for space, seed in ((TOY, 0), (TOY, 0), (TOY, 1), (create_space("toy", width=32), 1)):
        with pytest.raises(KeyboardInterrupt):
            measure_latency(
                space, QUICK, backend="onnxruntime", partial=tmp_path / "table.part", seed=seed
            )
    assert found == [[], ["network-0.onnx"], [], []]


@pytest.mark.slow
def test_onnxruntime_measures_here(tmp_path):
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    partial = tmp_path / "table.json.part"
    with pytest.raises(KeyboardInterrupt):
        measure_latency(TOY, QUICK, backend="onnxruntime", partial=partial, on_progress=stopping(3))
    assert (tmp_path / "table.json.part.onnx" / "network-0.onnx").is_file()
    table = measure_latency(TOY, QUICK, backend="onnxruntime", partial=partial)
    check_table(table)
    assert [path.name for path in tmp_path.iterdir()] == ["table.json.part"]


def test_a_table_of_an_own_space_knows_its_code_and_not_where_it_lay(tmp_path):
    for folder, kernel in (("a", 3), ("moved", 3), ("other", 5)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(OWN.format(kernel=kernel))
    own, moved, other = (
        space_from_file(f"{tmp_path / folder / 'mine.py'}:network")
        for folder in ("a", "moved", "other")
    )
    table = count_costs(own)["macs"]
    assert table.about["space"] == "mine.py:network"
    assert str(tmp_path) not in json.dumps(table.to_dict())
    table.check(moved)
    with pytest.raises(SpaceError, match="with other code than that in .*other/mine.py"):
        table.check(other)
