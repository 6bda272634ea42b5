//! What the fuzz targets in `proxy/fuzz` call; built for them alone.

pub use crate::http2::to_http1::oracle::run as http2_to_http1;
