//! Parts of the document that every API describes itself with.

use schemars::Schema;
use serde_json::{Value, json};

/// A parameter of the query string.
pub(crate) fn parameter(name: &str, schema: &Value, description: &str) -> Value {
    json!({ "name": name, "in": "query", "required": false, "schema": schema, "description": description })
}

/// A list of these.
pub(crate) fn array(items: &Schema) -> Schema {
    schemars::json_schema!({ "type": "array", "items": items })
}

/// An object with a container's full name for each key.
pub(crate) fn map(values: &Schema) -> Schema {
    schemars::json_schema!({ "type": "object", "additionalProperties": values })
}
