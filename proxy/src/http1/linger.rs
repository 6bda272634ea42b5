//! The lingering close (RFC 9112 §9.6): an answer to a request that was not read to its end would be lost, if the close
//! met bytes that the client still sends.

use std::{net::Shutdown, time::Duration};

use socket2::SockRef;
use tokio::{io::AsyncReadExt as _, net::TcpStream};

/// How long the client may take to notice.
const TIME: Duration = Duration::from_secs(1);
/// How much it may send until then.
const BYTES: usize = 64 * 1024;

/// Closes a connection whose client may still be sending: first one way, then, once the client has noticed, all of it.
pub(crate) async fn linger(mut socket: TcpStream) {
    if SockRef::from(&socket).shutdown(Shutdown::Write).is_err() {
        return;
    }
    let drain = async {
        let (mut read, mut waste) = (0, [0; 1024]);
        while read < BYTES {
            match socket.read(&mut waste).await {
                Ok(0) | Err(_) => return,
                Ok(count) => read += count,
            }
        }
    };
    // Boxed: rare, and its buffer would make every connection's future larger.
    let _ = Box::pin(tokio::time::timeout(TIME, drain)).await;
}
