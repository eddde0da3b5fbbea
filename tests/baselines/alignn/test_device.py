from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="the graph models need the extra alignn (torch)")

from emigbench_baselines.alignn.device import rows_a_pass  # noqa: E402


@pytest.mark.parametrize(
    ("total_memory", "half", "expected"),
    [(24e9, False, 1_285_714), (24e9, True, 2_571_428), (80e9, False, 4_285_714), (80e9, True, 8_571_428)],
)
def test_the_rows_of_a_pass_go_by_the_memory_of_the_gpu_and_the_precision(monkeypatch, total_memory, half, expected):
    """Three quarters of 24 GB over 14 kB a row in float32, over 7 kB in bfloat16."""
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=int(total_memory))
    )
    assert rows_a_pass("cuda", half=half) == expected


def test_the_rows_of_a_pass_on_a_cpu_do_not_depend_on_the_machine():
    assert rows_a_pass("cpu") == rows_a_pass("cpu", half=True) == 400_000
