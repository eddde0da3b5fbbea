"""The network against formulas written out plainly, against the original stack, and against the symmetries it has."""

import dataclasses
import itertools
import os
from collections import Counter

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from emigbench import EmigbenchError  # noqa: E402
from emigbench_baselines.alignn import batch as batches  # noqa: E402
from emigbench_baselines.alignn import elements  # noqa: E402
from emigbench_baselines.alignn.batch import (  # noqa: E402
    GraphBatch,
    HalfwayBatch,
    HalfwayGraph,
    PreparedGraph,
    prepare,
)
from emigbench_baselines.alignn.graph import CrystalGraph, crystal_graph  # noqa: E402
from emigbench_baselines.alignn.layers import Attention, BatchNorm, EdgeGatedConvolution  # noqa: E402
from emigbench_baselines.alignn.neighbours import nearest  # noqa: E402
from emigbench_baselines.alignn.network import NETWORKS, Backbone, build, start_at  # noqa: E402

COUNTS = {
    "mpt": 4_373_255,
    "model-1-add": 4_076_033,
    "model-1-sub": 4_076_033,
    "model-1-cc": 4_207_361,
    "model-2": 5_197_313,
    "model-3": 4_076_033,
    "model-4": 4_603_137,
    "model-4-apart": 4_603_137,
    "scratch-add": 4_026_753,
    "scratch-sub": 4_026_753,
    "scratch-cc": 4_158_081,
}
TWO_CELLS = [name for name in NETWORKS if name not in ("mpt", "model-3")]
F = torch.nn.functional


# Graphs --------------------------------------------------------------------------------------------------------------


def random_graph(seed: int, n: int = 7, k: int = 4) -> CrystalGraph:
    """A random multigraph with both directions of every edge, loops, and copies of about half of the edges."""
    rng = np.random.default_rng(seed)
    u, v, r = np.repeat(np.arange(n), k), rng.integers(0, n, n * k), rng.normal(scale=2, size=(n * k, 3))
    twice = rng.random(n * k) < 0.5
    u, v, r = np.concatenate([u, u[twice]]), np.concatenate([v, v[twice]]), np.concatenate([r, r[twice]])
    return sorted_graph(rng.integers(1, 90, n), np.concatenate([u, v]), np.concatenate([v, u]), np.concatenate([r, -r]))


def sorted_graph(numbers, source, destination, displacement) -> CrystalGraph:
    order = np.argsort(destination, kind="stable")
    return CrystalGraph(
        np.asarray(numbers, np.uint8),
        np.asarray(source, np.int32)[order],
        np.asarray(destination, np.int32)[order],
        np.asarray(displacement, np.float32)[order],
    )


def permuted(graph: CrystalGraph, seed: int) -> CrystalGraph:
    rng = np.random.default_rng(seed)
    new, order = rng.permutation(graph.n_atoms), rng.permutation(graph.n_edges)
    numbers = np.empty_like(graph.atomic_numbers)
    numbers[new] = graph.atomic_numbers
    return sorted_graph(numbers, new[graph.source][order], new[graph.destination][order], graph.displacement[order])


def double(graph_batch):
    """A batch in double precision."""

    def values(record):
        names = (field.name for field in dataclasses.fields(record))
        return {name: getattr(record, name) for name in names}

    def converted(value):
        return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    links = {
        name: dataclasses.replace(link, **{key: converted(value) for key, value in values(link).items()})
        for name, link in (("bonds", graph_batch.bonds), ("angles", graph_batch.angles))
    }
    own = {key: converted(value) for key, value in values(graph_batch).items() if key not in links}
    return dataclasses.replace(graph_batch, **own, **links)


# The network written out plainly, as in the authors' code: every edge kept, nothing fused -----------------------------


def plain_line_graph(graph: CrystalGraph) -> tuple[list[int], list[int]]:
    pairs = [
        (i, j)
        for i in range(graph.n_edges)
        for j in range(graph.n_edges)
        if i != j and graph.destination[i] == graph.source[j]
    ]
    return [i for i, _ in pairs], [j for _, j in pairs]


def plain_norm(x, norm):
    if norm.training:
        mean, var = x.mean(0), x.var(0, unbiased=False)
    else:
        mean, var = norm.running_mean, norm.running_var
    return (x - mean) / torch.sqrt(var + norm.eps) * norm.weight + norm.bias


def plain_dense(x, layer):
    linear, norm = layer.layer
    return F.silu(plain_norm(linear(x), norm))


def plain_convolution(conv, source, target, h, y):
    m = conv.src_gate(h)[source] + conv.dst_gate(h)[target] + conv.edge_gate(y)
    s = torch.sigmoid(m)
    top = torch.zeros_like(h).index_add(0, target, s * conv.dst_update(h)[source])
    bottom = torch.zeros_like(h).index_add(0, target, s)
    x = conv.src_update(h) + top / (bottom + 1e-6)
    return h + F.silu(plain_norm(x, conv.bn_nodes)), y + F.silu(plain_norm(m, conv.bn_edges))


def plain_pooled(network: Backbone, graphs: list[CrystalGraph]) -> torch.Tensor:
    """The pooled features of a batch of graphs."""
    dtype = network.gcn_layers[0].src_gate.weight.dtype
    u, v, r, i, j, graph_of, z, n, e = [], [], [], [], [], [], [], 0, 0
    for k, graph in enumerate(graphs):
        first, second = plain_line_graph(graph)
        i += [a + e for a in first]
        j += [a + e for a in second]
        u += (graph.source + n).tolist()
        v += (graph.destination + n).tolist()
        r += graph.displacement.tolist()
        z += graph.atomic_numbers.tolist()
        graph_of += [k] * graph.n_atoms
        n, e = n + graph.n_atoms, e + graph.n_edges
    u, v, i, j, graph_of = (torch.tensor(values) for values in (u, v, i, j, graph_of))
    r = torch.tensor(r, dtype=dtype)
    length = r.norm(dim=1)
    cosine = (-(r[i] * r[j]).sum(1) / (length[i] * length[j])).clamp(-1, 1)
    bond_basis = torch.exp(-(79 / 8) * (length[:, None] - torch.linspace(0, 8, 80).to(dtype)) ** 2)
    angle_basis = torch.exp(-(39 / 2) * (cosine[:, None] - torch.linspace(-1, 1, 40).to(dtype)) ** 2)
    h = plain_dense(torch.tensor(elements.features(), dtype=dtype)[z], network.atom_embedding)
    y = plain_dense(plain_dense(bond_basis, network.edge_embedding[1]), network.edge_embedding[2])
    t = plain_dense(plain_dense(angle_basis, network.angle_embedding[1]), network.angle_embedding[2])
    for layer in network.alignn_layers:
        h, y = plain_convolution(layer.node_update, u, v, h, y)
        y, t = plain_convolution(layer.edge_update, i, j, y, t)
    for conv in network.gcn_layers:
        h, y = plain_convolution(conv, u, v, h, y)
    return torch.stack([h[graph_of == k].mean(0) for k in range(len(graphs))])


def seeded(name: str, seed: int = 0) -> Backbone:
    """A network whose batch normalisations do something, too."""
    torch.manual_seed(seed)
    network = build(name)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return network


def graphs_for(name: str, *seeds: int) -> list[list[CrystalGraph]]:
    cells = 2 if name in TWO_CELLS else 1
    return [[random_graph(seed + 100 * cell, n=4 + seed % 5) for seed in seeds] for cell in range(cells)]


def predict(network, *cells, merge=True):
    packed = [GraphBatch.of([prepare(graph, merge=merge) for graph in graphs]) for graphs in cells]
    with torch.no_grad():
        return network.eval()(*packed)


def relative_gradients(found, expected):
    """Largest difference of each gradient over its own size (or a thousandth of the largest, whichever is more).

    Of the first bias of an embedding, over a hundredth of the largest at the least: the batch normalisation behind it
    takes it away, so its gradient is rounding alone, which differs with the number of threads.
    """
    largest = max(gradient.abs().max() for gradient in expected.values())

    def least(name):
        return largest / (100 if name.endswith("layer.0.bias") else 1000)

    return {
        name: ((found[name] - gradient).abs().max() / gradient.abs().max().clamp(min=least(name))).item()
        for name, gradient in expected.items()
    }


# Shapes and names ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_parameter_counts(name):
    assert sum(parameter.numel() for parameter in build(name).parameters()) == COUNTS[name]


def expected_keys(name: str) -> set[str]:
    """As in the authors' code."""

    def linear(path):
        return {f"{path}.weight", f"{path}.bias"}

    def norm(path):
        return linear(path) | {f"{path}.{key}" for key in ("running_mean", "running_var", "num_batches_tracked")}

    def conv(path):
        gates = ("src_gate", "dst_gate", "edge_gate", "src_update", "dst_update")
        keys = set().union(*(linear(f"{path}.{gate}") for gate in gates))
        return keys | norm(f"{path}.bn_edges") | norm(f"{path}.bn_nodes")

    def alignn(path):
        return conv(f"{path}.node_update") | conv(f"{path}.edge_update")

    def dense(path):
        return linear(f"{path}.layer.0") | norm(f"{path}.layer.1")

    keys = dense("atom_embedding") | {"edge_embedding.0.centers", "angle_embedding.0.centers"}
    for path in ("edge_embedding", "angle_embedding"):
        keys |= dense(f"{path}.1") | dense(f"{path}.2")
    for i in range(4):
        keys |= alignn(f"alignn_layers.{i}") | conv(f"gcn_layers.{i}")
    if not name.startswith("scratch"):
        for i in range(7 if name == "mpt" else 1):
            keys |= linear(f"conv_to_fc.{i}") | linear(f"fc_hp.{i}.0") | linear(f"fc_out.{i}")
    if name in ("model-1-cc", "model-2", "model-4", "model-4-apart", "scratch-add", "scratch-sub"):
        keys |= linear("fc")
    if name == "scratch-cc":
        keys |= linear("fc.0") | linear("fc.1")
    if name == "model-2":
        keys |= alignn("alignn_layers_1.0") | conv("gcn_layers_1.0")
    if name in ("model-4", "model-4-apart"):
        for path in ("attention", "attention1"):
            keys |= set().union(*(linear(f"{path}.{part}") for part in ("linear_q", "linear_k", "linear_v", "norm")))
    return keys


@pytest.mark.parametrize("name", NETWORKS)
def test_state_has_the_authors_names(name):
    assert set(build(name).state_dict()) == expected_keys(name)


def test_unknown_network():
    with pytest.raises(EmigbenchError, match="no network 'model-9'"):
        build("model-9")


# Batches -------------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_the_line_graph_is_that_of_the_definition(seed, n, k):
    graphs = [random_graph(seed, n, k), random_graph(seed + 1, 3, 2)]
    angles = GraphBatch.of([prepare(graph, merge=False) for graph in graphs]).angles
    real = angles.weight > 0
    found = sorted(zip(angles.source[real].tolist(), angles.target[real].tolist(), strict=True))
    expected, shift = [], 0
    for graph in graphs:
        i, j = plain_line_graph(graph)
        expected += [(a + shift, b + shift) for a, b in zip(i, j, strict=True)]
        shift += graph.n_edges
    assert found == sorted(expected)


@pytest.mark.parametrize("merge", [True, False])
def test_angles_of_a_simple_cubic_crystal(merge):
    """Each of six bonds stands there twice; of its 24 angles of 0 degrees 12 are with itself, which no edge follows."""
    graph = crystal_graph(nearest(4 * np.eye(3), [84], [[0, 0, 0]], k=6), canonical=False)
    packed = GraphBatch.of([prepare(graph, merge=merge)])
    found = Counter()
    for cosine, count in zip(packed.cosines.tolist(), packed.angles.count.tolist(), strict=True):
        found[round(cosine, 6)] += count
    assert found == {1.0: 24, -1.0: 24 - 12, 0.0: 96}


@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_two_batches_together_are_the_batch_of_all_their_graphs(seed, n_first, n_second):
    graphs = [random_graph(seed + i, 3 + i) for i in range(n_first + n_second)]
    found = batches.together(GraphBatch.of(graphs[:n_first]), GraphBatch.of(graphs[n_first:]))
    expected = GraphBatch.of(graphs)
    for record, other in ((found, expected), (found.bonds, expected.bonds), (found.angles, expected.angles)):
        for field in dataclasses.fields(record):
            a, b = getattr(record, field.name), getattr(other, field.name)
            if isinstance(a, torch.Tensor):
                assert a.dtype == b.dtype, field.name
                assert torch.equal(a, b), field.name
            elif field.name == "borders":
                np.testing.assert_array_equal(a, b)


def test_graphs_behind_the_alignn_layers_are_packed_in_order_and_in_full_precision():
    """Edges are kept in half precision; their number, not that of the atoms or angles, is what memory goes by."""
    graphs = [prepare(random_graph(seed, n)) for seed, n in ((1, 3), (2, 5))]
    halves = [
        HalfwayGraph(graph, torch.full((n, 2), n / 3), torch.full((len(graph.source), 2), n + 0.5).half())
        for graph, n in zip(graphs, (3, 5), strict=True)
    ]
    assert [half.n_rows for half in halves] == [len(graph.source) for graph in graphs]
    packed = HalfwayBatch.of(halves)
    assert (packed.atoms.dtype, packed.edges.dtype) == (torch.float32, torch.float32)
    assert packed.n_atoms.tolist() == [3, 5]
    torch.testing.assert_close(packed.atoms[:, 1], torch.tensor([3 / 3] * 3 + [5 / 3] * 5))
    of_each = [[n + 0.5] * half.n_rows for n, half in zip((3, 5), halves, strict=True)]
    torch.testing.assert_close(packed.edges[:, 0], torch.tensor(of_each[0] + of_each[1]))
    assert torch.equal(packed.bonds.source, GraphBatch.of(graphs).bonds.source)


def test_both_of_model_4_predict_alike_and_train_apart():
    """Running statistics serve both; the batch's own are those of all graphs in one, of each input in the other."""
    together, apart = seeded("model-4"), seeded("model-4-apart")
    apart.load_state_dict(together.state_dict())
    packed = [GraphBatch.of(graphs) for graphs in graphs_for("model-4", 1, 2)]
    torch.testing.assert_close(together.eval()(*packed), apart.eval()(*packed))
    for network in (together, apart):
        torch.manual_seed(0)
        network.train()(*packed)
    key = "gcn_layers.0.bn_nodes.num_batches_tracked"
    assert apart.state_dict()[key] - together.state_dict()[key] == 1


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_merged_rows_stand_for_all_the_rows(seed):
    graph = random_graph(seed)
    merged, whole = (GraphBatch.of([prepare(graph, merge=merge)]) for merge in (True, False))
    assert merged.bonds.count.sum() == graph.n_edges
    assert merged.angles.count.sum() == whole.angles.count.sum()
    assert len(merged.angles.row) < len(whole.angles.row)
    assert len(merged.angles.row) == prepare(graph).n_rows
    assert len(whole.angles.row) == prepare(graph, merge=False).n_rows


def test_copies_of_a_bond_are_one_and_bonds_that_differ_are_not():
    """Of four from one atom to the other, two lie 0.00002 Å apart."""
    ready = prepare(sorted_graph([3, 8], [0] * 4, [1] * 4, [[1, 0, 0], [1, 2e-5, 0], [1, 1e-3, 0], [1, 0, 0.4]]))
    ends = ready.displacement[:, 1:].astype(float).round(3).tolist()
    assert sorted(zip(ends, ready.multiplicity.tolist(), strict=True)) == [([0, 0], 2), ([0, 0.4], 1), ([0.001, 0], 1)]


@given(st.integers(0, 10_000), st.integers(1, 200))
@settings(max_examples=30, deadline=None)
def test_chunks_cover_every_row_once_and_hold_all_of_their_sums(seed, size):
    packed = GraphBatch.of([random_graph(seed, 5), random_graph(seed + 1, 8)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(batches.CHUNK_ROWS, "cpu", size)
        for links in (packed.bonds, packed.angles):
            chunks = list(links.chunks())
            for part in ("rows", "targets", "sources"):
                slices = [getattr(chunk, part) for chunk in chunks]
                assert slices[0].start == 0
                assert all(a.stop == b.start for a, b in itertools.pairwise(slices))
            assert chunks[-1].rows.stop == len(links.row)
            for chunk in chunks:
                assert set(links.target[chunk.rows].tolist()) <= set(links.target_node[chunk.targets].tolist())
                rows = links.source[chunk.rows]
                assert chunk.sources.start <= rows.min()
                assert rows.max() < chunk.sources.stop
                at = links.by_source[chunk.rows]
                assert torch.equal(links.source[at.long()], rows.sort().values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"atomic_numbers": np.array([1] * 6 + [101], np.uint8)}, "atomic number 101 has no features"),
        ({"atomic_numbers": np.array([100] * 6 + [0], np.uint8)}, "atomic number 0 has no features"),
        ({"atomic_numbers": np.zeros(0, np.uint8)}, "a graph of 0 atoms"),
        ({"atomic_numbers": np.ones(6, np.uint8)}, "sorted by destination and lie between its atoms"),
        ({"displacement": 0}, "edge without length"),
        ({"displacement": np.nan}, "or with one that is not a number"),
        ({"destination": None}, "sorted by destination"),
        ({"source": -1}, "lie between its atoms"),
    ],
)
def test_unusable_graphs_are_refused(change, message):
    graph = random_graph(0)
    if "displacement" in change:
        change = {"displacement": np.full_like(graph.displacement, change["displacement"])}
    if "destination" in change:
        change = {"destination": graph.destination[::-1]}
    if "source" in change:
        change = {"source": np.append(graph.source[:-1], np.int32(change["source"]))}
    with pytest.raises(EmigbenchError, match=message):
        prepare(dataclasses.replace(graph, **change))


def test_an_empty_batch_is_refused():
    with pytest.raises(EmigbenchError, match="at least one graph"):
        GraphBatch.of([])


# The convolution -----------------------------------------------------------------------------------------------------


def test_a_convolution_worked_out_by_hand():
    """Two atoms and a bond of three: width 1, the gates' sum is the edge feature, the message the source's feature.

    Edges into atom 1: from 0 with y = 0 (s = 1/2) and y = ln 3 (s = 3/4). x_1 = (1/2 * 8 + 3/4 * 8) / (5/4) = 8, and
    from a second source (atom 2, feature 2) with y = 0: x_1 = (4 + 6 + 1) / (1.75) = 6.2857.
    """
    conv = EdgeGatedConvolution(1).eval()
    with torch.no_grad():
        for parameter in conv.parameters():
            parameter.zero_()
        conv.edge_gate.weight.fill_(1)
        conv.dst_update.weight.fill_(1)
        conv.bn_nodes.weight.fill_(1)
        graph = sorted_graph([1, 1, 1], [0, 0, 2], [1, 1, 1], [[1, 0, 0], [2, 0, 0], [1, 1, 0]])
        links = GraphBatch.of([prepare(graph)]).bonds
        edges = torch.tensor([[0.0], [np.log(3.0)], [0.0]], dtype=torch.float32)
        nodes, new = conv(links, torch.tensor([[8.0], [0.0], [2.0]]), edges.clone(), torch.ones(3))
    x = 11 / 1.75
    assert nodes[:, 0].tolist() == pytest.approx([8, x / (1 + np.exp(-x)), 2], rel=1e-4)
    assert torch.equal(new, edges)  # BN's weight is zero: SiLU(0) = 0


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("merge", [True, False])
def test_equals_the_plain_network_with_its_gradients(training, merge):
    graphs = [random_graph(seed, n=n) for seed, n in ((1, 5), (2, 1), (3, 9))]
    ours, plain = (seeded("model-3").double().train(training) for _ in range(2))
    for network in (ours, plain):
        network.element_features = network.element_features.double()
    packed = double(GraphBatch.of([prepare(graph, merge=merge) for graph in graphs]))
    packed = exact_geometry(packed, [prepare(graph, merge=merge) for graph in graphs])
    a, b = ours(packed), plain.heads(plain_pooled(plain, graphs)).squeeze(1)
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    factors = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    (a * factors).sum().backward()
    (b * factors).sum().backward()
    gradients = [{n: p.grad for n, p in net.named_parameters() if p.grad is not None} for net in (ours, plain)]
    unused = {"alignn_layers.3.edge_update.bn_edges", "gcn_layers.3.bn_edges"}
    missing = {name.rsplit(".", 1)[0] for name, _ in ours.named_parameters() if name not in gradients[0]}
    assert missing == unused
    assert max(relative_gradients(*gradients).values()) < 1e-7


def exact_geometry(packed, graphs: list[PreparedGraph]):
    """Lengths and cosines of the batch in double precision, so that only the network is compared."""
    r = torch.tensor(np.concatenate([graph.displacement for graph in graphs])).double()
    length = r.norm(dim=1)
    i, j = packed.angles.source.long(), packed.angles.target.long()
    cosines = (-(r[i] * r[j]).sum(1) / (length[i] * length[j])).clamp(-1, 1)
    return dataclasses.replace(packed, lengths=length, cosines=cosines)


def test_gradients_of_a_tiny_convolution_against_finite_differences():
    torch.manual_seed(0)
    conv = EdgeGatedConvolution(3).double()
    links = double(GraphBatch.of([random_graph(5, n=3, k=2)])).angles
    n = len(links.target_node)
    nodes, edges = torch.randn(n, 3).double(), torch.randn(len(links.row), 3).double()
    count, factors = torch.ones(n).double(), torch.randn(n + len(links.row), 3).double()

    def loss(*values):
        x, y = conv(links, *values, count)
        return (torch.cat([x, y]) * factors).sum()

    for update in (True, False):
        inputs = [value.clone().requires_grad_() for value in (nodes, edges)]
        variables = [*inputs, *conv.parameters()]
        gradients = torch.autograd.grad(loss(*inputs), variables)
        for variable, gradient in zip(variables, gradients, strict=True):
            direction, step = torch.randn_like(variable), 1e-6
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    variable += sign * step * direction
                    values.append(loss(*(value.clone() for value in inputs)).item())
                    variable -= sign * step * direction
            assert (gradient * direction).sum().item() == pytest.approx(
                (values[0] - values[1]) / (2 * step), rel=1e-6, abs=1e-7
            )
        factors[n:] = factors[n:] * update


def test_a_second_backward_through_one_forward_is_an_error_and_not_a_wrong_gradient():
    network = seeded("model-3")
    loss = network(GraphBatch.of([random_graph(0)])).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_running_statistics_are_those_of_torch():
    graphs = [random_graph(1), random_graph(2)]
    network = seeded("model-3").train()
    x = network.atom_embedding.layer[0](
        torch.tensor(elements.features()[np.concatenate([g.atomic_numbers for g in graphs])])
    )
    theirs = torch.nn.BatchNorm1d(256)
    theirs.load_state_dict(network.atom_embedding.layer[1].state_dict())
    theirs(x)
    lengths = torch.tensor(np.concatenate([np.linalg.norm(graph.displacement, axis=1) for graph in graphs]))
    basis, dense, _ = network.edge_embedding
    bonds = torch.nn.BatchNorm1d(64)
    bonds.load_state_dict(dense.layer[1].state_dict())
    bonds(dense.layer[0](basis(lengths)))  # all edges, copies too
    network(GraphBatch.of(graphs))
    for ours, expected in ((network.atom_embedding.layer[1], theirs), (dense.layer[1], bonds)):
        for key, value in expected.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[key], value, rtol=1e-5, atol=1e-6)


def test_running_statistics_of_a_batch_of_one_atom_stay_finite():
    """Its variance is 0, and there is none to estimate from it: a tenth of the way from 1 to 0."""
    norm = BatchNorm(2).train()
    norm(torch.tensor([[3.0, -4.0]]), torch.ones(1))
    torch.testing.assert_close(norm.running_mean, torch.tensor([0.3, -0.4]))
    torch.testing.assert_close(norm.running_var, torch.tensor([0.9, 0.9]))


# Symmetries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_gives_what_its_graphs_give_alone(name):
    network, cells = seeded(name), graphs_for(name, 1, 2, 3)
    together = predict(network, *cells)
    alone = torch.cat([predict(network, *([graphs[i]] for graphs in cells)) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    turned = predict(network, *(graphs[::-1] for graphs in cells))
    torch.testing.assert_close(together, turned.flip(0), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_order_of_atoms_and_edges_and_copies_do_not_matter(name):
    network, cells = seeded(name), graphs_for(name, 4, 5)
    expected = predict(network, *cells)
    other = [[permuted(graph, 7) for graph in graphs] for graphs in cells]
    torch.testing.assert_close(predict(network, *other), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(predict(network, *cells, merge=False), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_without_gradients_the_same_as_with_them(name):
    network, cells = seeded(name).eval(), graphs_for(name, 4, 5)
    packed = [GraphBatch.of(graphs) for graphs in cells]
    with_them = network(*packed).detach()
    assert with_them.shape == ((2, 7) if name == "mpt" else (2,))
    for _ in range(2):
        torch.testing.assert_close(predict(network, *cells), with_them, rtol=1e-5, atol=1e-5)


def test_small_chunks_change_nothing(monkeypatch):
    network, cells = seeded("model-3"), graphs_for("model-3", 4, 5, 6)
    results = []
    for size in (10_000, 7):
        monkeypatch.setitem(batches.CHUNK_ROWS, "cpu", size)
        network.train().zero_grad()
        output = network(GraphBatch.of(cells[0]))
        output.sum().backward()
        results.append((output.detach(), network.angle_embedding[1].layer[0].weight.grad))
        network = seeded("model-3")
    torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-4)


# Variants ------------------------------------------------------------------------------------------------------------


def test_siamese_variants_are_the_stated_combinations():
    initial, final = graphs_for("model-1-add", 1, 2)
    for name, join in (
        ("model-1-add", lambda n, a, b: n.heads(a + b)),
        ("model-1-sub", lambda n, a, b: n.heads(a - b)),
        ("model-1-cc", lambda n, a, b: n.heads(n.fc(torch.cat([a, b], 1)))),
        ("scratch-add", lambda n, a, b: n.fc(a + b)),
        ("scratch-sub", lambda n, a, b: n.fc(a - b)),
        ("scratch-cc", lambda n, a, b: n.fc[1](n.fc[0](torch.cat([a, b], 1)))),
    ):
        network = seeded(name).eval()
        with torch.no_grad():
            expected = join(network, plain_pooled(network, initial), plain_pooled(network, final)).squeeze(1)
        torch.testing.assert_close(predict(network, initial, final), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["scratch-add", "scratch-sub", "scratch-cc"])
def test_a_scratch_model_starts_at_a_value_and_can_leave_it(name):
    network, (initial, final) = seeded(name), graphs_for("model-1-add", 1, 2)
    start_at(network, -0.75)
    first = predict(network.eval(), initial, final)
    torch.testing.assert_close(first, torch.full_like(first, -0.75))

    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(2):  # of SCRATCH-CC's two layers the first has a gradient once the last has weights
        optimizer.zero_grad()
        network.train()(GraphBatch.of(initial), GraphBatch.of(final)).square().mean().backward()
        optimizer.step()
    for parameter in (*network.fc.parameters(), network.atom_embedding.layer[0].weight):
        assert parameter.grad.abs().max() > 0


def test_model_2_sees_the_final_cell_through_the_short_stack_alone():
    network, (initial, final) = seeded("model-2").eval(), graphs_for("model-2", 1, 2)
    with torch.no_grad():
        full = plain_pooled(network, initial)
        short = seeded("model-2").eval()
        short.alignn_layers, short.gcn_layers = short.alignn_layers_1, short.gcn_layers_1
        change = plain_pooled(short, initial) - plain_pooled(short, final)
        expected = network.heads(network.fc(torch.cat([full, change], 1))).squeeze(1)
    torch.testing.assert_close(predict(network, initial, final), expected, rtol=1e-4, atol=1e-5)


def test_model_4_reads_band_and_surroundings_each_by_its_own_attention():
    """As in the authors' code: attention for the band, attention1 for the sub-graph, joined in this order."""
    network, cells = seeded("model-4").eval(), graphs_for("model-4", 1, 2)
    with torch.no_grad():
        of_band, of_subgraph = (network.atom_features(packed) for packed in map(GraphBatch.of, cells))
        n_band, n_subgraph = (torch.tensor([graph.n_atoms for graph in graphs]) for graphs in cells)
        read = [network.attention(of_band, n_band), network.attention1(of_subgraph, n_subgraph)]
        expected = network.heads(network.fc(torch.cat(read, 1))).squeeze(1)
    torch.testing.assert_close(predict(network, *cells), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["model-1-sub", "model-2", "model-3", "model-4"])
def test_what_frozen_networks_read_gives_the_answers_of_the_whole(name):
    """Without the rounding to half precision."""
    network, cells = seeded(name).eval(), graphs_for(name, 1)

    def behind(graph):
        half = network.halfway(GraphBatch.of([graph]))
        return HalfwayGraph(graph, half.atoms, half.edges)

    with torch.no_grad():
        read = network.frozen_inputs([prepare(graphs[0]) for graphs in cells], behind)
        found = network(*((HalfwayBatch if isinstance(one, HalfwayGraph) else GraphBatch).of([one]) for one in read))
    torch.testing.assert_close(found, predict(network, *cells), rtol=1e-5, atol=1e-5)


def test_the_head_begins_with_an_activation():
    network, x = build("model-3"), torch.randn(3, 256)
    first = F.silu(network.conv_to_fc[0](F.silu(x)))
    expected = network.fc_out[0](F.silu(network.fc_hp[0][0](first)))
    torch.testing.assert_close(network.heads(x), expected)


def test_attention_is_the_formula_of_each_graph():
    torch.manual_seed(0)
    attention = Attention(16).eval()
    sizes = torch.tensor([3, 1, 7])
    x = torch.randn(11, 16) / 4
    expected = []
    for part in x.split(sizes.tolist()):
        q, k, v = (torch.relu(f(part)) for f in (attention.linear_q, attention.linear_k, attention.linear_v))
        w = torch.softmax(torch.tanh(k @ q.T).sum(1), 0)
        expected.append(attention.norm(part.mean(0) + w @ v))
    torch.testing.assert_close(attention(x, sizes), torch.stack(expected))


def test_attention_drops_weights_in_training_alone():
    attention, x, sizes = Attention(16), torch.randn(30, 16), torch.tensor([30])
    torch.manual_seed(0)
    assert not torch.equal(attention.train()(x, sizes), attention.train()(x, sizes))
    assert torch.equal(attention.eval()(x, sizes), attention.eval()(x, sizes))


def test_attention_drops_a_fifth_of_the_weights():
    """Without queries all of 1500 atoms weigh alike; what is left of them is scaled up by 1 / 0.8."""
    torch.manual_seed(0)
    nothing = torch.zeros(1500, 1)
    weights = Attention(1).train()._of_one(nothing, nothing, torch.eye(1500))
    assert (weights == 0).double().mean() == pytest.approx(0.2, abs=0.04)
    torch.testing.assert_close(weights.max(), torch.tensor(1.25 / 1500))


@pytest.mark.parametrize("name", ["model-3", "model-4"])
def test_half_precision_is_close_and_trains(name):
    network, cells = seeded(name).train(), graphs_for(name, 1, 2)
    packed = [GraphBatch.of(graphs) for graphs in cells]
    expected = network.eval()(*packed).detach()
    with torch.autocast("cpu", torch.bfloat16):
        found = network(*packed)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.1, atol=0.1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = network.train()(*packed).sum()
    loss.backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())


READ_OUT = {"fc", "conv_to_fc", "fc_hp", "fc_out", "attention", "attention1"}


@pytest.mark.parametrize("name", NETWORKS)
def test_half_precision_stops_before_the_read_out(name):
    """Every product behind the pooled features is in float32; those before them are not, so the hooks do see some."""
    network, cells = seeded(name).train(), graphs_for(name, 1, 2)
    seen: dict[str, set[torch.dtype]] = {}
    for path, module in network.named_modules():
        if isinstance(module, torch.nn.Linear):
            part = path.partition(".")[0]
            module.register_forward_hook(
                lambda _, given, answer, part=part: seen.setdefault(part, set()).update((given[0].dtype, answer.dtype))
            )
    with torch.autocast("cpu", torch.bfloat16):
        network(*(GraphBatch.of(graphs) for graphs in cells))
    assert torch.bfloat16 in seen["gcn_layers"]
    assert {part: seen[part] for part in seen.keys() & READ_OUT} == {
        part: {torch.float32} for part, _ in network.named_children() if part in READ_OUT
    }


def test_attention_is_not_rounded_where_the_rest_is():
    torch.manual_seed(0)
    attention, x, sizes = Attention(16).eval(), torch.randn(11, 16), torch.tensor([3, 1, 7])
    expected = attention(x, sizes)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(attention(x, sizes), expected)


def test_batch_statistics_are_in_full_precision_where_products_are_not():
    """Of rows, and of a convolution's gates, which are its edges here: a tenth of the way from 0 and 1."""
    torch.manual_seed(0)
    links = GraphBatch.of([prepare(random_graph(0), merge=False)]).bonds
    edges = (5 + torch.randn(len(links.row), 4)).bfloat16()
    norm, conv = BatchNorm(4).train(), EdgeGatedConvolution(4).train()
    for parameter in conv.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.eye_(conv.edge_gate.weight)
    with torch.autocast("cpu", torch.bfloat16):
        norm(edges, torch.ones(len(edges)))
        conv(links, torch.zeros(7, 4), edges.clone(), torch.ones(7))
    for found in (norm, conv.bn_edges):
        torch.testing.assert_close(found.running_mean, 0.1 * edges.float().mean(0), rtol=1e-5, atol=0)
        torch.testing.assert_close(found.running_var, 0.9 + 0.1 * edges.float().var(0), rtol=1e-5, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_cuda_gives_what_the_cpu_gives(dtype):
    network, cells = seeded("model-3").eval(), graphs_for("model-3", 1, 2, 3)
    expected = network(GraphBatch.of(cells[0])).detach()
    network.cuda()
    with torch.autocast("cuda", dtype or torch.float16, enabled=dtype is not None):
        found = network(GraphBatch.of(cells[0], "cuda"))
    tolerance = 1e-4 if dtype is None else 0.1
    torch.testing.assert_close(found.detach().cpu(), expected, rtol=tolerance, atol=tolerance)
    found.sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())


# The original stack --------------------------------------------------------------------------------------------------


class OneLinearHead(Backbone):
    """What alignn's own class computes: pooled features and one linear layer."""

    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(256, 1)

    def forward(self, cell):
        return self.fc(self.pooled(cell)).squeeze(1)


@pytest.mark.parametrize("training", [True, False])
def test_parity_with_alignn_and_dgl(training):
    os.environ.setdefault("DGLBACKEND", "pytorch")
    dgl = pytest.importorskip("dgl", reason="the original stack needs dgl 1.1.3")
    original_graphs = pytest.importorskip("alignn.graphs", reason="the original stack needs alignn")
    from alignn.models.alignn import ALIGNN

    graphs = [random_graph(seed, n=n) for seed, n in ((0, 5), (1, 9), (2, 1), (3, 12), (4, 30))]
    table = torch.tensor(elements.features())
    crystals, lines = [], []
    for graph in graphs:
        ends = torch.tensor(graph.source).long(), torch.tensor(graph.destination).long()
        crystal = dgl.graph(ends, num_nodes=graph.n_atoms)
        crystal.ndata["atom_features"] = table[torch.tensor(graph.atomic_numbers).long()]
        crystal.edata["r"] = torch.tensor(graph.displacement)
        line = crystal.line_graph(shared=True)
        line.apply_edges(original_graphs.compute_bond_cosines)
        crystals.append(crystal)
        lines.append(line)
    torch.manual_seed(0)
    ours, original = OneLinearHead().train(training), ALIGNN().train(training)
    ours.load_state_dict(seeded("scratch-add").state_dict())
    original.load_state_dict(ours.state_dict())
    a = ours(GraphBatch.of(graphs))
    b = original((dgl.batch(crystals), dgl.batch(lines), None))
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    factors = torch.tensor([1.0, -2.0, 0.5, 1.5, -1.0])
    (a * factors).sum().backward()
    (b * factors).sum().backward()
    gradients = [{n: p.grad for n, p in net.named_parameters() if p.grad is not None} for net in (ours, original)]
    found = relative_gradients(*gradients)
    assert max(found.values()) < 1e-4, max(found, key=found.get)
