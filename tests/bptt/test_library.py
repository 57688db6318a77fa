"""Where there is a compiler there are kernels; where there are none, that is said and everything still runs."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import torch

from retrograd.bptt import Stack, choose
from retrograd.bptt.native import Library, library, no_native
from retrograd.bptt.native.library import ELSEWHERE
from retrograd.cells import GRU, LSTM, Additive, Elman
from retrograd.errors import UsageError


def in_a_process(code, **env):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(ELSEWHERE in os.environ, reason="another library is asked for")
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no compiler")
def test_where_there_is_a_compiler_the_kernels_were_built():
    assert isinstance(library(), Library), library()


@pytest.mark.skipif(isinstance(library(), str), reason=str(library()))
def test_the_team_is_torchs_own_and_no_second_runtime_is_loaded():
    assert library().team is not None
    maps = in_a_process("import retrograd.bptt.native as n; n.library(); print(open('/proc/self/maps').read())")
    runtimes = {path for path in maps.split() if re.search(r"/lib(gomp|iomp5|omp)[^/]*[.]so", path)}
    assert len(runtimes) == 1, runtimes


def test_without_kernels_everything_runs_on_torchs():
    shown = in_a_process(
        "import torch; from retrograd.bptt import Stack, choose; from retrograd.cells import GRU;"
        "s = Stack([GRU(3, 4)]); s(torch.zeros(5, 2, 3))[0].sum().backward(); print(choose(s.layers[0]))",
        **{ELSEWHERE: "off"},
    )
    assert shown.strip() == "fused"


@pytest.mark.parametrize(
    ("content", "said"), [(None, "cannot be loaded"), (b"no library", "cannot be loaded: .*(invalid|too short)")]
)
def test_a_library_that_cannot_be_loaded_is_named(tmp_path, content, said):
    path = tmp_path / "kernels.so"
    if content is not None:
        path.write_bytes(content)
    shown = in_a_process("from retrograd.bptt.native import library; print(library())", **{ELSEWHERE: str(path)})
    assert "kernels.so" in shown
    assert re.search(said, shown), shown


def test_what_the_kernels_do_not_take_is_refused_with_the_reason():
    assert "float16" in no_native(GRU(3, 4).half()) or isinstance(library(), str)
    with pytest.raises(UsageError, match=r"'native' does not fit: .*Try 'fused'"):
        choose(GRU(3, 4).half(), "native")


def test_torchs_compiler_is_not_loaded_before_somebody_compiles():
    """It takes more than a second."""
    assert in_a_process("import sys, retrograd.bptt; print('torch._dynamo' in sys.modules)").strip() == "False"


@pytest.mark.parametrize("kind", [Elman, GRU, LSTM, Additive])
def test_under_compile_the_operation_is_one_node_and_its_numbers_are_the_same(kind):
    if isinstance(library(), str):
        pytest.skip(library())
    torch.manual_seed(0)
    stack, x = Stack([kind(3, 5)], backend="native"), torch.randn(6, 2, 3, requires_grad=True)
    seen = []

    def counting(graph, _):
        seen.extend(node for node in graph.graph.nodes if "retrograd.sequence" in str(node.target))
        return graph.forward

    expected, (last,) = stack(x)
    compiled = torch.compile(stack, backend=counting, fullgraph=True)
    found, (own,) = compiled(x)
    assert len(seen) == 1
    assert torch.equal(found, expected)
    assert torch.equal(own, last)
    wanted = [x, *stack.parameters()]
    for ours, theirs in zip(
        torch.autograd.grad(found.square().sum() + own.sum(), wanted),
        torch.autograd.grad(expected.square().sum() + last.sum(), wanted),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


def test_under_ddp_two_processes_share_their_gradients(tmp_path):
    """Each takes half of a batch; what both end with is the mean of the two halves' gradients."""
    if isinstance(library(), str):
        pytest.skip(library())
    code = f"""
import sys, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from retrograd.bptt import Stack
from retrograd.cells import LSTM
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method="file://{tmp_path}/meet", rank=rank, world_size=2)
torch.manual_seed(0)
stack, x = Stack([LSTM(3, 5)], backend="native"), torch.randn(6, 4, 3)
whole = torch.autograd.grad(stack(x)[0].square().sum(), list(stack.parameters()))
model = DistributedDataParallel(stack)
model(x[:, 2 * rank : 2 * rank + 2])[0].square().sum().backward()
for shared, both in zip(stack.parameters(), whole, strict=True):
    torch.testing.assert_close(shared.grad, both / 2)
dist.destroy_process_group()
"""
    ranks = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, str(rank)]) for rank in (0, 1)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
