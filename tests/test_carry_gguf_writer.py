"""The GGUF writer against the reader of the ggml project's own `gguf` package."""

import io

import gguf
import numpy as np
import pytest

from offgrid.carry.gguf_writer import Tensor, TensorType, write_gguf

METADATA = {
    "general.architecture": "bert",
    "a.bool": True,
    "a.count": 4_000_000_000,
    "a.float": 1e-12,
    "a.text": "naïve ☕",
    "a.texts": ["", "\u2581word", "two"],
    "a.numbers": [3, -1, 7],
}


def tensors() -> list[Tensor]:
    matrix = np.arange(6, dtype="<f2").reshape(2, 3)
    vector = np.array([0.5, -2.0, 1e-8], dtype="<f4")
    return [
        Tensor("matrix", (2, 3), TensorType.F16, [matrix[:1].tobytes(), matrix[1:].tobytes()]),
        Tensor("vector", (3,), TensorType.F32, [vector.tobytes()]),
    ]


def written() -> bytes:
    out = io.BytesIO()
    write_gguf(out, METADATA, tensors())
    return out.getvalue()


@pytest.fixture
def reader(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(written())
    return gguf.GGUFReader(path)


def test_every_kind_of_metadata_reads_back_as_it_was_given(reader):
    read = {key: reader.fields[key].contents() for key in METADATA}
    assert read.pop("a.float") == pytest.approx(1e-12)
    assert read == {key: value for key, value in METADATA.items() if key != "a.float"}


def test_tensors_read_back_with_their_shape_type_and_values(reader):
    matrix, vector = reader.tensors
    assert (matrix.name, list(matrix.shape), matrix.tensor_type.name) == ("matrix", [3, 2], "F16")
    assert matrix.data.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert (vector.name, list(vector.shape), vector.tensor_type.name) == ("vector", [3], "F32")
    assert vector.data.tolist() == np.array([0.5, -2.0, 1e-8], dtype="<f4").tolist()


def test_tensor_data_is_aligned_and_the_file_padded_to_its_end(reader):
    assert all(tensor.data_offset % 32 == 0 for tensor in reader.tensors)
    assert len(written()) % 32 == 0


def test_the_same_input_gives_the_same_bytes():
    assert written() == written()


def test_a_tensor_whose_bytes_do_not_fill_its_shape_is_refused_by_name():
    short = Tensor("short", (2, 2), TensorType.F32, [bytes(12)])
    with pytest.raises(ValueError, match=r"short has 12 bytes; its shape \(2, 2\) needs 16"):
        write_gguf(io.BytesIO(), {}, [short])
