"""The readers of compiled programs in `benchmarks.accelerators`, on texts small enough to read.

`make accelerators` runs the checks themselves, which need compilers for TPUs and GPUs.
"""

import json

import jax
import jax.numpy as jnp
import pytest

from benchmarks.accelerators import checks, page, registers, report
from benchmarks.accelerators.bundles import bundles_of, read_dump, read_kernels
from benchmarks.accelerators.hlo import Module, arrays


HLO = """\
HloModule jit_f

%copied (p: bf16[512,256]) -> f32[512,256] {
  %p = bf16[512,256]{1,0} parameter(0)
  ROOT %c = f32[512,256]{1,0} convert(%p)
}

%inner (a: (s32[], f32[8])) -> (s32[], f32[8]) {
  %a = (s32[], f32[8]{0}) parameter(0)
  ROOT %t = (s32[], f32[8]{0}) tuple(%a)
}

%until4 (a: (s32[], f32[8])) -> pred[] {
  %n = s32[] constant(4)
  ROOT %lt = pred[] compare(%n, %n), direction=LT
}

%outer (a: (s32[], bf16[512,256])) -> (s32[], bf16[512,256]) {
  %a = (s32[], bf16[512,256]{1,0:T(8,128)}) parameter(0)
  %u = bf16[512,256]{1,0} get-tuple-element(%a), index=1
  %f = f32[512,256]{1,0} fusion(%u), kind=kLoop, calls=%copied, MORE
  %w2 = (s32[], f32[8]{0}) while(%a), condition=%until4, body=%inner
  %copy-start = (bf16[512,256]{1,0:S(1)}, bf16[512,256]{1,0}, u32[]) copy-start(%u)
  ROOT %t = (s32[], bf16[512,256]{1,0}) tuple(%a)
}

%until128 (a: (s32[], bf16[512,256])) -> pred[] {
  %n = s32[] constant(128)
  ROOT %lt = pred[] compare(%n, %n), direction=LT
}

ENTRY %main (u: bf16[512,256]) -> f32[8] {
  %u = bf16[512,256]{1,0} parameter(0)
  %e = f32[8]{0} fusion(%u), kind=kLoop, calls=%copied, backend_config={"estimated_cycles":"7"}
  %x = f32[8]{0} custom-call(%u), custom_call_target="jaxrnn_forward"
  ROOT %w = (s32[], bf16[512,256]{1,0:T(8,128)}) while(%u), condition=%until128, body=%outer
}
""".replace(
    "MORE",
    'metadata={op_name="transpose(jvp())"}, '
    'backend_config={"estimated_cycles":"100","iteration_bounds":["1"]}',
)

WEIGHTS = {(512, 256)}


def test_loops_have_the_steps_of_the_loops_around_them():
    found = [(loop.depth, loop.trips, loop.total) for loop in Module(HLO).loops]
    assert found == [(1, 128, 128), (2, 4, 512)]


def test_cycles_are_multiplied_by_trip_counts():
    assert Module(HLO).cycles == 7 + 128 * 100


def test_each_fault_of_a_program_is_found():
    module = Module(HLO)
    assert checks.cpu_calls(HLO) == ["calls a C++ kernel for CPU: jaxrnn_forward"]
    assert len(checks.weights_copied(module, WEIGHTS)) == 1
    assert len(checks.weights_converted(module, WEIGHTS)) == 1
    assert len(checks.weights_outside_vmem(module, WEIGHTS)) == 1
    placed = Module(HLO.replace("{1,0:T(8,128)}", "{1,0:T(8,128)S(1)}"))
    assert checks.weights_outside_vmem(placed, WEIGHTS) == []
    assert checks.weights_converted(module, {(3, 4)}) == []
    # the fusion and the copy, 128 times each
    assert checks.launches_a_step(module, 128) == 2


def test_weights_are_large_matrices_and_their_transposes():
    params = (jnp.zeros((512, 256)), jnp.zeros((2, 2)), jnp.zeros(70000))
    assert checks.weight_shapes(params) == {(512, 256), (256, 512)}


def test_a_lowered_call_is_found_and_a_name_in_a_location_is_not():
    call = "%0 = stablehlo.custom_call @jaxrnn_linear(%arg0)"
    assert checks.cpu_calls(call) == ["calls a C++ kernel for CPU: jaxrnn_linear"]
    assert checks.cpu_calls('#loc1 = loc("jaxrnn_kernel"(#loc2))') == []


def test_arrays_of_a_type():
    (s, u) = arrays("(s32[], bf16[768,3072]{1,0:T(8,128)(2,1)S(1)})")
    assert (s.shape, u.shape) == ((), (768, 3072))
    assert u.in_vmem and not s.in_vmem


def test_bundles_of_a_step(tmp_path):
    text = "Schedule analysis:\n\tnon empty scheduled bundles: 30\n"
    (tmp_path / "17-f-00-schedule-analysis_final_bundles.txt").write_text(text)
    (tmp_path / "17-TLP-00-schedule-analysis_final_bundles.txt").write_text(text)
    dump = read_dump(tmp_path)
    assert dump == {"f": 30, "TLP": 30}
    found = bundles_of(Module(HLO), dump, {}, 256)
    assert (found.forward, found.backward, found.whole) == (0, 15, True)
    looped = Module(HLO.replace('"iteration_bounds":["1"]', '"iteration_bounds":["4"]'))
    assert not bundles_of(looped, dump, {}, 256).whole


KERNEL = """\
     0   :  { %1 = vsyncpa [#allocation5], 0 }
   0x2 LB: > { %s2 = sadd.s32 1, %s3 }
   0x3   : > { %4 = nop  }
  0xff LB: >> { %v5 = vld [vmem:[%s0] sm:$0xf] }
0x1000   : >> { %v6 = vadd.f32 %v5, %v5 }
0x1001   : >> { %s7_s30 = sadd.s32 4, %s8_s30 /* copy for cssa */ }
0x1002   : >> { %p9 = scmp.ge.s32.totalorder %s7_s30, 8 /* loop exit test */ }
0x1003   : > { %p10 = scmp.ge.s32.totalorder %s2, 6 /* loop exit test */ }
"""


def test_bundles_of_a_kernel(tmp_path):
    """3 for each block of 8 steps, and 4 for each iteration of 4 steps."""
    (tmp_path / "17-jaxrnn_scan.3-01-final_bundles.txt").write_text(KERNEL)
    kernels = read_kernels(tmp_path)
    assert kernels == {"jaxrnn_scan.3": 3 / 8 + 4 / 4}
    call = '%jaxrnn_scan.3 = f32[8]{0} custom-call(%a), op_name="transpose(jvp(f))"'
    program = Module("ENTRY %main (a: f32[8]) -> f32[8] {\n  " + call + "\n}\n")
    assert bundles_of(program, {}, {"jaxrnn_scan.3": 7.0}, 256).backward == 7


PTXAS = """\
ptxas info    : Compiling entry function 'other' for 'sm_90a'
    0 bytes stack frame, 8 bytes spill stores, 8 bytes spill loads
ptxas info    : Compiling entry function 'forward' for 'sm_90a'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 28 registers, used 2 barriers
    0 bytes stack frame, {} bytes spill stores, 4 bytes spill loads
ptxas info    : Used 48 registers, used 2 barriers
"""


def test_registers_and_spilled_bytes_of_kernels():
    read = lambda text: registers.of_kernels(text.splitlines())
    assert read(PTXAS.format(0)) == {"registers": [28, 48], "spilled": [0, 0]}
    assert registers.spills(read(PTXAS.format(0))) == []
    assert "spills 4 bytes" in registers.spills(read(PTXAS.format(4)))[0]
    assert "ptxas reports 0 kernels" in registers.spills(read(""))[0]


def test_text_that_is_not_a_program_is_refused():
    with pytest.raises(ValueError, match="no ENTRY computation"):
        Module("HloModule f")


def entry(strategy, temporary, cycles, loops, **more):
    return {
        "cell": "LSTM", "dtype": "float32", "strategy": strategy, "backward": True,
        "temporary_bytes": temporary, "estimated_cycles": cycles, "fits": True,
        "loops": loops, "faults": [],
    } | more  # fmt: skip


GOOD = {
    "target": "v5e",
    "versions": {"jax": "0.10.2", "libtpu": "0.0.42.1"},
    "finished": True,
    "small": [{"cell": "LSTM", "strategy": "Auto()", "faults": []}],
    "large": [
        entry("Scan", 1000, 100, [[1, 1024], [1, 1024]]),
        entry("Hoisted", 100, 70, [[1, 128], [1, 128], [2, 8]]),
    ],
    "platforms": {"one trace": []},
    "bundles": [],
}


def with_large(strategy, **changes):
    large = [e | changes if e["strategy"] == strategy else e for e in GOOD["large"]]
    return GOOD | {"large": large}


BAD = [
    with_large("Hoisted", temporary_bytes=201),
    with_large("Hoisted", estimated_cycles=91),
    with_large("Hoisted", loops=[[1, 128], [1, 128], [2, 4]]),
    with_large("Hoisted", faults=["copies a weight"]),
    with_large("Hoisted", backward=False, launches_a_step=3.1),
    with_large("Scan", loops=[[1, 512]]),
    GOOD | {"finished": False},
    GOOD | {"platforms": {"one trace": ["calls a kernel"]}},
    GOOD | {"small": [{"cell": "LSTM", "strategy": "Auto()", "faults": ["no"]}]},
    {"target": "v5e", "planted": {"a weight in main memory": False}},
]


@pytest.mark.parametrize("part", BAD, ids=range(len(BAD)))
def test_a_fault_ends_with_an_error_and_leaves_the_page_alone(part, tmp_path):
    assert list(report.faults_of(GOOD)) == []
    assert len(list(report.faults_of(part))) == 1
    file = tmp_path / "part.json"
    file.write_text(json.dumps(part))
    assert report.report([file], tmp_path, lambda line: None, keep=False)
    assert not (tmp_path / report.PAGE).exists()


def test_the_page_holds_every_table(tmp_path):
    (tmp_path / "docs").mkdir()
    file = tmp_path / "part.json"
    fused = {"cell": "GRU", "strategy": "Fused()", "faults": []}
    small = [fused | {"registers": [28, 48], "spilled": [0, 0]}]
    file.write_text(json.dumps(GOOD | {"bundles": [BUNDLES], "small": small}))
    assert not report.report([file], tmp_path, lambda line: None, keep=False)
    text = (tmp_path / report.PAGE).read_text()
    assert "<!--" not in text and "| v5e, JAX 0.10.2 | GRU | 28 | 48 | 0 |" in text
    assert json.loads((tmp_path / report.JSON).read_text())[0]["target"] == "v5e"


BUNDLES = {
    "cell": "LSTM", "dtype": "bfloat16", "strategy": "Scan", "forward": 1, "backward": 2,
    "whole": True,
}  # fmt: skip


def test_page_titles_are_those_of_the_template():
    titles = [title for title, _ in page.tables([GOOD | {"bundles": [BUNDLES]}])]
    text = page.TEMPLATE.read_text()
    assert [f"<!-- {title} -->" in text for title in titles] == [True] * 3


def test_bfloat16_weights_are_copied_exactly_for_a_tpu_alone():
    from jaxrnn.strategies._base import resident

    u = jax.ShapeDtypeStruct((256, 256), jnp.bfloat16)
    traced = jax.jit(resident).trace(u)
    lowered = lambda name: traced.lower(lowering_platforms=(name,)).as_text()
    assert "reduce_precision" in lowered("tpu")
    assert "reduce_precision" not in lowered("cpu") + lowered("cuda")
