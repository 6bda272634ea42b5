//! Where control is, and who may ask it: `bellhop config`, `bellhop token`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// List all contexts
    GetContexts,
    /// Make a context the current one
    UseContext {
        /// Its name
        name: String,
    },
    /// Make or change a context: --server, --namespace, --token-file, --ca-file, --client-cert-file, --client-key-file
    SetContext {
        /// Its name
        name: String,
    },
    /// Forget a context and its token
    DeleteContext {
        /// Its name
        name: String,
    },
    /// Show the whole file, without tokens
    View,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token, and print it this once
    #[command(
        after_help = "Example:   bellhop token create --role developer --namespaces shop --ttl 30d --description 'ci of the shop' --out token"
    )]
    Create(CreateToken),
    /// List all tokens; the tokens themselves are known to nobody but their holders
    #[command(visible_alias = "ls")]
    List,
    /// Revoke tokens, and end what was opened with them
    Revoke {
        /// Their ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateToken {
    /// proxy (watch and report), developer (read; edit in its namespaces) or admin (everything)
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: bellhop_api::access::Role,
    /// Where a developer may edit; * for everywhere
    #[arg(long, value_name = "NS,…", value_delimiter = ',')]
    pub(crate) namespaces: Vec<String>,
    /// How long it is good for, such as 12h or 30d; 90d at most, and where nothing is given
    #[arg(long, value_name = "DURATION")]
    pub(crate) ttl: Option<String>,
    /// Whose it is and for what
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) description: String,
    /// Write the token to this file, for its owner alone, instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}
