//! What may be written on the command line.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::config::Inputs;

/// Brings media in from anywhere, keeps it, and hands it to people.
#[derive(Debug, Parser)]
#[command(
    name = "mediahost",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.\n\
                  `mediahost config --sample` explains every key of the configuration."
)]
pub struct Args {
    #[command(flatten)]
    pub shared: Shared,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Default, ClapArgs)]
pub struct Shared {
    /// Read this configuration file instead of ./mediahost.toml
    #[arg(long, global = true, value_name = "FILE", env = "MEDIAHOST_CONFIG")]
    pub config: Option<PathBuf>,
    /// Listen on this address; port 0 lets the system choose
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// Keep everything that must last in this folder
    #[arg(long, global = true, value_name = "FOLDER")]
    pub data_dir: Option<String>,
    /// Take plugins from this folder
    #[arg(long, global = true, value_name = "FOLDER")]
    pub plugins_dir: Option<String>,
    /// Write results and errors as JSON
    #[arg(long, global = true)]
    pub json: bool,
}

impl Shared {
    /// The layers of the configuration.
    pub fn inputs(&self) -> Inputs {
        let flags = [
            ("--listen", "server.listen", &self.listen),
            ("--data-dir", "data_dir", &self.data_dir),
            ("--plugins-dir", "plugins_dir", &self.plugins_dir),
        ];
        let given = flags.into_iter().filter_map(|(flag, key, value)| Some((flag, key, value.clone()?)));
        Inputs { flags: given.collect(), ..Inputs::of_this_process(self.config.clone()) }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the host until SIGINT or SIGTERM
    ///
    /// When it is ready, one line on stdout gives a link that signs a browser in, once and within ten minutes. The log
    /// goes to stderr. SIGHUP reads the configuration again.
    Serve,
    /// Open an address and give a player a URL for it
    ///
    /// The host that is running is used, found through the data folder. If none is, one is started within this
    /// command, which then serves until Ctrl-C or until the player ends.
    Play(Play),
    /// See, check and write plugins
    #[command(subcommand)]
    Plugin(Plugin),
    /// Print the configuration in force, and where each value comes from
    Config(ConfigArgs),
    /// Ask the running host for another link that signs a browser in
    Link,
}

/// `mediahost play`
#[derive(Debug, ClapArgs)]
pub struct Play {
    /// What to play, for instance https://example.org/film.mkv
    pub uri: String,
    /// A header field to send upstream, such as 'Authorization: Basic …'; may be given several times
    #[arg(long, short = 'H', value_name = "NAME: VALUE")]
    pub header: Vec<String>,
    /// Print the playback URL, which is also what happens without this flag
    #[arg(long, conflicts_with = "open")]
    pub print: bool,
    /// Start this player with the playback URL as its last argument, for instance --open mpv
    #[arg(long, value_name = "COMMAND")]
    pub open: Option<String>,
}

/// `mediahost plugin`
#[derive(Debug, Subcommand)]
pub enum Plugin {
    /// List the plugins: those of the running host, else those it would load
    List,
    /// Print what a plugin's file says about itself, without running it
    Inspect {
        /// A .wasm file
        file: PathBuf,
    },
    /// Write a new plugin's project, complete with the SDK, that builds with one command
    New(New),
}

/// `mediahost plugin new`
#[derive(Debug, ClapArgs)]
pub struct New {
    /// The plugin's id: lower-case letters, digits and hyphens, such as source-mysite
    pub name: String,
    /// What the plugin does
    #[arg(long, value_enum, default_value_t = PluginKind::MediaSource)]
    pub kind: PluginKind,
    /// Where to write it; the folder must be empty or not exist [default: the name]
    #[arg(long, value_name = "FOLDER")]
    pub dir: Option<PathBuf>,
    /// For a media source: the scheme of the addresses it reads [default: made from the name]
    #[arg(long)]
    pub scheme: Option<String>,
}

/// The kinds that there are templates for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PluginKind {
    /// Finds out where the bytes of an address are
    MediaSource,
    /// Knows a file format: its tracks, and what a player needs first
    ContainerDetector,
}

/// `mediahost config`
#[derive(Debug, ClapArgs)]
pub struct ConfigArgs {
    /// Print a configuration file that explains every key instead
    #[arg(long)]
    pub sample: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    fn check(line: &str, good: bool) {
        let found = Args::try_parse_from(line.split(' '));
        assert_eq!(found.is_ok(), good, "{line}: {found:?}");
    }

    #[test]
    fn good_and_bad_lines() {
        check("mediahost serve", true);
        check("mediahost --json serve", true);
        check("mediahost serve --json --listen 127.0.0.1:0 --data-dir d --plugins-dir p --config c", true);
        check("mediahost play http://h/f -H a:b --header c:d --open mpv", true);
        check("mediahost play http://h/f --print --open mpv", false);
        check("mediahost play", false);
        check("mediahost plugin new source-x --kind container-detector --dir d", true);
        check("mediahost plugin new source-x --kind toaster", false);
        check("mediahost plugin rollback x", false);
        check("mediahost config --sample", true);
        check("mediahost", false);
    }

    #[test]
    fn flags_become_the_last_layer() {
        let args = Args::try_parse_from(["mediahost", "link", "--listen", "127.0.0.1:0"]).unwrap();
        let flags = args.shared.inputs().flags;
        assert_eq!(flags, [("--listen", "server.listen", "127.0.0.1:0".to_owned())]);
    }
}
