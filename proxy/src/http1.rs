//! The HTTP/1 engine.

use std::rc::Rc;

use crate::connection::{Client, Detected};

/// Serves a client's connection to its end.
pub(crate) async fn serve(client: Rc<Client>, from: Detected) {
    crate::tunnel::opaque(&client, from).await;
}
