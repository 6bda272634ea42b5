//! Detection: tables and properties of the pure parts; sockets are in `app::tests`.

pub(crate) mod hello;
mod line;
mod settings;
