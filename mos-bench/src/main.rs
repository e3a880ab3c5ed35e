//! The `mos-bench` command.

/// Passes allocate and free large buffers by the thousand; the default allocator gives their pages back each time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    keep_pages();
    mos_bench::cli::main(&mos_baselines::Registry::default())
}

/// Has the allocator keep freed pages for ten seconds: a step takes again what the one before gave back, which the system would
/// have to clear first. And has it ask for large pages where it takes much at once: rows of large tables lie all over them. The
/// allocator reads its settings before `main`, from the environment alone, so that the program begins once more with them.
/// Whoever sets one of the variables has his way.
fn keep_pages() {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt as _;
        const SETTINGS: [(&str, &str); 2] =
            [("MIMALLOC_PURGE_DELAY", "10000"), ("MIMALLOC_ALLOW_LARGE_OS_PAGES", "1")];
        let unset: Vec<_> =
            SETTINGS.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()).collect();
        if !unset.is_empty()
            && let Ok(program) = std::env::current_exe()
        {
            let mut args = std::env::args_os();
            let name = args.next().unwrap_or_else(|| program.clone().into());
            // Returns only where it fails; then all goes on as it was.
            let _ = std::process::Command::new(program).arg0(name).args(args).envs(unset).exec();
        }
    }
}
