//! Remote write 2.0, as it comes.

/// `io.prometheus.write.v2.Request`, as version 2.0-rc.4 of the specification declares it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WriteRequest2 {
    /// Every text once.
    #[prost(string, repeated, tag = "4")]
    pub(crate) symbols: Vec<String>,
    /// Its series.
    #[prost(message, repeated, tag = "5")]
    pub(crate) timeseries: Vec<TimeSeries2>,
}

/// `io.prometheus.write.v2.TimeSeries`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TimeSeries2 {
    /// Names and values by turns.
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) labels_refs: Vec<u32>,
    /// Oldest first.
    #[prost(message, repeated, tag = "2")]
    pub(crate) samples: Vec<Sample2>,
    /// What it is.
    #[prost(message, tag = "5")]
    pub(crate) metadata: Option<Metadata>,
}

/// `io.prometheus.write.v2.Sample`; times are in milliseconds since 1970.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Sample2 {
    /// Its value.
    #[prost(double, tag = "1")]
    pub(crate) value: f64,
    /// When it was read.
    #[prost(int64, tag = "2")]
    pub(crate) timestamp: i64,
    /// When its counter began.
    #[prost(int64, tag = "3")]
    pub(crate) start_timestamp: i64,
}

/// `io.prometheus.write.v2.Metadata`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Metadata {
    /// 1 for a counter, 2 for a gauge.
    #[prost(int32, tag = "1")]
    pub(crate) r#type: i32,
    /// What it is about.
    #[prost(uint32, tag = "3")]
    pub(crate) help_ref: u32,
    /// In what.
    #[prost(uint32, tag = "4")]
    pub(crate) unit_ref: u32,
}

impl WriteRequest2 {
    /// Each series with its labels.
    pub(crate) fn series(&self) -> impl Iterator<Item = (Vec<(&str, &str)>, &TimeSeries2)> {
        let text = |number: u32| self.symbols.get(number as usize).map_or("?", String::as_str);
        self.timeseries.iter().map(move |series| {
            (
                series.labels_refs.chunks(2).map(|pair| (text(pair[0]), text(*pair.last().unwrap_or(&0)))).collect(),
                series,
            )
        })
    }
}
