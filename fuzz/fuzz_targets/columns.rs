#![no_main]

#[path = "../src/entry.rs"]
#[allow(dead_code)] // each target takes its own
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::columns(data));
