//! Which format a client gets.
//!
//! By cAdvisor's rules, but that `OpenMetrics` is offered as well: the clause with the highest weight that can
//! be met counts, of equal ones the first, and who asks for nothing that there is gets text.

use super::options::Format;
use crate::api::accept::by_weight;

/// What a client gets by its `Accept` header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The format.
    pub format: Format,
    /// How names beyond the old rules would be escaped. There are none, so this is only repeated.
    escaping: Escaping,
}

/// What an endpoint has to offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Texts and protobuf.
    Every,
    /// Texts alone.
    Texts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escaping {
    AllowUtf8,
    #[default]
    Underscores,
    Dots,
    Values,
}

impl Accepted {
    /// Reads the header; an absent one is as good as an empty one.
    pub fn by(header: &str, offer: Offer) -> Self {
        let mut accepted = Self::default();
        for clause in by_weight(header) {
            if let Some(escaping) = clause.parameter("escaping").and_then(Escaping::named) {
                accepted.escaping = escaping;
            }
            let version = clause.parameter("version");
            match clause.name.to_ascii_lowercase().as_str() {
                "application/vnd.google.protobuf"
                    if offer == Offer::Every
                        && clause.parameter("proto") == Some("io.prometheus.client.MetricFamily")
                        && clause.parameter("encoding") == Some("delimited") =>
                {
                    accepted.format = Format::Protobuf;
                    break;
                }
                "application/openmetrics-text" if version.is_none_or(|version| version == "1.0.0") => {
                    accepted.format = Format::OpenMetrics;
                    break;
                }
                "text/plain" if version.is_none_or(|version| version == "0.0.4") => break,
                "text/*" | "*/*" => break,
                _ => {}
            }
        }
        accepted
    }

    /// The `Content-Type` header.
    pub fn content_type(self) -> String {
        let kind = match self.format {
            Format::Text => "text/plain; version=0.0.4",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0",
            Format::Protobuf => {
                let kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily";
                return format!("{kind}; encoding=delimited; escaping={}", self.escaping.name());
            }
            Format::RemoteWrite => return "application/x-protobuf".to_owned(),
        };
        format!("{kind}; charset=utf-8; escaping={}", self.escaping.name())
    }
}

impl Escaping {
    const fn name(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values].into_iter().find(|one| one.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn formats() {
        let text = "text/plain; version=0.0.4; charset=utf-8; escaping=";
        let open = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=";
        for (accept, kind, escaping) in [
            ("", text, "underscores"),
            ("*/*", text, "underscores"),
            ("application/json", text, "underscores"),
            ("text/plain", text, "underscores"),
            ("text/plain;version=0.0.4;escaping=values", text, "values"),
            ("text/plain;escaping=nonsense", text, "underscores"),
            ("application/openmetrics-text", open, "underscores"),
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", open, "underscores"),
            ("application/openmetrics-text;version=0.0.1", text, "underscores"),
            ("application/openmetrics-text;q=0", text, "underscores"),
            // Prometheus 2.42.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                open,
                "underscores",
            ),
            // Prometheus 3.
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                 text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                open,
                "allow-utf-8",
            ),
            ("text/plain;q=0.9, application/openmetrics-text;q=0.3", text, "underscores"),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                 text/plain;version=0.0.4;q=0.3",
                text,
                "underscores",
            ),
        ] {
            let accepted = Accepted::by(accept, Offer::Texts).content_type();
            assert_eq!(accepted, format!("{kind}{escaping}"), "{accept}");
        }
    }

    #[test]
    fn protobuf_is_for_who_asks_for_all_of_it() {
        let format = |accept: &str| Accepted::by(accept, Offer::Every).format;
        let whole = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        // Prometheus 2.53 with created-timestamp-zero-ingestion.
        let prometheus = format!("{whole};q=0.5,application/openmetrics-text;version=1.0.0;q=0.4,*/*;q=0.1");
        assert_eq!(format(&prometheus), Format::Protobuf);
        assert_eq!(format(&prometheus.replace("q=0.5", "q=0.3")), Format::OpenMetrics);
        assert_eq!(format("application/vnd.google.protobuf"), Format::Text);
        assert_eq!(format(&whole.replace("delimited", "text")), Format::Text);
        let kind = Accepted::by(whole, Offer::Every).content_type();
        assert!(
            kind.starts_with("application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily;"),
            "{kind}"
        );
    }

    proptest! {
        #[test]
        fn any_header_is_read(header in "[-a-z/*;=,.q0-9 \"]{0,60}") {
            let _ = Accepted::by(&header, Offer::Every);
        }
    }
}
