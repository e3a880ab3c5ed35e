//! Python literals as printed by `repr`: dictionaries, lists, tuples, texts, numbers, `True`, `False`, `None`.

use serde_json::{Map, Number, Value};

/// Records are flat; a file that nests deeper than this is none of ours.
const DEPTH: usize = 32;

/// The value of a text; else the character, from 1, and what is wrong there.
pub(super) fn parse(text: &str) -> Result<Value, (usize, String)> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0).and_then(|value| {
        parser.skip();
        if parser.at == text.len() { Ok(value) } else { Err("something follows the value".to_owned()) }
    });
    value.map_err(|message| (text[..parser.at].chars().count() + 1, message))
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

type Parsed<T> = Result<T, String>;

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Parsed<Value> {
        if depth > DEPTH {
            return Err("is nested too deep".into());
        }
        self.skip();
        if self.eat("{") {
            return self.dictionary(depth);
        }
        if self.eat("[") {
            return self.list("]", depth);
        }
        if self.eat("(") {
            return self.list(")", depth);
        }
        for (word, value) in [("True", true.into()), ("False", false.into()), ("None", Value::Null)] {
            if self.eat(word) {
                return Ok(value);
            }
        }
        if self.rest().starts_with(['u', '\'', '"']) {
            self.string().map(Value::String)
        } else {
            self.number()
        }
    }

    fn dictionary(&mut self, depth: usize) -> Parsed<Value> {
        let mut out = Map::new();
        loop {
            self.skip();
            if self.eat("}") {
                return Ok(Value::Object(out));
            }
            let key = self.string()?;
            self.skip();
            if !self.eat(":") {
                return Err("a colon is missing after the key".into());
            }
            out.insert(key, self.value(depth + 1)?);
            self.skip();
            if !self.eat(",") && !self.rest().starts_with('}') {
                return Err("a comma or } is missing".into());
            }
        }
    }

    fn list(&mut self, end: &str, depth: usize) -> Parsed<Value> {
        let mut out = Vec::new();
        loop {
            self.skip();
            if self.eat(end) {
                return Ok(Value::Array(out));
            }
            out.push(self.value(depth + 1)?);
            self.skip();
            if !self.eat(",") && !self.rest().starts_with(end) {
                return Err(format!("a comma or {end} is missing"));
            }
        }
    }

    fn number(&mut self) -> Parsed<Value> {
        let digits: &str = self.rest();
        let end = digits.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c));
        let digits = &digits[..end.unwrap_or(digits.len())];
        let float = || digits.parse().ok().and_then(Number::from_f64);
        let number = digits.parse::<i64>().ok().map(Number::from).or_else(float);
        let number = number.ok_or_else(|| "no literal starts here".to_owned())?;
        self.at += digits.len();
        Ok(Value::Number(number))
    }

    fn string(&mut self) -> Parsed<String> {
        self.eat("u");
        let quote = if self.eat("'") {
            '\''
        } else if self.eat("\"") {
            '"'
        } else {
            return Err("a text in quotes is expected".into());
        };
        let start = self.at;
        let mut out = String::new();
        let mut chars = self.rest().char_indices();
        while let Some((i, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.at = start + i + 1;
                    return Ok(out);
                }
                '\\' => {
                    let escaped = chars.next().map(|(_, c)| c);
                    let digits = match escaped {
                        Some('x') => 2,
                        Some('u') => 4,
                        Some('U') => 8,
                        _ => 0,
                    };
                    match escaped {
                        Some('n') => out.push('\n'),
                        Some('r') => out.push('\r'),
                        Some('t') => out.push('\t'),
                        Some(c) if digits == 0 => out.push(c),
                        _ => {
                            let code: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                            let code = u32::from_str_radix(&code, 16).ok();
                            // Halves of a pair stand alone in some files.
                            out.push(code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER));
                        }
                    }
                }
                c => out.push(c),
            }
        }
        Err("a quote is not closed".into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::parse;

    #[test]
    fn literals_are_read_and_the_place_of_an_error_is_named() {
        let text = r#"{u'a': 'it\'s \xe9\u20ac', "b": [1, -2.5, (True, None,)], 'c': {}, 'd': "x'y",}"#;
        let wanted = json!({"a": "it's é€", "b": [1, -2.5, [true, null]], "c": {}, "d": "x'y"});
        assert_eq!(parse(text), Ok(wanted));
        for (text, column) in
            [("{'a': 'b", 8), ("{'a' 1}", 6), ("{'é': x}", 7), ("[1 2]", 4), ("[1] 2", 5), ("", 1)]
        {
            assert_eq!(parse(text).unwrap_err().0, column, "{text}");
        }
        assert!(parse(&"[".repeat(100_000)).unwrap_err().1.contains("deep"));
    }
}
