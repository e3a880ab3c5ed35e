//! What a text probably is, where it is not what was said: another separator, a header, another unit of time.

use jiff::Timestamp;

/// Separators in use, with their names.
const SEPARATORS: [(&str, &str); 6] =
    [(",", "a comma"), ("\t", "a tab"), (";", "a semicolon"), ("::", "::"), ("|", "|"), (" ", "a blank")];

/// The separator that a line probably has instead of `separator`, by which it has `found` columns: the one that makes
/// most columns, and at least `wanted`.
pub(super) fn separator(line: &str, separator: &str, found: usize, wanted: usize) -> Option<String> {
    let others = SEPARATORS.iter().filter(|(s, _)| *s != separator);
    let columns = others.map(|(s, name)| (line.matches(s).count() + 1, name));
    // Of equal ones the first counts.
    let (columns, name) = columns.rev().max_by_key(|(columns, _)| *columns)?;
    (columns > found && columns >= wanted)
        .then(|| format!("is the separator {name}? It would give {columns} columns here"))
}

/// Whether fields name columns: words, and no number among them.
pub(super) fn is_header<T: AsRef<str>>(fields: impl IntoIterator<Item = T>) -> bool {
    let word = |field: T| {
        let field = field.as_ref().trim();
        field.starts_with(|c: char| c.is_alphabetic() || "_#\"".contains(c)) && !is_number(field)
    };
    fields.into_iter().all(word)
}

/// Whether fields are values rather than names: a number is among them.
pub(super) fn is_data<T: AsRef<str>>(fields: impl IntoIterator<Item = T>) -> bool {
    fields.into_iter().any(|field| is_number(field.as_ref().trim()))
}

fn is_number(text: &str) -> bool {
    text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// The unit in which a number is a time from 1990 to 2099, and the day that it then is.
pub(super) fn unit(text: &str) -> Option<(&'static str, String)> {
    let number: f64 = text.parse().ok()?;
    let units = [("seconds", 1.0), ("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9)];
    let (name, per_second) =
        units.into_iter().find(|(_, n)| (631_152_000.0..4_102_444_800.0).contains(&(number / n)))?;
    let day = Timestamp::from_second((number / per_second) as i64).ok()?.strftime("%Y-%m-%d").to_string();
    Some((name, day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_recognised() {
        let hint = |line, sep, found, wanted| separator(line, sep, found, wanted).unwrap_or_default();
        assert!(hint("1\t2\t3", ",", 1, 3).contains("a tab? It would give 3"));
        assert!(hint("1::2::3", ",", 1, 3).contains("separator ::"));
        assert_eq!(hint("a b,c", ",", 2, 3), "", "a blank in a name makes too few columns");
        assert_eq!(hint("one", ",", 1, 1), "");
        assert!(is_header(["user_id", "#id", "time"]) && !is_header(["user", "5"]) && !is_header(["a", ""]));
        assert!(!is_header(["ann", "2010-10-19T23:55:27Z"]));
        assert!(is_data(["a", "-5.0"]) && !is_data(["a", "inf", "nan"]));
        let of = |text| unit(text).map(|(name, day)| format!("{name} {day}"));
        assert_eq!(of("1511544070").as_deref(), Some("seconds 2017-11-24"));
        assert_eq!(of("1511544070000").as_deref(), Some("milliseconds 2017-11-24"));
        assert_eq!(of("1511544070000000").as_deref(), Some("microseconds 2017-11-24"));
        assert_eq!(of("5"), None);
        assert_eq!(of("2017-11-24"), None);
    }
}
