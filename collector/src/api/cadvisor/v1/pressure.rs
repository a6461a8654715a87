//! Pressure stall information.

use schemars::JsonSchema;
use serde::Serialize;

use crate::sample::container::{Pressure, PressureRow};

/// Pressure; left out where the kernel does not offer it.
#[derive(JsonSchema, Serialize)]
#[schemars(rename = "PSIStats")]
pub(super) struct Psi {
    full: PsiData,
    some: PsiData,
}

/// `total` is in microseconds, as in the kernel's file.
#[derive(Default, JsonSchema, Serialize)]
#[schemars(rename = "PSIData")]
struct PsiData {
    total: u64,
    avg10: f64,
    avg60: f64,
    avg300: f64,
}

impl From<Pressure> for Psi {
    fn from(Pressure { some, full }: Pressure) -> Self {
        Self { full: full.unwrap_or_default().into(), some: some.unwrap_or_default().into() }
    }
}

impl From<PressureRow> for PsiData {
    fn from(row: PressureRow) -> Self {
        // A hundredth of a small integer is the float nearest to the kernel's two decimals, so it prints as those.
        let percent = |hundredths: u64| hundredths as f64 / 100.0;
        Self { total: row.total.0, avg10: percent(row.avg10), avg60: percent(row.avg60), avg300: percent(row.avg300) }
    }
}
