//! What several tests need.
#![cfg(test)]
#![allow(dead_code, reason = "each test uses a part")]

use prost::Message;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct};
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs `aigw-auth check`: success, standard output, standard error.
pub(crate) fn check<A: AsRef<Path>>(arguments: &[A]) -> (bool, String, String) {
    check_with_input(arguments, b"")
}

/// Runs `aigw-auth check` with standard input.
pub(crate) fn check_with_input<A: AsRef<Path>>(
    arguments: &[A],
    input: &[u8],
) -> (bool, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_aigw-auth"))
        .arg("check")
        .args(arguments.iter().map(AsRef::as_ref))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    (
        output.status.success(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

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
