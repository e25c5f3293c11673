"""Weights of MediaPipe's face networks: from their .tflite files to the package's safetensors.

    pip install tflite flatbuffers
    python experiments/landmarks/convert.py ../shared/fixtures/landmarks facemorph/embedded

A .tflite file is a graph. From each output of the network its chain of layers is walked back to what is known already,
and its weights go, in that order, to the layers of the module in PyTorch; shapes are checked.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flatbuffers.flexbuffers as flexbuffers  # pyright: ignore[reportMissingImports]
import numpy as np
import torch
from safetensors.torch import save_file
from tflite.BuiltinOperator import BuiltinOperator as Operator  # pyright: ignore[reportMissingImports]
from tflite.Model import Model  # pyright: ignore[reportMissingImports]
from torch import nn

from facemorph.faces.blazeface import BlazeFace
from facemorph.faces.face_mesh import FaceMesh, Region

DTYPES = {0: np.float32, 1: np.float16, 2: np.int32}
LAYERS = {Operator.CONV_2D, Operator.DEPTHWISE_CONV_2D, Operator.PRELU}


class Graph:
    """The first graph of a .tflite file: which operator makes each tensor, and which tensors hold constants."""

    def __init__(self, path: Path) -> None:
        self.model: Any = Model.GetRootAsModel(path.read_bytes(), 0)
        self.graph: Any = self.model.Subgraphs(0)
        operators = [self.graph.Operators(index) for index in range(self.graph.OperatorsLength())]
        self.made_by = {int(tensor): one for one in operators for tensor in one.OutputsAsNumpy()}
        self.outputs = {self.graph.Tensors(int(i)).Name().decode(): int(i) for i in self.graph.OutputsAsNumpy()}
        self.seen: set[int] = set()

    def kind(self, operator: Any) -> int:
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        return max(code.BuiltinCode(), code.DeprecatedBuiltinCode())

    def constant(self, index: int) -> np.ndarray | None:
        """The value of a tensor that is stored in the file, perhaps as float16; None for one that is computed."""
        tensor = self.graph.Tensors(index)
        buffer = self.model.Buffers(tensor.Buffer())
        if buffer.DataLength():
            return buffer.DataAsNumpy().view(DTYPES[tensor.Type()]).reshape(tensor.ShapeAsNumpy())
        operator = self.made_by.get(index)
        is_stored = operator is not None and self.kind(operator) == Operator.DEQUANTIZE
        return self.constant(int(operator.Inputs(0))) if operator is not None and is_stored else None

    def inputs(self, operator: Any) -> list[int]:
        return [int(i) for i in operator.InputsAsNumpy() if i >= 0 and self.constant(int(i)) is None]

    def layers(self, tensor: int) -> Iterator[tuple[int, list[np.ndarray]]]:
        """Layers (kind, constants) that `tensor` needs and that no earlier call has given, the first one first."""
        if tensor in self.seen or tensor not in self.made_by:
            return
        self.seen.add(tensor)
        operator = self.made_by[tensor]
        # a shortcut's sum: the side with the convolution comes after what both sides share
        for needed in self.inputs(operator):
            yield from self.layers(needed)
        if self.kind(operator) in LAYERS:
            constants = [self.constant(int(i)) for i in operator.InputsAsNumpy()]
            yield self.kind(operator), [value for value in constants if value is not None]

    def transform(self, tensor: int) -> dict[str, Any]:
        """The options of the operator Landmarks2TransformMatrix that a tensor depends on."""
        operator = self.made_by[tensor]
        if operator.CustomOptionsLength():
            options: Any = flexbuffers.Loads(bytes(operator.CustomOptionsAsNumpy()))
            if "subset_idxs" in options:
                return options
        return self.transform(self.inputs(operator)[-1])


def fill(modules: list[nn.Module], layers: Iterator[tuple[int, list[np.ndarray]]]) -> None:
    """Weights of `layers` into the convolutions and PReLUs of `modules`, in order."""
    ours = [m for module in modules for m in module.modules() if isinstance(m, nn.Conv2d | nn.PReLU)]
    for layer, (kind, constants) in zip(ours, list(layers), strict=True):
        weight = constants[0]
        if kind == Operator.PRELU:
            weight = weight.reshape(-1)
        else:
            weight = (
                weight.transpose(3, 0, 1, 2) if kind == Operator.DEPTHWISE_CONV_2D else weight.transpose(0, 3, 1, 2)
            )
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            layer.bias.data = torch.tensor(constants[1])
        assert layer.weight.shape == weight.shape, (layer, weight.shape)
        layer.weight.data = torch.tensor(np.ascontiguousarray(weight))


def blazeface(path: Path) -> BlazeFace:
    graph, network = Graph(path), BlazeFace()
    logits, values = (graph.made_by[graph.outputs[name]] for name in ("classificators", "regressors"))
    (fine_logits, coarse_logits), (fine_values, coarse_values) = graph.inputs(logits), graph.inputs(values)
    fill([network.stem, network.backbone, network.logits[0]], graph.layers(fine_logits))
    fill([network.deep, network.logits[1]], graph.layers(coarse_logits))
    fill([network.values[0]], graph.layers(fine_values))
    fill([network.values[1]], graph.layers(coarse_values))
    return network


def face_mesh(path: Path) -> FaceMesh:
    graph, network = Graph(path), FaceMesh()
    trunk = [network.stem, network.features, network.trunk]
    fill([*trunk, network.points], graph.layers(graph.outputs["output_mesh_identity"]))
    fill([network.face], graph.layers(graph.outputs["conv_faceflag"]))
    for name in ("lips", "left_eye", "right_eye"):
        region: Region = getattr(network, name)
        points = graph.outputs[f"output_{name}"]
        options = graph.transform(points)
        region.indices.copy_(torch.tensor(options["subset_idxs"]))
        region.level.copy_(torch.tensor([options["left_rotation_idx"], options["right_rotation_idx"]]))
        fill([region.stem, region.heads[0]], graph.layers(points))
        if len(region.heads) > 1:
            fill([region.heads[1]], graph.layers(graph.outputs[f"output_{name.replace('eye', 'iris')}"]))
    return network


def main() -> None:
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    made = {
        "face-detector": blazeface(source / "face_detection_short_range.tflite"),
        "face-mesh": face_mesh(source / "face_landmark_with_attention.tflite"),
    }
    for name, network in made.items():
        state = {
            key: value.half() if value.is_floating_point() else value for key, value in network.state_dict().items()
        }
        save_file({key: value.contiguous() for key, value in state.items()}, target / f"{name}.safetensors")
        print(target / f"{name}.safetensors", (target / f"{name}.safetensors").stat().st_size)


if __name__ == "__main__":
    main()
