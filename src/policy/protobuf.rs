//! `google.protobuf.Struct` as Envoy hands it to a filter: serialised protobuf.
//!
//! The wire format is prost's; the five messages are read by hand, since the generated types would
//! add 39 KB to the module (<https://protobuf.dev/reference/protobuf/google.protobuf/#struct>).

use super::tree::Tree;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// How deep lists and objects may be nested: the limit of `serde_json`.
const DEEPEST: usize = 128;

/// Why bytes are no Struct.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StructError {
    /// They are something else.
    NotAStruct,
    /// They are nested deeper than 128 levels.
    TooDeep,
}

use StructError::{NotAStruct, TooDeep};

/// Reads a serialised `google.protobuf.Struct`.
///
/// # Errors
///
/// If the bytes are anything else, or are nested deeper than 128 levels.
pub(crate) fn decode_struct(bytes: &[u8]) -> Result<Tree, StructError> {
    structure(bytes, DEEPEST)
}

/// `message Struct { map<string, Value> fields = 1; }`
fn structure(bytes: &[u8], depth: usize) -> Result<Tree, StructError> {
    let mut entries = Vec::new();
    read(bytes, |tag, field| match (tag, field) {
        (1, Field::Bytes(entry)) => {
            entries.push(map_entry(entry, depth)?);
            Ok(())
        }
        // It has no other field, and much that is no Struct looks like a message with others.
        _ => Err(NotAStruct),
    })?;
    Ok(Tree::Map(entries))
}

/// `message Entry { string key = 1; Value value = 2; }`
fn map_entry(bytes: &[u8], depth: usize) -> Result<(String, Tree), StructError> {
    let mut entry = (String::new(), Tree::Null);
    read(bytes, |tag, field| {
        match (tag, field) {
            (1, Field::Bytes(key)) => entry.0 = text(key)?,
            (2, Field::Bytes(value)) => entry.1 = self::value(value, depth)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(entry)
}

/// `message Value { oneof kind { NullValue null_value = 1; double number_value = 2;
/// string string_value = 3; bool bool_value = 4; Struct struct_value = 5; ListValue list_value = 6; } }`
fn value(bytes: &[u8], depth: usize) -> Result<Tree, StructError> {
    let inner = depth.checked_sub(1).ok_or(TooDeep)?;
    let mut value = Tree::Null;
    read(bytes, |tag, field| {
        value = match (tag, field) {
            (1, Field::Varint(_)) => Tree::Null,
            (2, Field::Fixed(bits)) => Tree::Number(f64::from_bits(bits)),
            (3, Field::Bytes(bytes)) => Tree::Text(text(bytes)?),
            (4, Field::Varint(flag)) => Tree::Bool(flag != 0),
            (5, Field::Bytes(bytes)) => structure(bytes, inner)?,
            (6, Field::Bytes(bytes)) => list(bytes, inner)?,
            _ => return Ok(()),
        };
        Ok(())
    })?;
    Ok(value)
}

/// `message ListValue { repeated Value values = 1; }`
fn list(bytes: &[u8], depth: usize) -> Result<Tree, StructError> {
    let mut items = Vec::new();
    read(bytes, |tag, field| {
        if let (1, Field::Bytes(item)) = (tag, field) {
            items.push(value(item, depth)?);
        }
        Ok(())
    })?;
    Ok(Tree::List(items))
}

/// The payload of one field; these messages have no other kinds.
enum Field<'b> {
    Varint(u64),
    Fixed(u64),
    Bytes(&'b [u8]),
}

/// Calls `each` with every field of a message, in order.
fn read<'b>(
    mut rest: &'b [u8],
    mut each: impl FnMut(u32, Field<'b>) -> Result<(), StructError>,
) -> Result<(), StructError> {
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key(&mut rest).map_err(|_| NotAStruct)?;
        let field = match wire_type {
            WireType::Varint => Field::Varint(decode_varint(&mut rest).map_err(|_| NotAStruct)?),
            WireType::SixtyFourBit => {
                let (bits, tail) = rest.split_first_chunk().ok_or(NotAStruct)?;
                rest = tail;
                Field::Fixed(u64::from_le_bytes(*bits))
            }
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest).map_err(|_| NotAStruct)?;
                let length = usize::try_from(length).map_err(|_| NotAStruct)?;
                let (bytes, tail) = rest.split_at_checked(length).ok_or(NotAStruct)?;
                rest = tail;
                Field::Bytes(bytes)
            }
            other => {
                skip_field(other, tag, &mut rest, DecodeContext::default())
                    .map_err(|_| NotAStruct)?;
                continue;
            }
        };
        each(tag, field)?;
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<String, StructError> {
    core::str::from_utf8(bytes).map(str::to_owned).map_err(|_| NotAStruct)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use prost_types::value::Kind;
    use prost_types::{ListValue, Struct, Value};

    fn value_of(kind: Kind) -> Value {
        Value { kind: Some(kind) }
    }

    fn encode(fields: &[(&str, Value)]) -> Vec<u8> {
        let fields = fields.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        Struct { fields }.encode_to_vec()
    }

    #[test]
    fn every_kind_of_value_is_read_as_the_generated_types_write_it() {
        let inner = Struct {
            fields: [("k".to_owned(), value_of(Kind::BoolValue(true)))].into_iter().collect(),
        };
        let list =
            ListValue { values: vec![value_of(Kind::NumberValue(1.5)), Value { kind: None }] };
        let bytes = encode(&[
            ("text", value_of(Kind::StringValue("é".into()))),
            ("struct", value_of(Kind::StructValue(inner))),
            ("list", value_of(Kind::ListValue(list))),
            ("null", value_of(Kind::NullValue(0))),
        ]);
        let tree = decode_struct(&bytes).unwrap();
        assert_eq!(tree.field("text").and_then(Tree::as_text), Some("é"));
        assert!(matches!(tree.field("struct").unwrap().field("k"), Some(Tree::Bool(true))));
        assert!(matches!(tree.field("null"), Some(Tree::Null)));
        let Some(Tree::List(items)) = tree.field("list") else { panic!("not a list") };
        assert!(matches!(items[..], [Tree::Number(1.5), Tree::Null]));
    }

    #[test]
    fn a_struct_that_is_cut_anywhere_is_refused_or_shorter_never_a_panic() {
        let bytes = encode(&[("resources", value_of(Kind::StringValue("text".into())))]);
        for length in 1..bytes.len() {
            assert!(decode_struct(&bytes[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let mut value = value_of(Kind::NullValue(0));
        for _ in 0..60 {
            value = value_of(Kind::ListValue(ListValue { values: vec![value] }));
        }
        assert!(decode_struct(&encode(&[("a", value)])).is_ok());
        // 10,000 levels, written by hand: the generated code cannot encode them.
        let mut bytes = Vec::new();
        for _ in 0..10_000 {
            for tag in [0x0a, 0x32] {
                let mut outer = vec![tag];
                prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
                outer.append(&mut bytes);
                bytes = outer;
            }
        }
        let mut entry = vec![0x12];
        prost::encoding::encode_varint(bytes.len() as u64, &mut entry);
        entry.append(&mut bytes);
        let mut message = vec![0x0a];
        prost::encoding::encode_varint(entry.len() as u64, &mut message);
        message.append(&mut entry);
        assert!(matches!(decode_struct(&message), Err(TooDeep)));
    }
}
