//! A table in every form that is asked for: terminal, Markdown, CSV, LaTeX, JSON, from the same rows.
//!
//! Programs read numbers, not `0.7551 ± 0.0045 *`: in CSV and JSON such a column becomes several (see `Table::columns`).

use std::fmt::Write as _;

use clap::ValueEnum;
use comfy_table::{LineStyle, TableStyle};
use serde_json::{Map, Value, json};

use crate::tables::{MARK, Table};

/// How a table is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For the eye, without the columns that a terminal has no room for.
    #[default]
    Terminal,
    /// Markdown.
    Markdown,
    /// CSV, one header line, numbers as numbers.
    Csv,
    /// LaTeX with booktabs.
    Latex,
    /// JSON: title, rows as objects, notes.
    Json,
}

impl Format {
    /// Those that are written to files, with their file name extensions.
    pub const FILES: [(Self, &'static str); 4] =
        [(Self::Markdown, "md"), (Self::Csv, "csv"), (Self::Latex, "tex"), (Self::Json, "json")];
}

impl Table {
    /// The table in a format, ending with a line break.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Terminal => self.terminal(),
            Format::Markdown => self.markdown(),
            Format::Csv => self.csv(),
            Format::Latex => self.latex(),
            Format::Json => self.json(),
        }
    }

    /// Without the wide columns, gaps around the rows of each encoder.
    fn terminal(&self) -> String {
        const RULE: LineStyle = LineStyle::none().fill('─').junction('─');
        let style = TableStyle::new().top_border(RULE).header_separator(RULE).bottom_border(RULE);
        let narrow = |row: &[String]| -> Vec<String> {
            row.iter().enumerate().filter(|(i, _)| !self.wide.contains(i)).map(|(_, c)| c.clone()).collect()
        };
        let mut table = comfy_table::Table::new();
        table.load_style(style).set_header(narrow(&self.header));
        let mut before = 0;
        for group in self.groups() {
            if before > 1 || (before > 0 && group.len() > 1) {
                table.add_row([""]);
            }
            table.add_rows(group.iter().map(|row| narrow(row)));
            before = group.len();
        }
        let mut out = format!("{}\n{table}\n", self.title);
        self.notes.iter().for_each(|n| out += &format!("{n}\n"));
        out
    }

    fn markdown(&self) -> String {
        let cell = |text: &String| text.replace('|', "\\|");
        let line =
            |cells: &[String]| format!("| {} |\n", cells.iter().map(cell).collect::<Vec<_>>().join(" | "));
        let mut out =
            format!("## {}\n\n{}|{}\n", self.title, line(&self.header), " --- |".repeat(self.header.len()));
        self.rows.iter().for_each(|row| out += &line(row));
        self.all_notes().for_each(|n| {
            let _ = write!(out, "\n{n}\n");
        });
        out
    }

    fn latex(&self) -> String {
        let line =
            |cells: &[String]| cells.iter().map(|c| tex(c)).collect::<Vec<_>>().join(" & ") + " \\\\\n";
        // The first two columns are names.
        let columns = "l".repeat(self.header.len().min(2)) + &"r".repeat(self.header.len().saturating_sub(2));
        let mut out = format!(
            "% \\usepackage{{booktabs}}\n\\begin{{table}}\n\\centering\n\\caption{{{}}}\n\\begin{{tabular}}{{{columns}}}\n\
             \\toprule\n{}\\midrule\n",
            tex(&self.title),
            line(&self.header)
        );
        for (i, group) in self.groups().enumerate() {
            if i > 0 {
                out += "\\addlinespace\n";
            }
            group.iter().for_each(|row| out += &line(row));
        }
        out += "\\bottomrule\n\\end{tabular}\n";
        if self.all_notes().next().is_some() {
            let notes: Vec<String> = self.all_notes().map(|n| tex(n)).collect();
            let _ = writeln!(out, "\\par\\smallskip\\footnotesize {}", notes.join("\\par "));
        }
        out + "\\end{table}\n"
    }

    fn csv(&self) -> String {
        let mut rows = csv::Writer::from_writer(Vec::new());
        let columns = self.columns();
        let text = |value: &Value| match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        // Writing into memory does not fail.
        let _ = rows.write_record(columns.iter().map(|c| &c.0));
        for i in 0..self.rows.len() {
            let _ = rows.write_record(columns.iter().map(|c| text(&c.1[i])));
        }
        String::from_utf8(rows.into_inner().unwrap_or_default()).unwrap_or_default()
    }

    fn json(&self) -> String {
        let columns = self.columns();
        let row = |i: usize| columns.iter().map(|c| (c.0.clone(), c.1[i].clone())).collect::<Map<_, _>>();
        let all = json!({
            "title": self.title,
            "columns": columns.iter().map(|c| &c.0).collect::<Vec<_>>(),
            "rows": (0..self.rows.len()).map(row).collect::<Vec<_>>(),
            "notes": self.all_notes().collect::<Vec<_>>(),
        });
        format!("{all:#}\n")
    }

    fn all_notes(&self) -> impl Iterator<Item = &String> {
        self.notes.iter().chain(&self.wide_notes)
    }

    /// Rows that follow each other with one encoder.
    fn groups(&self) -> impl Iterator<Item = &[Vec<String>]> {
        let encoder = |row: &[String]| row.first().map(|c| c.trim_end_matches(MARK).to_owned());
        self.rows.chunk_by(move |a, b| encoder(a) == encoder(b))
    }

    /// Columns as programs read them: `0.7 ± 0.1 *` is `NAME`, `NAME ±` and `NAME p<0.05`; `[a, b]` is `NAME low` and `NAME
    /// high`; a mark behind a name is a column `collapsed`; what is empty or a dash is null.
    fn columns(&self) -> Vec<(String, Vec<Value>)> {
        let mut out = Vec::new();
        for (i, name) in self.header.iter().enumerate() {
            let cells: Vec<Entry> =
                self.rows.iter().map(|row| Entry::of(row.get(i).map_or("", String::as_str))).collect();
            let any = |of: fn(&Entry) -> bool| cells.iter().any(of);
            let column = |of: &dyn Fn(&Entry) -> Value| cells.iter().map(of).collect::<Vec<Value>>();
            if any(|e| matches!(e, Entry::Span(..))) {
                let end = |high: bool| {
                    column(&move |e| match e {
                        Entry::Span(lo, hi) => json!(if high { hi } else { lo }),
                        _ => Value::Null,
                    })
                };
                out.extend([(format!("{name} low"), end(false)), (format!("{name} high"), end(true))]);
                continue;
            }
            let main = column(&|e| match e {
                Entry::Text { text, .. } => json!(text),
                Entry::Number { value, .. } => value.clone(),
                Entry::Span(..) | Entry::Nothing => Value::Null,
            });
            out.push((name.clone(), main));
            if any(|e| matches!(e, Entry::Number { half: Some(_), .. })) {
                let half = column(&|e| match e {
                    Entry::Number { half, .. } => json!(half),
                    _ => Value::Null,
                });
                out.push((format!("{name} ±"), half));
            }
            if any(|e| matches!(e, Entry::Number { star: true, .. })) {
                let star = column(&|e| match e {
                    Entry::Number { star, half: Some(_), .. } => json!(star),
                    _ => Value::Null,
                });
                out.push((format!("{name} p<0.05"), star));
            }
            if any(|e| matches!(e, Entry::Text { marked: true, .. })) {
                let marked = column(&|e| json!(matches!(e, Entry::Text { marked: true, .. })));
                out.push(("collapsed".into(), marked));
            }
        }
        out
    }
}

/// What a cell says.
enum Entry {
    Nothing,
    Text { text: String, marked: bool },
    Number { value: Value, half: Option<f64>, star: bool },
    Span(f64, f64),
}

impl Entry {
    fn of(cell: &str) -> Self {
        if cell.is_empty() || cell == "–" {
            return Self::Nothing;
        }
        let span = || -> Option<(f64, f64)> {
            let (lo, hi) = cell.strip_prefix('[')?.strip_suffix(']')?.split_once(", ")?;
            Some((lo.parse().ok()?, hi.parse().ok()?))
        };
        if let Some((lo, hi)) = span() {
            return Self::Span(lo, hi);
        }
        let unstarred = cell.strip_suffix(" *");
        let (number, half) = match unstarred.unwrap_or(cell).split_once(" ± ") {
            Some((number, half)) => (number, half.parse::<f64>().ok()),
            None => (unstarred.unwrap_or(cell), None),
        };
        // `inf` and `nan` are words here: JSON has no such numbers.
        let float = || number.parse::<f64>().ok().filter(|x| x.is_finite()).map(|x| json!(x));
        if let Some(value) = number.parse::<i64>().ok().map(|n| json!(n)).or_else(float) {
            return Self::Number { value, half, star: unstarred.is_some() };
        }
        let text = cell.trim_end_matches(MARK);
        Self::Text { text: text.to_owned(), marked: text.len() < cell.len() }
    }
}

/// Text as LaTeX prints it.
fn tex(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', c]),
            '\\' => out += "\\textbackslash{}",
            '~' => out += "\\textasciitilde{}",
            '^' => out += "\\textasciicircum{}",
            '<' => out += "\\textless{}",
            '>' => out += "\\textgreater{}",
            '|' => out += "\\textbar{}",
            '±' => out += "$\\pm$",
            'Δ' => out += "$\\Delta$",
            '×' => out += "$\\times$",
            '†' => out += "\\textdagger{}",
            '*' => out += "\\textasteriskcentered{}",
            '–' => out += "--",
            // In front of digits a hyphen is a minus.
            '-' if text.starts_with('-') && out.is_empty() => out += "$-$",
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |cells: [&str; 6]| cells.map(ToOwned::to_owned).to_vec();
        Table {
            title: "T_1".into(),
            header: row(["encoder", "mixture", "AUC", "ΔAUC", "users", "MACs"]),
            rows: vec![
                row(["x", "none", "0.7000 ± 0.0100", "", "", "12"]),
                row(["x", "a_b|c", "0.7500 ± 0.0200", "+0.0500 ± 0.0100 *", "[-0.0100, +0.0900]", "1200"]),
                row(["y †", "none", "–", "-0.2000", "", "7.5"]),
            ],
            wide: vec![3, 4],
            notes: vec!["Note: 5 % & more.".into()],
            wide_notes: vec!["Wide.".into()],
        }
    }

    #[test]
    fn terminal_is_stable() {
        let wanted = "\
T_1
────────────────────────────────────────────
 encoder   mixture   AUC               MACs 
────────────────────────────────────────────
 x         none      0.7000 ± 0.0100   12   
 x         a_b|c     0.7500 ± 0.0200   1200 
                                            
 y †       none      –                 7.5  
────────────────────────────────────────────
Note: 5 % & more.
";
        assert_eq!(table().render(Format::Terminal), wanted);
    }

    #[test]
    fn markdown_is_stable() {
        let wanted = "\
## T_1

| encoder | mixture | AUC | ΔAUC | users | MACs |
| --- | --- | --- | --- | --- | --- |
| x | none | 0.7000 ± 0.0100 |  |  | 12 |
| x | a_b\\|c | 0.7500 ± 0.0200 | +0.0500 ± 0.0100 * | [-0.0100, +0.0900] | 1200 |
| y † | none | – | -0.2000 |  | 7.5 |

Note: 5 % & more.

Wide.
";
        assert_eq!(table().render(Format::Markdown), wanted);
    }

    #[test]
    fn csv_is_stable() {
        let wanted = "\
encoder,collapsed,mixture,AUC,AUC ±,ΔAUC,ΔAUC ±,ΔAUC p<0.05,users low,users high,MACs
x,false,none,0.7,0.01,,,,,,12
x,false,a_b|c,0.75,0.02,0.05,0.01,true,-0.01,0.09,1200
y,true,none,,,-0.2,,,,,7.5
";
        assert_eq!(table().render(Format::Csv), wanted);
    }

    #[test]
    fn latex_is_stable() {
        let wanted = r"% \usepackage{booktabs}
\begin{table}
\centering
\caption{T\_1}
\begin{tabular}{llrrrr}
\toprule
encoder & mixture & AUC & $\Delta$AUC & users & MACs \\
\midrule
x & none & 0.7000 $\pm$ 0.0100 &  &  & 12 \\
x & a\_b\textbar{}c & 0.7500 $\pm$ 0.0200 & +0.0500 $\pm$ 0.0100 \textasteriskcentered{} & [-0.0100, +0.0900] & 1200 \\
\addlinespace
y \textdagger{} & none & -- & $-$0.2000 &  & 7.5 \\
\bottomrule
\end{tabular}
\par\smallskip\footnotesize Note: 5 \% \& more.\par Wide.
\end{table}
";
        assert_eq!(table().render(Format::Latex), wanted);
    }

    #[test]
    fn json_is_stable() {
        let read: Value = serde_json::from_str(&table().render(Format::Json)).unwrap();
        let wanted = json!({
            "title": "T_1",
            "columns": ["encoder", "collapsed", "mixture", "AUC", "AUC ±", "ΔAUC", "ΔAUC ±", "ΔAUC p<0.05", "users low",
                "users high", "MACs"],
            "rows": [
                { "encoder": "x", "collapsed": false, "mixture": "none", "AUC": 0.7, "AUC ±": 0.01, "ΔAUC": null,
                  "ΔAUC ±": null, "ΔAUC p<0.05": null, "users low": null, "users high": null, "MACs": 12 },
                { "encoder": "x", "collapsed": false, "mixture": "a_b|c", "AUC": 0.75, "AUC ±": 0.02, "ΔAUC": 0.05,
                  "ΔAUC ±": 0.01, "ΔAUC p<0.05": true, "users low": -0.01, "users high": 0.09, "MACs": 1200 },
                { "encoder": "y", "collapsed": true, "mixture": "none", "AUC": null, "AUC ±": null, "ΔAUC": -0.2,
                  "ΔAUC ±": null, "ΔAUC p<0.05": null, "users low": null, "users high": null, "MACs": 7.5 },
            ],
            "notes": ["Note: 5 % & more.", "Wide."],
        });
        assert_eq!(read, wanted);
    }

    #[test]
    fn the_smallest_table() {
        let row = |a: &str| vec![a.to_owned(), "0.7".to_owned()];
        let table = Table {
            title: "T".into(),
            header: row("name"),
            rows: vec![row("x"), row("y"), row("y")],
            wide: vec![1],
            notes: vec!["Note.".into()],
            wide_notes: Vec::new(),
        };
        assert_eq!(
            table.render(Format::Terminal),
            "T\n──────\n name \n──────\n x    \n      \n y    \n y    \n──────\nNote.\n"
        );
    }
}
