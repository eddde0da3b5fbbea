"""Checkpoints: the authors' format, our own, and what is refused."""

import bz2
import io
import os
import pickle
import signal
import zipfile
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from emigbench import EmigbenchError  # noqa: E402
from emigbench_baselines.alignn import checkpoints  # noqa: E402
from emigbench_baselines.alignn.network import NETWORKS, build  # noqa: E402


@pytest.fixture(scope="module")
def mpt():
    torch.manual_seed(0)
    return build("mpt")


def old_scheduler_state():
    """As torch before 2.1 wrote it: with the annealing function, which pickles as a call of getattr."""
    return {"total_steps": 5, "anneal_func": torch.optim.lr_scheduler.OneCycleLR._annealing_cos}


def compressed(content: object, path: Path) -> Path:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(bz2.compress(buffer.getvalue(), 1))
    return path


@pytest.mark.parametrize("scheduler", [{"last_epoch": 3}, old_scheduler_state()], ids=["new", "old"])
def test_reads_the_authors_format(tmp_path, scheduler):
    """Of a small network; `test_released` reads those of full size."""
    network, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(network.parameters())
    whole = {"model": network.state_dict(), "optimizer": optimizer.state_dict(), "lr_scheduler": scheduler}
    path = compressed({**whole, "trainer": {"iteration": 7, "epoch_length": 4, "max_epochs": 9}}, tmp_path / "a.pt.bz2")
    checkpoints.fill(other, checkpoints.load(path), str(path))
    assert torch.equal(other.weight, network.weight)
    assert torch.equal(other.bias, network.bias)


def test_the_blob_id_is_that_of_git(tmp_path):
    (tmp_path / "f").write_bytes(b"hello\n")
    assert checkpoints.git_blob_id(tmp_path / "f") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_a_released_file_is_known_by_its_content(tmp_path, monkeypatch):
    path = compressed({"model": {"w": torch.ones(1)}}, tmp_path / "renamed.pt.bz2")
    monkeypatch.delenv("EMIGBENCH_AUTHORS", raising=False)
    with pytest.raises(EmigbenchError, match="set EMIGBENCH_AUTHORS to a folder"):
        checkpoints.of_authors("mpt")
    monkeypatch.setenv("EMIGBENCH_AUTHORS", str(tmp_path))
    with pytest.raises(EmigbenchError, match=r"Of the 1 \.pt files .* the released mpt, whose git blob id is 0c2d8d1d"):
        checkpoints.of_authors("mpt")
    (deep := tmp_path / "MODELS" / "MPT").mkdir(parents=True)
    path = path.rename(deep / path.name)
    monkeypatch.setattr(checkpoints, "AUTHORS", {"mpt": checkpoints.git_blob_id(path)})
    assert checkpoints.of_authors("mpt") == path


def test_bzip2_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "LARGEST", 10_000_000)
    path = tmp_path / "bomb.pt.bz2"
    path.write_bytes(bz2.compress(bytes(50_000_000), 1))
    with pytest.raises(EmigbenchError, match=r"bomb\.pt\.bz2: more than"):
        checkpoints.load(path)


def test_zip_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "LARGEST", 10_000_000)
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50_000_000))
    with pytest.raises(EmigbenchError, match="50000000 bytes inside"):
        checkpoints.load(path)


def test_safetensors_that_are_too_large_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "LARGEST", 1000)
    checkpoints.save(torch.nn.Linear(1, 500), tmp_path / "large.safetensors")
    with pytest.raises(EmigbenchError, match=r"large\.safetensors: more than 1000 bytes"):
        checkpoints.load(tmp_path / "large.safetensors")


class Evil:
    def __reduce__(self):
        return os.mkdir, ("/tmp/emigbench-was-here",)


class EvilText:
    def __reduce__(self):
        return eval, ("__import__('os').mkdir('/tmp/emigbench-was-here')",)


@pytest.mark.parametrize("evil", [Evil(), EvilText()])
def test_a_pickle_that_calls_is_refused(tmp_path, evil):
    path = compressed({"model": {"w": torch.ones(1)}, "trainer": evil}, tmp_path / "evil.pt.bz2")
    with pytest.raises(EmigbenchError, match="refused, for it holds more than tensors"):
        checkpoints.load(path)
    assert not Path("/tmp/emigbench-was-here").exists()


def test_the_stand_in_for_getattr_gets_nothing(tmp_path):
    class Reaches:
        def __reduce__(self):
            return getattr, ({}, "clear")

    loaded = checkpoints._unpickle(io.BytesIO(_saved({"x": Reaches()})), tmp_path)
    assert loaded == {"x": None}


def _saved(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _one_number(offsets: str) -> bytes:
    """Safetensors of a number whose bytes are said to lie there, of eight."""
    header = f'{{"w":{{"dtype":"F32","shape":[1],"data_offsets":{offsets}}}}}'.encode()
    return len(header).to_bytes(8, "little") + header + bytes(8)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.pt.bz2", bz2.compress(os.urandom(100_000))[:50_000], "bzip2 file is corrupt"),
        ("noise.pt.bz2", bz2.compress(b"not a checkpoint"), "noise"),
        ("noise.pt", b"\x00" * 100, "noise"),
        ("empty.pt", b"", "empty"),
        ("plain.pt", pickle.dumps([1, 2]), "plain"),
        ("list.pt", _saved([1, 2]), "expected a dictionary of weights"),
        ("number.pt", _saved({"model": {"w": 3}}), "'w' is not a tensor"),
        ("cut.safetensors", b"\x40", "not a whole safetensors"),
        ("long.safetensors", (1 << 62).to_bytes(8, "little") + b"{}", "not a whole safetensors"),
        ("list.safetensors", (2).to_bytes(8, "little") + b"[]", "not a whole safetensors"),
        ("before.safetensors", _one_number("[-8,-4]"), "has the bytes -8 to -4 of 8"),
        ("behind.safetensors", _one_number("[6,10]"), "has the bytes 6 to 10 of 8"),
        ("twice.safetensors", _one_number("[0,8]"), "has the bytes 0 to 8 of 8"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EmigbenchError, match=message) as caught:
        checkpoints.load(tmp_path / name)
    assert name in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(EmigbenchError, match="cannot be read"):
        checkpoints.load(tmp_path / "none.pt")


def test_half_precision_round_trip(mpt, tmp_path):
    path = tmp_path / "mpt.safetensors"
    checkpoints.save(mpt, path)
    assert path.stat().st_size <= 10_000_000
    read = checkpoints.load(path)
    for name, tensor in mpt.state_dict().items():
        torch.testing.assert_close(read[name], tensor, rtol=1e-3, atol=1e-6)
        if tensor.dim() < 2:
            assert torch.equal(read[name], tensor)
    checkpoints.save(mpt, tmp_path / "again.safetensors")
    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


def test_safetensors_without_their_last_bytes_are_refused(tmp_path):
    checkpoints.save(torch.nn.Linear(3, 3), tmp_path / "whole.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-4])
    with pytest.raises(EmigbenchError, match=r"cut\.safetensors: not a whole safetensors file"):
        checkpoints.load(tmp_path / "cut.safetensors")


def test_the_safetensors_library_reads_the_same(mpt, tmp_path):
    library = pytest.importorskip("safetensors.torch")
    checkpoints.save(mpt, tmp_path / "ours.safetensors")
    ours, theirs = checkpoints.load(tmp_path / "ours.safetensors"), library.load_file(tmp_path / "ours.safetensors")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name].to(ours[name].dtype)) for name in ours)
    library.save_file(mpt.state_dict(), tmp_path / "theirs.safetensors", metadata={"format": "pt"})
    read = checkpoints.load(tmp_path / "theirs.safetensors")
    assert all(torch.equal(read[name], tensor) for name, tensor in mpt.state_dict().items())


@pytest.mark.parametrize(("dtype", "kind"), [(torch.bfloat16, "BF16"), (torch.float64, "F64")])
def test_a_type_that_is_not_read_is_named(tmp_path, dtype, kind):
    library = pytest.importorskip("safetensors.torch")
    library.save_file({"fc.weight": torch.ones(2, dtype=dtype)}, tmp_path / "a.safetensors")
    with pytest.raises(
        EmigbenchError, match=rf"a\.safetensors: fc\.weight is stored as {kind}; convert .* F16, F32, I64"
    ):
        checkpoints.load(tmp_path / "a.safetensors")


def test_weights_that_cannot_be_written_leave_nothing_behind(mpt, tmp_path):
    """Of a network of 9 MB, on a disk that is full after 1 MB."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(EmigbenchError, match=r"^Cannot write .*mpt\.safetensors: File too large\.$"):
            checkpoints.save(mpt, tmp_path / "mpt.safetensors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert not list(tmp_path.iterdir())


def test_a_value_beyond_half_precision_is_refused(tmp_path):
    layer = torch.nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight[0, 0] = 1e6
    with pytest.raises(EmigbenchError, match="weight holds a value"):
        checkpoints.save(layer, tmp_path / "f.safetensors")


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "mpt"])
def test_variants_take_the_backbone_and_nothing_else(mpt, name):
    network = build(name)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    copied = set(checkpoints.copy_backbone(network, mpt.state_dict(), "MPT"))
    for key, value in network.state_dict().items():
        if key in copied:
            assert torch.equal(value, mpt.state_dict()[key])
        else:
            assert torch.equal(value, before[key])
    random = {key.split(".")[0] for key in before if key not in copied}
    extra = {
        "model-1-cc": {"fc"},
        "model-2": {"fc", "alignn_layers_1", "gcn_layers_1"},
        "model-4": {"fc", "attention", "attention1"},
        "model-4-apart": {"fc", "attention", "attention1"},
    }
    heads = {"fc"} if name.startswith("scratch") else {"conv_to_fc", "fc_hp", "fc_out"}
    assert random == heads | extra.get(name, set())


def test_foreign_checkpoints_name_the_first_key(mpt):
    state = mpt.state_dict()
    network = build("model-3")
    with pytest.raises(EmigbenchError, match=r"file: .* which has no conv_to_fc\.1\.weight"):
        checkpoints.fill(network, state, "file")
    first = next(iter(network.state_dict()))
    lacking = {key: value for key, value in network.state_dict().items() if key != first}
    with pytest.raises(EmigbenchError, match=f"file: not a checkpoint of this network, it lacks {first}"):
        checkpoints.fill(network, lacking, "file")
    wrong = {**network.state_dict(), "fc_out.0.weight": torch.zeros(2, 128)}
    with pytest.raises(EmigbenchError, match=r"fc_out\.0\.weight has shape \(2, 128\), expected \(1, 128\)"):
        checkpoints.fill(network, wrong, "file")
    with pytest.raises(EmigbenchError, match=r"has shape \(1,\)"):
        checkpoints.copy_backbone(network, {key: torch.zeros(1) for key in state}, "file")
    bad = {**network.state_dict(), "fc_out.0.bias": torch.tensor([torch.nan])}
    with pytest.raises(EmigbenchError, match=r"fc_out\.0\.bias holds a value"):
        checkpoints.fill(network, bad, "file")
