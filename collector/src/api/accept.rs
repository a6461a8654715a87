//! Headers in which a client lists what it accepts, each with a weight.

/// `name;key=value;q=0.5`.
pub(super) struct Clause<'a> {
    pub(super) name: &'a str,
    parameters: &'a str,
    /// In thousandths.
    pub(super) weight: u16,
}

impl<'a> Clause<'a> {
    fn parse(text: &'a str) -> Self {
        let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
        let mut clause = Self { name: name.trim(), parameters, weight: 1000 };
        if let Some(weight) = clause.parameter("q").and_then(|weight| weight.parse::<f32>().ok()) {
            clause.weight = (weight.clamp(0.0, 1.0) * 1000.0) as u16;
        }
        clause
    }

    /// The value of a parameter of this name.
    pub(super) fn parameter(&self, name: &str) -> Option<&'a str> {
        let pairs = self.parameters.split(';').filter_map(|pair| pair.split_once('='));
        let mut values = pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim());
        values.next().map(|value| value.trim_matches('"'))
    }
}

/// The clauses that are not refused, the heaviest first.
pub(super) fn by_weight(header: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<_> = header.split(',').map(Clause::parse).filter(|clause| clause.weight > 0).collect();
    clauses.sort_by_key(|clause| std::cmp::Reverse(clause.weight));
    clauses
}
