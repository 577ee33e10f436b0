//! The `mediahost` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    mediahost::cli::main()
}
