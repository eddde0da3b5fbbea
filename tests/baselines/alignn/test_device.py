from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="the graph models need the extra alignn (torch)")

from emigbench import EmigbenchError  # noqa: E402
from emigbench_baselines.alignn.device import device_named, has_bfloat16, rows_a_pass  # noqa: E402
from emigbench_baselines.alignn.models import GraphModel  # noqa: E402
from emigbench_baselines.alignn.recipes import RECIPES  # noqa: E402


@pytest.mark.parametrize(
    ("name", "gpu", "expected"),
    [(None, False, "cpu"), (None, True, "cuda"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_the_device(monkeypatch, name, gpu, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert device_named(name) == expected
    assert GraphModel(RECIPES["model-3"], name).device == expected


@pytest.mark.parametrize(
    ("name", "message"), [("gpu", r"^There is no device 'gpu'; choose cpu or cuda\.$"), ("cuda", "^torch finds no GPU")]
)
def test_a_device_that_is_not_there(monkeypatch, name, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(EmigbenchError, match=message):
        device_named(name)


@pytest.mark.parametrize("told", [True, False])
def test_bfloat16_is_used_where_torch_tells_that_there_are_instructions_for_it(monkeypatch, told):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: told, raising=False)
    assert has_bfloat16("cpu") is told
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert has_bfloat16("cpu") is False


@pytest.mark.parametrize(("major", "expected"), [(7, False), (8, True)])
def test_a_gpu_before_ampere_has_no_instructions_for_bfloat16(monkeypatch, major, expected):
    """torch only imitates it there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(major=major))
    assert has_bfloat16("cuda") is expected


@pytest.mark.parametrize(
    ("total_memory", "precision", "expected"),
    [(24e9, {}, 1_285_714), (24e9, {"half": True}, 2_571_428), (80e9, {"half": False}, 4_285_714)],
)
def test_the_rows_of_a_pass_go_by_the_memory_of_the_gpu_and_the_precision(
    monkeypatch, total_memory, precision, expected
):
    """Three quarters of 24 GB over 14 kB a row in float32, as predictions are, over 7 kB in bfloat16."""
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=int(total_memory))
    )
    assert rows_a_pass("cuda", **precision) == expected


def test_the_rows_of_a_pass_on_a_cpu_do_not_depend_on_the_machine():
    assert rows_a_pass("cpu") == rows_a_pass("cpu", half=True) == 400_000
