"""Whatever a file holds, the reader returns a network or says why not, and does nothing else.

The long search is marked slow; what it found is kept as examples and in `test_found_by_the_search`.
"""

import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_files import global_
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from published_files import (
    Module,
    Network,
    ada_from,
    ada_snapshot,
    dumps,
    rosinality_from,
    stylegan1,
    stylegan2,
    torch_bytes,
)
from test_hostile_files import nothing_happens

from facemorph.errors import WeightsError
from facemorph.stylegan.formats.published import read_published
from facemorph.stylegan.networks.architecture import GeneratorWeights

QUICK = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
    derandomize=True,
)
LONG = settings(
    max_examples=6000,
    deadline=None,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
)


def small_files() -> dict[str, bytes]:
    two = stylegan2(8, 2, latent=3, w=3)
    state = rosinality_from(two)
    return {
        "stylegan1": dumps(stylegan1(8, 8, 2, latent=3, w=3, mapping_fmaps=3)),
        "stylegan2": dumps((two, two, two), 2),
        "ada": dumps(ada_snapshot(ada_from(two)), 3),
        "rosinality": torch_bytes({"g_ema": state, "latent_avg": state["style.1.bias"]}),
        "rosinality, old": torch_bytes({"g_ema": state}, legacy=True),
    }


FILES = small_files()


def places(content: bytes) -> list[int]:
    """Where opcodes begin: the places where a change has the most to say."""
    start = content.index(b"\x80\x02") if content[:2] == b"PK" else 0
    return [start + (position or 0) for _, _, position in pickletools.genops(content[start:])]


PLACES = {name: places(content) for name, content in FILES.items()}


def holds(folder: Path, content: bytes) -> None:
    """It is read or refused, and nothing else happens."""
    path = folder / "network"
    path.write_bytes(content)
    with nothing_happens():
        try:
            assert isinstance(read_published(path), GeneratorWeights)
        except WeightsError as error:
            assert error.problem and error.hint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    for content in FILES.values():
        (folder / "network").write_bytes(content)
        read_published(folder / "network")  # also loads what numpy loads late
    return folder


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good file with bytes changed, cut out, doubled or added."""
    name = draw(st.sampled_from(sorted(FILES)))
    content = bytearray(FILES[name])
    position = st.sampled_from(PLACES[name]) | st.integers(0, len(content))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(position)
        kind = draw(st.sampled_from(["change", "cut", "double", "add", "end"]))
        length = draw(st.sampled_from([1, 2, 8, 64]))
        if kind == "change":
            content[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "cut":
            del content[at : at + length]
        elif kind == "double":
            content[at:at] = content[at : at + length]
        elif kind == "add":
            content[at:at] = draw(fragment)
        else:
            del content[at:]
    return bytes(content)


WORDS = (
    *("G_ema", "g_ema", "g", "state_dict", "latent_avg", "type", "class", "class_name", "state", "_modules"),
    *(
        "_parameters",
        "_buffers",
        "mapping",
        "synthesis",
        "b4",
        "img_resolution",
        "num_layers",
        "z_dim",
        "c_dim",
    ),
    *(
        "version",
        "components",
        "variables",
        "static_kwargs",
        "input.input",
        "conv1.conv.weight",
        "latin1",
        "f4",
    ),
    *("storage", "0", "cpu", "4x4/Conv/mod_weight", "4x4/Conv/StyleMod/weight", "<", "C", "K"),
)
NAMES = (
    *("collections.OrderedDict", "_codecs.encode", "argparse.Namespace", "numpy.ndarray", "numpy.dtype"),
    *("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter", "torch.storage._load_from_bytes"),
    *("torch.Size", "torch_utils.persistence._reconstruct_persistent_obj", "numpy.core.multiarray.scalar"),
    *(
        "numpy.core.multiarray._reconstruct",
        "numpy._core.numeric._frombuffer",
        "builtins.set",
        "builtins.bytes",
    ),
    *("dnnlib.EasyDict", "dnnlib.tflib.network.Network", "torch.FloatStorage", "os.system", "builtins.eval"),
)
word = st.sampled_from(WORDS).map(lambda value: b"\x8c" + bytes([len(value)]) + value.encode())
name = st.sampled_from(NAMES).map(lambda value: global_(*value.rsplit(".", 1)))
number = st.integers(-(2**63), 2**63).map(lambda value: pickle.dumps(value, 2)[2:-1])
content = st.binary(max_size=16).map(lambda value: b"C" + bytes([len(value)]) + value)
memo = st.tuples(st.sampled_from([b"q", b"h"]), st.integers(0, 3)).map(lambda pair: pair[0] + bytes([pair[1]]))
opcode = st.sampled_from([bytes([op]) for op in b"N(t)]}aesu012RbQ.\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94"])
fragment = st.one_of(word, name, number, content, memo, opcode, opcode)
soup = st.lists(fragment, max_size=60).map(lambda parts: b"\x80\x04" + b"".join(parts) + b".")

plain: Any = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(WORDS)
    | st.sampled_from(
        [np.zeros((1, 3), np.float32), np.float32(np.nan), np.zeros(0), np.int8(3), np.zeros((2, 2, 1, 1))]
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner, inner)
        | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6)
    ),
    max_leaves=12,
)


@st.composite
def misfit(draw: st.DrawFn) -> bytes:
    """A network of the right outline with settings and arrays that do not belong there."""
    kind = draw(st.sampled_from(["stylegan1", "stylegan2", "ada", "rosinality"]))
    network: Network = (
        stylegan1(8, 8, 2, latent=3, w=3, mapping_fmaps=3) if kind == "stylegan1" else stylegan2(8, 2, latent=3, w=3)
    )
    if kind == "rosinality":
        state: dict[str, Any] = dict(rosinality_from(network))
        for key in draw(st.lists(st.sampled_from(sorted(state)), min_size=1, max_size=3)):
            state[key] = draw(plain)
        return dumps({"g_ema": state, "latent_avg": draw(plain)}, 2)
    if kind == "ada":
        module: Module = ada_from(network)
        modules = [module]
        for one in modules:  # grows on the way; all are found before any is spoilt
            modules += one.attributes.get("_modules", {}).values()
        for _ in range(draw(st.integers(1, 3))):
            attributes = draw(st.sampled_from(modules)).attributes
            group = draw(st.sampled_from(sorted(attributes)))
            if isinstance(attributes[group], dict) and attributes[group] and draw(st.booleans()):
                attributes[group] = {
                    **attributes[group],
                    draw(st.sampled_from(sorted(attributes[group]))): draw(plain),
                }
            else:
                attributes[group] = draw(plain)
        return dumps(ada_snapshot(module), 3)
    parts = [network, *network.components.values()]
    variables = {id(part): list(part.variables) for part in parts}
    for _ in range(draw(st.integers(1, 3))):
        part = draw(st.sampled_from(parts))
        own = variables[id(part)]
        if own and draw(st.booleans()):
            index = draw(st.integers(0, len(own) - 1))
            own[index] = (own[index][0], draw(plain))
            part.variables = own
        elif draw(st.booleans()):
            setattr(
                part,
                draw(st.sampled_from(["version", "static_kwargs", "variables", "components"])),
                draw(plain),
            )
        else:
            key = draw(st.sampled_from(SETTINGS))
            if isinstance(part.static_kwargs, dict):
                part.static_kwargs[key] = draw(plain)
    return dumps(network)


SETTINGS = (
    *(
        "use_wscale",
        "mapping_lrmul",
        "nonlinearity",
        "mapping_nonlinearity",
        "normalize_latents",
        "blur_filter",
    ),
    *("truncation_psi", "truncation_cutoff", "fused_scale", "conv_clamp", "resample_kernel", "use_styles"),
)


@QUICK
@given(file=damaged())
def test_damaged_files(folder: Path, file: bytes) -> None:
    holds(folder, file)


@QUICK
@given(file=soup)
@example(file=b"\x80\x04.")
def test_opcodes_in_any_order(folder: Path, file: bytes) -> None:
    holds(folder, file)


@QUICK
@given(file=misfit())
def test_networks_that_do_not_hold_together(folder: Path, file: bytes) -> None:
    holds(folder, file)


@QUICK
@given(
    file=st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: b"PK\x03\x04" + tail + b"PK\x05\x06" + tail)
)
def test_any_bytes(folder: Path, file: bytes) -> None:
    holds(folder, file)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["damaged", "soup", "misfit"])
def test_long_search(folder: Path, kind: str) -> None:
    @LONG
    @given(file={"damaged": damaged(), "soup": soup, "misfit": misfit()}[kind])
    def search(file: bytes) -> None:
        holds(folder, file)

    search()
