//! Pressure files: `cpu.pressure`, `memory.pressure`, `io.pressure` (since 4.20, where PSI is switched on).

use crate::kernel::odd_lines::OddLines;
use crate::kernel::text_formats::{hundredths, lines, nested_fields, number, words};

/// One row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PressureRow {
    /// `avg10`: hundredths of a percent.
    pub avg10: u64,
    /// `avg60`: hundredths of a percent.
    pub avg60: u64,
    /// `avg300`: hundredths of a percent.
    pub avg300: u64,
    /// `total`: microseconds.
    pub total: u64,
}

/// A pressure file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Row `some`.
    pub some: Option<PressureRow>,
    /// Row `full`; of the CPU since 5.13.
    pub full: Option<PressureRow>,
}

impl Pressure {
    /// Parses the file. A row of which any number is odd or missing is left out.
    pub fn parse(text: &[u8], odd: &mut OddLines) -> Self {
        let mut pressure = Self::default();
        for (line, text) in lines(text) {
            let row = match words(text).next() {
                Some(b"some") => &mut pressure.some,
                Some(b"full") => &mut pressure.full,
                Some(_) => {
                    odd.note(line, "neither \"some\" nor \"full\"", text);
                    continue;
                }
                None => continue,
            };
            match parse_row(text) {
                Some(parsed) => *row = Some(parsed),
                None => odd.note(line, "not \"avg10=N.NN ... total=N\"", text),
            }
        }
        pressure
    }
}

fn parse_row(line: &[u8]) -> Option<PressureRow> {
    let (mut avg10, mut avg60, mut avg300, mut total) = (None, None, None, None);
    for (key, value) in nested_fields(line) {
        match (key, value) {
            (b"avg10", Some(value)) => avg10 = hundredths(value),
            (b"avg60", Some(value)) => avg60 = hundredths(value),
            (b"avg300", Some(value)) => avg300 = hundredths(value),
            (b"total", Some(value)) => total = number(value),
            _ => {}
        }
    }
    Some(PressureRow { avg10: avg10?, avg60: avg60?, avg300: avg300?, total: total? })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernel::odd_lines::without_odd_lines;

    #[test]
    fn recorded() {
        let text = b"\
some avg10=5.87 avg60=3.26 avg300=1.03 total=12876437
full avg10=0.00 avg60=0.05 avg300=100.00 total=7
";
        let parse = |text: &[u8]| without_odd_lines(text, Pressure::parse);
        let pressure = parse(text).unwrap();
        assert_eq!(pressure.some, Some(PressureRow { avg10: 587, avg60: 326, avg300: 103, total: 12_876_437 }));
        assert_eq!(pressure.full, Some(PressureRow { avg10: 0, avg60: 5, avg300: 10_000, total: 7 }));
        let old = parse(b"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n").unwrap();
        assert_eq!(old, Pressure { some: Some(PressureRow::default()), full: None });
        assert!(parse(b"some avg10=x\n").is_err());
        let odd = Pressure::parse(&[b"some avg10=x total=1\n", text.as_slice()].concat(), &mut OddLines::default());
        assert_eq!(odd, pressure);
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200), likely in "(some|full)[ avgtol0-9.=\n]{0,60}") {
            let mut odd = OddLines::default();
            let _ = (Pressure::parse(&text, &mut odd), Pressure::parse(likely.as_bytes(), &mut odd));
        }
    }
}
