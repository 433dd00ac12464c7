//! An encoder of `google.protobuf.Struct` that is not ours.

use prost::Message;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct};
use serde_json::Value;

/// A JSON object as Envoy hands over a `google.protobuf.Struct`.
pub(crate) fn struct_bytes(value: &Value) -> Vec<u8> {
    let Some(Kind::StructValue(message)) = kind(value) else { panic!("not an object") };
    message.encode_to_vec()
}

fn kind(value: &Value) -> Option<Kind> {
    let boxed = |value| prost_types::Value { kind: kind(value) };
    Some(match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => {
            Kind::ListValue(ListValue { values: items.iter().map(boxed).collect() })
        }
        Value::Object(fields) => Kind::StructValue(Struct {
            fields: fields.iter().map(|(key, value)| (key.clone(), boxed(value))).collect(),
        }),
    })
}
