//! What a command that takes long says, and in which form.

use clap::Args;

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Output {
    /// No data card and no progress, only the outcome.
    #[arg(long)]
    pub(super) quiet: bool,
    /// Print the outcome as JSON.
    #[arg(long)]
    pub(super) json: bool,
}
