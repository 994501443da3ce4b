//! Plain columns: a head, a rule, rows, and a row of totals where there is one.
//!
//! Two spaces between columns, words to the left, numbers to the right, no line ends in spaces. Widths are
//! counted in characters; control characters in cells are replaced. The table also writes itself as CSV.

use super::ending::plain;
use crate::money::NanoUsd;

/// Rows under a head.
#[derive(Debug)]
pub(super) struct Table {
    head: Vec<Column>,
    rows: Vec<Vec<String>>,
    total: Option<Vec<String>>,
}

/// One column's name and side.
#[derive(Clone, Copy, Debug)]
pub(super) enum Column {
    /// Words, to the left.
    Words(&'static str),
    /// Numbers, to the right.
    Numbers(&'static str),
}

impl Column {
    const fn name(self) -> &'static str {
        match self {
            Self::Words(name) | Self::Numbers(name) => name,
        }
    }
}

impl Table {
    pub(super) const fn new(head: Vec<Column>) -> Self {
        Self { head, rows: Vec::new(), total: None }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    pub(super) fn total(&mut self, cells: Vec<String>) {
        self.total = Some(cells);
    }

    /// Lays the table out.
    pub(super) fn render(&self) -> String {
        let head: Vec<String> = self.head.iter().map(|column| column.name().to_owned()).collect();
        let lines: Vec<Vec<String>> = std::iter::once(&head)
            .chain(&self.rows)
            .chain(&self.total)
            .map(|cells| cells.iter().map(|cell| plain(cell)).collect())
            .collect();
        let width_of = |index: usize| {
            lines.iter().filter_map(|cells| cells.get(index)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..self.head.len()).map(|index| width_of(index).unwrap_or(0)).collect();
        let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1));
        let mut text = String::new();
        for (number, cells) in lines.iter().enumerate() {
            if number == 1 || (self.total.is_some() && number + 1 == lines.len() && number > 1) {
                text.push_str(&format!("{rule}\n"));
            }
            text.push_str(self.line(cells, &widths).trim_end());
            text.push('\n');
        }
        text
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let padded = self.head.iter().zip(cells).zip(widths).map(|((column, cell), width)| match column {
            Column::Words(_) => format!("{cell:<width$}"),
            Column::Numbers(_) => format!("{cell:>width$}"),
        });
        padded.collect::<Vec<_>>().join("  ")
    }

    /// Writes head and rows as CSV (RFC 4180), without the totals.
    pub(super) fn csv(&self) -> String {
        let head: Vec<String> = self.head.iter().map(|column| column.name().to_owned()).collect();
        let lines = std::iter::once(&head).chain(&self.rows);
        lines.map(|cells| csv_line(cells)).collect()
    }
}

/// Writes one line of CSV (RFC 4180), its end included.
pub(super) fn csv_line(cells: &[String]) -> String {
    cells.iter().map(|cell| csv_cell(cell)).collect::<Vec<_>>().join(",") + "\n"
}

/// A cell that a spreadsheet would take for a formula is marked as text: names can come from clients.
fn csv_cell(cell: &str) -> String {
    let is_number =
        cell.strip_prefix('-').unwrap_or(cell).starts_with(|letter: char| letter.is_ascii_digit());
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t']) && !is_number;
    let cell = if is_formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

/// Writes a count with commas between thousands.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes an amount to four decimals of a dollar, rounded half up in size, for reading only.
pub(super) fn dollars(amount: NanoUsd) -> String {
    let ten_thousandths = (amount.0.unsigned_abs() + 50_000) / 100_000;
    let sign = if amount.0 < 0 && ten_thousandths > 0 { "-" } else { "" };
    format!("{sign}{}.{:04}", grouped(ten_thousandths / 10_000), ten_thousandths % 10_000)
}

/// Writes an amount in dollars and whole cents, rounded half up in size: `$1.23`.
pub(super) fn cents(amount: NanoUsd) -> String {
    let cents = (amount.0.unsigned_abs() + 5_000_000) / 10_000_000;
    let sign = if amount.0 < 0 && cents > 0 { "-" } else { "" };
    format!("{sign}${}.{:02}", grouped(cents / 100), cents % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_numbers_right_and_totals_below_a_rule() {
        let mut table = Table::new(vec![Column::Words("Day"), Column::Numbers("Requests")]);
        table.row(vec!["2026-11-20".to_owned(), grouped(1_234)]);
        table.total(vec!["Total".to_owned(), grouped(1_234)]);
        let expected = "Day         Requests\n--------------------\n2026-11-20     1,234\n\
                        --------------------\nTotal          1,234\n";
        assert_eq!(table.render(), expected);
    }

    #[test]
    fn a_name_from_a_client_moves_no_cursor_and_is_no_formula() {
        let mut table = Table::new(vec![Column::Words("user")]);
        table.row(vec!["\u{1b}[2J=1+1".to_owned()]);
        table.row(vec!["=cmd(\"x\")".to_owned()]);
        assert!(!table.render().contains('\u{1b}'));
        assert!(table.csv().contains("\"'=cmd(\"\"x\"\")\""), "{}", table.csv());
    }

    #[test]
    fn amounts_are_read_in_dollars() {
        for (nanousd, text) in [
            (0, "0.0000"),
            (1_234_567_890, "1.2346"),
            (-50_000, "-0.0001"),
            (12_345_000_000_000, "12,345.0000"),
        ] {
            assert_eq!(dollars(NanoUsd(nanousd)), text);
        }
    }
}
