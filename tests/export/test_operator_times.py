"""Where the milliseconds go inside a graph."""

import pytest

from avatarify_plus.bundle import Bundle
from avatarify_plus.engines.openvino_engine import OperatorTime
from export import operator_times


def test_times_add_up_by_kind_and_one_by_one() -> None:
    runs = [
        [OperatorTime("a", "Convolution", "f32", 2.0), OperatorTime("b", "Convolution", "f32", 1.0)],
        [OperatorTime("a", "Convolution", "f32", 4.0), OperatorTime("b", "Convolution", "f32", 3.0)],
    ]
    assert operator_times.summarise(runs, each=False) == [("total", 5.0), ("Convolution f32", 5.0)]
    assert operator_times.summarise(runs, each=True) == [
        ("total", 5.0),
        ("Convolution f32  a", 3.0),
        ("Convolution f32  b", 2.0),
    ]


@pytest.mark.parametrize(
    ("kind", "graph"),
    [
        ("mixed_bundle", "animate"),
        ("mixed_bundle", "detect"),
        ("photo_bundle", "animate"),
        ("photo_bundle", "paint_mouth"),
        ("photo_bundle", "paint_eye"),
    ],
)
def test_a_model_is_taken_apart(
    kind: str, graph: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle: Bundle = request.getfixturevalue(kind)
    capsys.readouterr()
    options = ["--graph", graph, "--runs", "2", "--threads", "1", "--precision", "fp32"]
    assert operator_times.main([str(bundle.folder), *options]) == 0
    head, total, *rows = capsys.readouterr().out.splitlines()
    assert head.startswith(f"{graph} of {bundle.manifest.name} on CPU") and total.endswith("total")
    assert any("Convolution" in row for row in rows)
    summed = sum(float(row.split()[0]) for row in rows)
    assert 0 < summed <= float(total.split()[0]) + 0.01 * len(rows)


def test_a_missing_model_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert operator_times.main(["nowhere"]) == 1
    assert capsys.readouterr().err.startswith("avatarify: error: no model 'nowhere'")


def test_a_graph_that_a_model_lacks_is_an_error(mixed_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert operator_times.main([str(mixed_bundle.folder), "--graph", "paint_mouth"]) == 1
    assert "tiny-mixed has no graph paint_mouth.onnx" in capsys.readouterr().err
