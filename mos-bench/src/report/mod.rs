//! The report: one HTML file that needs nothing else.

pub(crate) mod svg;
