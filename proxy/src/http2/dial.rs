//! The dial that a request's upstream needs, where detection has not made it.

use std::rc::Rc;

use tokio::net::TcpStream;

use super::pool::failed_dial;
use crate::{connection::Client, dial, dialling, error::RequestError, upstream::Whither};

/// Connects to `whither`.
///
/// # Errors
/// What the caller is told: refused, timed out, not permitted. Nothing was sent.
pub(crate) async fn dial(client: Rc<Client>, whither: Whither) -> Result<TcpStream, RequestError> {
    let shared = Rc::clone(&client.worker);
    match whither {
        Whither::Endpoint(endpoint) => dial::sandbox(&shared.shared, endpoint).await,
        Whither::Authority(authority) => dial::baseline_by_name(&shared.shared, &authority).await,
        Whither::Baseline => dialling::baseline(client).await.map_err(failed_dial),
    }
}
