"""ONNX models to the fewest bytes, and back. Knows protobuf, changes no model.

ONNX's schema writes a tag before every number of most lists. Protobuf readers must also
take such a list packed, with one tag and a length, and onnxruntime does: forests shrink
by a quarter. So the model is written through a copy of the schema that packs.
"""

from functools import cache
from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]  # it ships no types
    descriptor_pb2,
    descriptor_pool,
    message,
    message_factory,
)
from onnx import ModelProto

from edgekit.errors import ConversionError

_TEXTUAL = {
    descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE,
    descriptor_pb2.FieldDescriptorProto.TYPE_GROUP,
}


def encode(model: ModelProto) -> bytes:
    """Return the model's bytes, lists of numbers packed; equal models, equal bytes."""
    packed = _packing_class().FromString(model.SerializeToString(deterministic=True))
    return bytes(packed.SerializeToString(deterministic=True))


def decode(data: bytes) -> ModelProto:
    """Parse a model, or raise ConversionError."""
    model = ModelProto()
    try:
        model.ParseFromString(data)
    except message.DecodeError as error:
        raise ConversionError(f"model: not an ONNX file: {error}") from error
    return model


@cache
def _packing_class() -> Any:  # noqa: ANN401 - protobuf builds the class at run time
    schema = descriptor_pb2.FileDescriptorProto()
    ModelProto.DESCRIPTOR.file.CopyToProto(schema)
    for entry in schema.message_type:
        _pack(entry)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(schema)
    name = ModelProto.DESCRIPTOR.full_name
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def _pack(entry: descriptor_pb2.DescriptorProto) -> None:
    for field in entry.field:
        repeated = field.label == descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
        if repeated and field.type not in _TEXTUAL:
            field.options.packed = True
    for nested in entry.nested_type:
        _pack(nested)
