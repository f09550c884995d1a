//! The older form of the OpenAPI document. Clients of today read version 3; this
//! one only says so, to those who look here too.

use serde_json::Value;

const TITLE: &str = "Tidegate";
const ELSEWHERE: &str = "Schemas are published at /openapi/v3.";

/// The answer to `/openapi/v2`: nothing but where the schemas are.
pub fn json(version: &str) -> Value {
    let info = serde_json::json!({"title": TITLE, "version": version, "description": ELSEWHERE});
    serde_json::json!({"swagger": "2.0", "info": info, "paths": {}, "definitions": {}})
}

/// The same in the protobuf form of `gnostic`'s `OpenAPIv2.proto`: fields 1
/// (`swagger`) and 2 (`info`, of which 1 is the title, 2 the version, 3 the
/// description) of its `Document`.
pub fn protobuf(version: &str) -> Vec<u8> {
    let info: Vec<u8> = [(1, TITLE), (2, version), (3, ELSEWHERE)]
        .into_iter()
        .flat_map(|(number, text)| field(number, text.as_bytes()))
        .collect();
    [field(1, b"2.0"), field(2, &info)].concat()
}

/// A field of bytes shorter than 128, so that its length takes one byte.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    const BYTES: u8 = 2;
    debug_assert!(bytes.len() < 128, "the length of a longer field takes two bytes");
    let mut field = vec![number << 3 | BYTES, bytes.len() as u8];
    field.extend_from_slice(bytes);
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let document = json("v1");
        assert_eq!(document["info"]["version"], "v1");
        let text = |number: u8, text: &str| [&[number << 3 | 2, text.len() as u8], text.as_bytes()].concat();
        let info = [text(1, TITLE), text(2, "v1"), text(3, ELSEWHERE)].concat();
        let expected = [text(1, "2.0"), vec![0x12, info.len() as u8], info].concat();
        assert_eq!(protobuf("v1"), expected);
    }
}
