//! The `mos-bench` command.

/// Passes allocate and free large buffers by the thousand; the default allocator gives their pages back each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    mos_bench::cli::main(&mos_baselines::Registry::default())
}
