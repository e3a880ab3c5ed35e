//! `mos-bench` with one more encoder.

// ANCHOR: main
/// The allocator of `mos-bench`, so that times can be compared with its own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    mos_bench::cli::main(&external_baseline::registry())
}
// ANCHOR_END: main
