//! How Bellhop's programs reach its control plane: TLS, the authorities that they trust, and who they say they are.
//!
//! Everything may come from files, and files change: authorities are rotated, certificates and tokens renewed. They are
//! looked at before each request, and read again where they have changed; connections made before are not used any more
//! then. Files that cannot be read any more leave what was read before in place.

mod credentials;
mod reach;
mod stamps;
mod url;

pub use credentials::{Credentials, CredentialsError, Source};
pub use reach::{Reach, SendError, Timing};
pub use stamps::Stamps;
pub use url::{BaseUrl, BaseUrlError};
