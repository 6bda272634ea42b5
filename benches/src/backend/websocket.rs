//! WebSocket: each message comes back as it is.

use bytes::BytesMut;
use futures_util::{SinkExt, StreamExt};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{handshake::derive_accept_key, protocol::Role},
};

use super::Version;

/// Accepts the handshake with `key` and echoes to the connection's end; `rest` came behind the handshake.
pub(super) async fn serve(mut stream: TcpStream, rest: BytesMut, key: &[u8], version: &Version) {
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nx-version: {}\r\n\
         sec-websocket-accept: {}\r\n\r\n",
        version.name,
        derive_accept_key(key)
    );
    if stream.write_all(answer.as_bytes()).await.is_err() {
        return;
    }
    let mut socket = WebSocketStream::from_partially_read(stream, rest.to_vec(), Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        // What is not a message tungstenite answers itself.
        if message.is_text() || message.is_binary() {
            version.count();
            if socket.send(message).await.is_err() {
                return;
            }
        }
    }
}
