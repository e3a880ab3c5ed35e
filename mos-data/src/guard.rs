//! Calls into the parquet crate, which panics over some damaged files instead of refusing them.

use std::{
    cell::Cell,
    fmt::Display,
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    sync::Once,
};

thread_local! {
    /// Whether this thread is in such a call.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// What the call returns, a panic as an error. Nothing is printed of it: to the person it is one damaged file like any other.
pub(crate) fn guarded<T, E: Display>(
    read: impl FnOnce() -> std::result::Result<T, E>,
) -> std::result::Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                before(panic);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let read = catch_unwind(AssertUnwindSafe(read));
    GUARDED.set(outer);
    match read {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(message.unwrap_or("the file is damaged").to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::guarded;

    #[test]
    fn a_panic_is_an_error() {
        assert_eq!(guarded(|| Ok::<_, String>(5)), Ok(5));
        assert_eq!(guarded(|| Err::<(), _>("no")), Err("no".to_owned()));
        let deep = guarded(|| guarded(|| -> Result<(), String> { panic!("bytes {}", 7) }));
        assert_eq!(deep, Err("bytes 7".to_owned()));
        assert!(std::panic::catch_unwind(|| panic!("outside")).is_err(), "others are theirs");
    }
}
