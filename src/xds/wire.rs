//! The messages of Envoy's extensions, with its numbers of fields. Each function makes one message, encoded; what has no value is
//! left away.

use prost::encode_length_delimiter;

/// An encoded message.
pub(super) type Encoded = Vec<u8>;

/// A field that is a message or a text.
pub(super) fn field(number: u8, content: &[u8]) -> Encoded {
    let mut field = Vec::with_capacity(content.len() + 7);
    put(&mut field, number, content);
    field
}

/// Adds a field that is a message or a text.
pub(super) fn put(message: &mut Encoded, number: u8, content: &[u8]) {
    tag(message, number, 2);
    // Writing to a vector does not fail.
    let _ = encode_length_delimiter(content.len(), message);
    message.extend_from_slice(content);
}

/// A field that is a number or a choice.
pub(super) fn number(number: u8, value: u32) -> Encoded {
    let mut field = Vec::new();
    tag(&mut field, number, 0);
    let _ = encode_length_delimiter(usize::try_from(value).unwrap_or(usize::MAX), &mut field);
    field
}

/// A field that is a double.
pub(super) fn double(number: u8, value: f64) -> Encoded {
    let mut field = Vec::new();
    tag(&mut field, number, 1);
    field.extend_from_slice(&value.to_le_bytes());
    field
}

fn tag(message: &mut Encoded, number: u8, kind: u8) {
    let _ = encode_length_delimiter(usize::from(number) << 3 | usize::from(kind), message);
}

/// `google.protobuf.Any`.
pub(super) fn any(kind: &str, message: &[u8]) -> Encoded {
    [field(1, format!("type.googleapis.com/{kind}").as_bytes()), field(2, message)].concat()
}

/// The resource of a content: `google.protobuf.Any` of a `TypedExtensionConfig` of this name.
pub fn resource_of(name: &str, content: &[u8]) -> Encoded {
    any("envoy.config.core.v3.TypedExtensionConfig", &[field(1, name.as_bytes()), field(2, content)].concat())
}

/// `TypedExtensionConfig`: a name, and a message of some kind.
pub(super) fn extension(name: &str, kind: &str, message: &[u8]) -> Encoded {
    [field(1, name.as_bytes()), field(2, &any(kind, message))].concat()
}
