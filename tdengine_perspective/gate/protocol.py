"""Owns the part of Perspective's protocol that a reader needs: its messages, and how they are read and made.

A request is a protobuf message: number, name of a table or view, and one more field whose number says what
is asked.
"""

import re

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

COLUMN_TYPES = ("string", "date", "datetime", "integer", "float", "boolean")  # in their order in a Schema
OR = 1  # a way to join filters; the other is and
VIEW_NOT_FOUND = 1  # a status code of a ServerError
OWN_QUESTION = 0xFFFFFFFF  # the message id of what the server itself asks; clients draw theirs at random
OWN_SUBSCRIPTION = 0xFFFFFFFE  # the one of what it subscribes to

# As perspective-python 5.6.1 speaks perspective.proto.
READER_PROTO = """
message Nothing {}
message Subscribe { bool subscribe = 1; }
message Subscription { uint32 id = 1; }
message Updates { optional uint32 mode = 1; }
message Row { uint32 row_index = 1; }
message Depth { uint32 depth = 1; }
message Column { string column_name = 1; }
message Columns { optional uint32 start_col = 1; optional uint32 end_col = 2; }

message Viewport {
    optional uint32 start_row = 1; optional uint32 start_col = 2;
    optional uint32 end_row = 3; optional uint32 end_col = 4;
    optional bool emit_legacy_row_path_names = 5;
}
message Csv { Viewport viewport = 1; }
message Arrow { Viewport viewport = 1; optional string compression = 2; }
message Json {
    Viewport viewport = 1; optional bool id = 2; optional bool index = 3; optional bool formatted = 4;
}

message Scalar { oneof scalar { bool bool = 1; double float = 4; string string = 6; uint32 null = 7; } }
message Filter { string column = 1; string op = 2; repeated Scalar value = 3; }
message Sort { string column = 1; uint32 op = 2; }
message Aggregate { repeated string aggregations = 1; }
message Order { string column = 1; bool desc = 2; }
message Window {
    string column = 2; string aggregate = 3; repeated string partition_by = 4; Order order_by = 5;
    oneof frame { uint32 rows = 6; double range = 7; uint32 cumulative = 8; }
    optional uint32 offset = 9; optional double alpha = 10;
}
message ColumnNames { repeated string columns = 1; }
message ViewColumns { oneof which { uint32 default_columns = 1; ColumnNames columns = 2; } }
message ViewConfig {
    repeated string group_by = 1; repeated string split_by = 2; ViewColumns columns = 3;
    repeated Filter filter = 4; repeated Sort sort = 5;
    map<string,string> expressions = 6; map<string,Aggregate> aggregates = 7;
    uint32 filter_op = 8; optional uint32 group_by_depth = 9; optional uint32 group_rollup_mode = 10;
    map<string,Window> windows = 11; optional uint32 split_rollup_mode = 12;
}
message MakeView { string view_id = 1; ViewConfig config = 2; }
message Describe { ViewConfig config = 1; }
message Validate { map<string,string> expressions = 1; }

message Request {
    uint32 msg_id = 1;
    string entity_id = 2;
    oneof request {
        Nothing features = 3; Nothing system_info = 17;
        Subscribe hosted_tables = 4; Subscription remove_hosted_tables = 37;

        MakeView make_view = 6; Nothing table_schema = 7; Nothing table_size = 8;
        Validate validate = 9; Describe describe = 41;
        Nothing table_on_delete = 29; Subscription table_remove_delete = 30; Nothing make_port = 5;

        Columns view_column_paths = 10; Nothing view_delete = 11; Nothing view_dimensions = 12;
        Nothing view_expression_schema = 13; Nothing view_config = 14; Nothing view_schema = 15;
        Row view_collapse = 18; Row view_expand = 19; Column view_min_max = 20; Depth view_depth = 23;
        Arrow view_to_arrow = 16; Json view_to_columns = 24; Csv view_to_csv = 25; Json view_to_rows = 26;
        Json view_to_ndjson = 36;
        Updates view_on_update = 21; Subscription view_remove_update = 22;
        Nothing view_on_delete = 34; Subscription view_remove_delete = 35;
        Nothing view_on_remove = 39; Subscription view_remove_remove = 40;
    }
}

message Port { uint32 port_id = 1; }
message SchemaColumn { string name = 1; uint32 type = 2; }
message SchemaColumns { repeated SchemaColumn schema = 1; }
message Schema { SchemaColumns schema = 1; }
message Size { uint32 size = 2; }
message WrongExpression { string message = 1; uint32 line = 2; uint32 column = 3; }
message WrongExpressions { map<string,WrongExpression> expression_errors = 2; }
message HostedTable { string entity_id = 1; }
message HostedTables { repeated HostedTable table_infos = 1; }
message Dimensions { uint32 rows = 3; uint32 columns = 4; }
message Made { string view_id = 1; }
message Text { string json_string = 1; }
message ServerError { string message = 1; uint32 status_code = 2; }
message Response {
    uint32 msg_id = 1;
    string entity_id = 2;
    oneof response {
        HostedTables hosted_tables = 4; Port make_port = 5; Made make_view = 6; Schema table_schema = 7;
        Size table_size = 8; WrongExpressions validate = 9; Nothing view_delete = 11;
        Dimensions view_dimensions = 12; Text view_to_columns = 24; Nothing view_on_delete = 34;
        WrongExpressions describe = 41;
        ServerError error = 50;
    }
}
"""


def build_messages(proto: str) -> dict[str, type[Message]]:
    """The message classes of a .proto file, as far as READER_PROTO uses that language."""
    file = descriptor_pb2.FileDescriptorProto(name="reader.proto", package="reader", syntax="proto3")
    names_and_bodies = re.split(r"^message (\w+) ", proto, flags=re.MULTILINE)[1:]
    for name, body in zip(names_and_bodies[::2], names_and_bodies[1::2], strict=True):
        describe_message(file.message_type.add(name=name), body)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        message.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"reader.{message.name}"))
        for message in file.message_type
    }


def describe_message(message: descriptor_pb2.DescriptorProto, body: str) -> None:
    oneof = re.search(r"oneof (\w+) \{.*?\}", body, re.DOTALL)
    if oneof:
        message.oneof_decl.add(name=oneof[1])
    for found in re.finditer(r"(?:(optional|repeated) )?(?:map<string,(\w+)>|(\w+)) (\w+) = (\d+);", body):
        label, map_kind, kind, name, number = found.groups()
        if map_kind:  # on the wire a list of pairs
            entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
            entry.options.map_entry = True
            add_field(entry, "string", "key", 1)
            add_field(entry, map_kind, "value", 2)
            label, kind = "repeated", f"{message.name}.{entry.name}"
        field = add_field(message, kind, name, int(number))
        if label == "repeated":
            field.label = field.LABEL_REPEATED
        elif label == "optional":  # on the inside a oneof with one choice; these come after the real one
            field.proto3_optional = True
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{name}")
        elif oneof and oneof.start() < found.start() < oneof.end():
            field.oneof_index = 0


def add_field(
    message: descriptor_pb2.DescriptorProto, kind: str, name: str, number: int
) -> descriptor_pb2.FieldDescriptorProto:
    field = message.field.add(name=name, number=number, label="LABEL_OPTIONAL")
    if kind in ("uint32", "bool", "double", "string"):
        field.type = field.Type.Value(f"TYPE_{kind.upper()}")
    else:
        field.type = field.TYPE_MESSAGE
        field.type_name = f".reader.{kind}"
    return field


MESSAGES = build_messages(READER_PROTO)
Request = MESSAGES["Request"]
Response = MESSAGES["Response"]
OWN_NUMBER = Response(msg_id=OWN_QUESTION).SerializeToString()


def end_of_subscription(name: str, number: int, kind: str) -> Message:
    """The request that ends a subscription of that kind to a view or table."""
    end = "remove_hosted_tables" if kind == "hosted_tables" else kind.replace("_on_", "_remove_")
    return Request(entity_id=name, **{end: {"id": number}})


def number_field(number: int) -> bytes:
    """The beginning of a message with this number."""
    return Response(msg_id=number).SerializeToString()


def response(number: int, name: str, **content: object) -> bytes:
    return Response(msg_id=number, entity_id=name, **content).SerializeToString()


def error_response(message: Message, text: str, status_code: int = 0) -> bytes:
    """What Perspective answers when a request fails."""
    error = {"message": text, "status_code": status_code}
    return response(message.msg_id, message.entity_id, error=error)
