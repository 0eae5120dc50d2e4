"""Writing graphs to files."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from ..errors import InputError
from ..files import replacing
from ..inference.onnx_model import METADATA_KEY
from .graph import PixelGraph
from .schedule import fixed_steps
from .symbols import symbolic_sizes

FORMATS = ("onnx", "pt2")
# The oldest that the exporter writes; whatever runs ONNX today runs it.
OPSET = 18
# A batch and sizes that no number in a network equals, so that symbols are not taken for numbers;
# odd ones, so that resizing and padding are traced, which do no harm where they are not needed.
EXAMPLE = (2, 3, 201, 329)
# Has to go through the graph made with it.
OTHER = (1, 3, 109, 75)
# Protocol buffers, as which ONNX files are written, cannot be larger.
LARGEST_ONNX = 2**31 - 2**20


def trace(graph: PixelGraph) -> ExportedProgram:
    """Make a graph for any batch, height and width.

    Args:
        graph (PixelGraph): The model and what goes with it, on the CPU and in evaluation mode.

    Returns:
        ExportedProgram: Its graph.

    Raises:
        InputError: If PyTorch cannot make one.
    """
    example = torch.zeros(EXAMPLE, dtype=torch.uint8)
    dynamic = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    with fixed_steps(graph), symbolic_sizes(), torch.no_grad(), _one_line("torch.export"):
        program = torch.export.export(graph, (example,), dynamic_shapes=(dynamic,), strict=False)
        # Asks for the conditions that were met by the example and are no error while tracing: a
        # graph that holds for one size alone would give wrong labels for others.
        program.module()(torch.zeros(OTHER, dtype=torch.uint8))
    return program


def write_onnx(program: ExportedProgram, path: Path, metadata: dict) -> None:
    """Write a graph as an ONNX file with its weights inside.

    Args:
        program (ExportedProgram): The graph of a :class:`PixelGraph`.
        path (Path): The file.
        metadata (dict): What the file's metadata say, as JSON, under ``mmseg_pointrend``.

    Raises:
        InputError: If the exporter is missing or knows no ONNX form of an operator, the weights are
            too large, or the file cannot be written.
    """
    _check_exporter()
    size = sum(weight.nbytes for weight in program.state_dict.values())
    if size > LARGEST_ONNX:
        raise InputError(
            f"{path}: {size / 2**30:.1f} GiB of weights do not fit into one ONNX file, which holds "
            "2 GiB; use --format pt2."
        )
    outputs = ["labels", "logits"][: len(program.graph_signature.user_outputs)]
    with _one_line("torch.onnx.export"):
        onnx = torch.onnx.export(
            program,
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=outputs,
            verbose=False,
        )
    onnx.model.metadata_props[METADATA_KEY] = json.dumps(metadata)
    with replacing(path) as partial:
        onnx.save(partial, external_data=False)


def write_pt2(program: ExportedProgram, path: Path, metadata: dict) -> None:
    """Write a graph as a PT2 archive, for ``torch.export.load``.

    Args:
        program (ExportedProgram): The graph of a :class:`PixelGraph`.
        path (Path): The file.
        metadata (dict): What its extra file ``mmseg_pointrend`` says, as JSON.

    Raises:
        InputError: If the file cannot be written.
    """
    extra_files = {METADATA_KEY: json.dumps(metadata)}
    with replacing(path) as partial, partial.open("wb") as file:
        torch.export.save(program, file, extra_files=extra_files)


def _check_exporter() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"{error.name} is missing, which writes ONNX: pip install 'mmseg-pointrend[export]'."
        ) from error


@contextmanager
def _one_line(step: str) -> Iterator[None]:
    """Say in one line what an exporter says in a hundred, and keep it from saying more."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except Exception as error:  # whatever a model does that a graph cannot, or they cannot yet
        cause = error.__cause__ or error
        lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
        reason = lines[0][:300] if lines else type(cause).__name__
        raise InputError(f"This model cannot be exported; {step} says: {reason}") from error
    finally:
        logger.setLevel(level)
