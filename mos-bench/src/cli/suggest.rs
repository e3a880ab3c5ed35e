//! Errors about names that do not exist lead to the nearest that does.

use mos_data::nearest_name;

/// Appends to each list of legal names in an error of serde (`unknown field `epoch`, expected one of `name`, `epochs``) the
/// nearest of them.
pub(super) fn with_nearest(message: &str) -> String {
    let (mut out, mut rest) = (String::new(), message);
    while let Some((before, name, names, after)) = next_list(rest) {
        out += before;
        if let Some(near) = nearest_name(name, names) {
            out += &format!("; did you mean `{near}`?");
        }
        rest = after;
    }
    out + rest
}

/// The text up to the end of the first list, the name that is not in it, the names that are, and the rest of the text.
fn next_list(text: &str) -> Option<(&str, &str, Vec<&str>, &str)> {
    let starts = ["unknown field `", "unknown variant `"].map(|s| Some(text.find(s)? + s.len()));
    let start = starts.into_iter().flatten().min()?;
    let (name, mut rest) = text[start..].split_once('`')?;
    rest = rest.strip_prefix(", expected ")?;
    rest = rest.strip_prefix("one of ").unwrap_or(rest);
    let mut names = Vec::new();
    while let Some((name, after)) = rest.strip_prefix('`').and_then(|r| r.split_once('`')) {
        names.push(name);
        rest = after;
        let next = [", `", " or `"].into_iter().find(|join| rest.starts_with(join));
        let Some(join) = next else { break };
        rest = &rest[join.len() - 1..];
    }
    Some((&text[..text.len() - rest.len()], name, names, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_names_get_the_nearest() {
        for (message, wanted) in [
            (
                "a.toml: unknown field `epoch`, expected one of `name`, `epochs`, `batch`\nin `x`",
                "`epochs`?\nin `x`",
            ),
            ("unknown field `lrr`, expected `lr` or `eps`", "`eps`; did you mean `lr`?"),
            ("unknown variant `mlpp`, expected `mlp`", "expected `mlp`; did you mean `mlp`?"),
        ] {
            assert!(with_nearest(message).ends_with(wanted), "{}", with_nearest(message));
        }
        for message in ["no list", "unknown field `a`, there are no fields", "unknown field `a`"] {
            assert_eq!(with_nearest(message), message);
        }
        let twice = "unknown field `b`, expected `a`; unknown variant `d`, expected `c`";
        assert_eq!(with_nearest(twice).matches("did you mean").count(), 2);
    }
}
