//! Records of JSON, one a line, as rows of the fields that a source asks for.
//!
//! Some published sets hold Python dictionaries instead (`{'asin': u'B0', ...}`); both are read. Names may lead into
//! nested records by dots. A text is itself, a number its digits, a truth value `1` or `0`; what is absent or null is
//! empty; lists and records stay JSON.

use csv::ByteRecord;
use serde_json::Value;

use super::python;
use crate::nearest_name;

/// What is taken from each record.
#[derive(Debug)]
pub(super) struct Fields {
    names: Vec<String>,
    needed: usize,
}

/// Why a line is no record.
#[derive(Debug)]
pub(super) struct NoRecord {
    /// Character from 1, 0 = the whole line.
    pub(super) column: usize,
    pub(super) message: String,
    pub(super) hint: String,
}

impl Fields {
    /// The fields in their order; the first `needed` must be there in every record.
    pub(super) fn new(names: &[&str], needed: usize) -> Self {
        Self { names: names.iter().map(|n| (*n).to_owned()).collect(), needed }
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The values of one line.
    pub(super) fn of(&self, line: &str) -> Result<ByteRecord, NoRecord> {
        let record = parse(line)?;
        if !record.is_object() {
            let hint = "one record {...} a line; a file that is one list must be rewritten so".into();
            return Err(NoRecord { column: 0, message: "is no record".into(), hint });
        }
        let mut row = ByteRecord::with_capacity(line.len().min(1 << 10), self.names.len());
        for (i, name) in self.names.iter().enumerate() {
            let value = find(&record, name);
            if value.is_none() && i < self.needed {
                let keys = record.as_object().into_iter().flat_map(|o| o.keys().map(String::as_str));
                let near = nearest_name(name, keys).map(|near| format!("did you mean {near:?}?"));
                let hint = near.unwrap_or_else(|| "every record needs it".into());
                return Err(NoRecord { column: 0, message: format!("has no field {name:?}"), hint });
            }
            row.push_field(text(value).as_bytes());
        }
        Ok(row)
    }
}

fn parse(line: &str) -> Result<Value, NoRecord> {
    let opening = line.trim_start().strip_prefix('{').map(str::trim_start);
    if opening.is_some_and(|rest| rest.starts_with(['\'', 'u'])) {
        return python::parse(line).map_err(|(column, message)| NoRecord {
            column,
            message: format!("is no Python dictionary: {message}"),
            hint: "literals are read, one dictionary a line".into(),
        });
    }
    serde_json::from_str(line).map_err(|e| NoRecord {
        column: line.get(..e.column().saturating_sub(1)).map_or(e.column(), |t| t.chars().count() + 1),
        message: format!("is no JSON: {}", e.to_string().split(" at line").next().unwrap_or_default()),
        hint: "one whole record a line; is the file cut short?".into(),
    })
}

/// The value of a field; a name with dots leads into nested records unless it is a key as it stands.
fn find<'a>(record: &'a Value, name: &str) -> Option<&'a Value> {
    record.get(name).or_else(|| {
        let (head, rest) = name.split_once('.')?;
        find(record.get(head)?, rest)
    })
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(truth)) => u8::from(*truth).to_string(),
        // Whole numbers are often written as 1511544070.0.
        Some(Value::Number(n)) => match n.as_f64() {
            Some(x) if n.is_f64() && x.fract() == 0.0 && x.abs() < 9e15 => (x as i64).to_string(),
            _ => n.to_string(),
        },
        Some(other) => other.to_string(),
    }
}

/// The texts of a field that is a list or a list of lists: one list each; a single text is a list of one.
pub(super) fn lists(field: &str) -> Vec<Vec<String>> {
    let texts = |all: &[Value]| -> Vec<String> {
        all.iter().map(|v| text(Some(v)).trim().to_owned()).filter(|t| !t.is_empty()).collect()
    };
    let lists = match serde_json::from_str(field) {
        Ok(Value::Array(all)) if all.iter().any(Value::is_array) => {
            all.iter().filter_map(Value::as_array).map(|list| texts(list)).collect()
        }
        Ok(Value::Array(all)) => vec![texts(&all)],
        _ => vec![vec![field.trim().to_owned()]],
    };
    lists.into_iter().filter(|list| list.iter().any(|t| !t.is_empty())).collect()
}
