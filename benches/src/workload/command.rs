//! The command that makes a load, and the reading of what it printed.

use std::{
    ffi::OsString,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;

use super::{Load, PATH, Said, Workload, fields, ghz, h2load, iperf3, oha, wrk};
use crate::{backend::GRPC, load::Seen, stage::Programs};

/// Files that tools need: bodies, scripts, message descriptions.
#[derive(Debug)]
pub struct Files {
    dir: PathBuf,
}

/// A gRPC message of 128 bytes: no compression, its length, field 1 with 125 bytes.
const MESSAGE: [u8; 5 + 128] = {
    let mut message = [b'm'; 5 + 128];
    message[0] = 0;
    message[1] = 0;
    message[2] = 0;
    message[3] = 0;
    message[4] = 128;
    message[5] = 0x0a;
    message[6] = 126;
    message
};

const PROTO: &str = r#"syntax = "proto3";
package bellhop.bench;
service Echo {
  rpc Unary(Payload) returns (Payload);
  rpc Stream(stream Payload) returns (stream Payload);
}
message Payload { bytes body = 1; }
"#;

impl Files {
    /// Writes them into `dir`.
    ///
    /// # Errors
    /// Where that is not possible.
    pub fn write(dir: &Path) -> anyhow::Result<Self> {
        fs::write(dir.join("message.grpc"), MESSAGE)?;
        fs::write(dir.join("echo.proto"), PROTO)?;
        Ok(Self { dir: dir.to_owned() })
    }

    fn upload(&self, bytes: usize) -> anyhow::Result<PathBuf> {
        let file = self.dir.join(format!("upload-{bytes}.lua"));
        fs::write(&file, format!("wrk.method = \"POST\"\nwrk.body = string.rep(\"u\", {bytes})\n"))?;
        Ok(file)
    }
}

impl Workload {
    /// The tool and its arguments for a load on `target` that lasts `lasting` and ends by itself; `rate` for an open loop,
    /// as many requests as possible without one.
    ///
    /// # Errors
    /// Where the tool is not installed.
    pub fn command(
        self,
        target: SocketAddr,
        lasting: Duration,
        rate: Option<f64>,
        (files, programs): (&Files, &Programs),
    ) -> anyhow::Result<(PathBuf, Vec<OsString>)> {
        let tool = self.tool();
        let program = match self.load() {
            Load::WebSocket => programs.load().to_owned(),
            _ => tool.program().with_context(|| format!("{} is not installed", tool.name()))?,
        };
        let mut args = Args(Vec::new());
        let seconds = lasting.as_secs_f64();
        match self.load() {
            Load::Wrk { connections, close, path, upload } => {
                args.add(["-t1", "--latency", "-c", &connections.to_string()]);
                // Whole seconds alone; who measures ends it sooner.
                args.add([format!("-d{}s", seconds.ceil())]);
                if close {
                    args.add(["-H", "Connection: close"]);
                }
                if upload > 0 {
                    args.add([OsString::from("-s"), files.upload(upload)?.into()]);
                }
                args.fields(self.keyed(), "-H");
                args.add([format!("http://{target}{path}")]);
            }
            Load::H2load { clients, streams, grpc } => {
                args.add(["-t1", "-c", &clients.to_string(), "-m", &streams.to_string()]);
                args.add(["-D", &format!("{}ms", lasting.as_millis())]);
                args.fields(self.keyed(), "-H");
                let path = if grpc {
                    args.add(["-H", "content-type: application/grpc", "-H", "te: trailers", "-d"]);
                    args.add([files.dir.join("message.grpc")]);
                    format!("{GRPC}/Unary")
                } else {
                    PATH.to_owned()
                };
                args.add([format!("http://{target}{path}")]);
            }
            Load::Ghz => args.add(ghz::arguments(target, lasting, &files.dir.join("echo.proto"))),
            Load::WebSocket => args.add([target.to_string(), "64".into(), seconds.to_string()]),
            Load::Iperf3 => args.add(iperf3::arguments(target, lasting)),
            Load::Oha(_) => {
                args.add(oha::arguments(lasting, rate));
                args.fields(self.keyed(), "-H");
                args.add([format!("http://{target}{PATH}")]);
            }
        }
        Ok((program, args.0))
    }

    /// Reads what its tool printed.
    ///
    /// # Errors
    /// Where that has not the shape expected.
    pub fn read(self, output: &str) -> anyhow::Result<Said> {
        let said = match self.load() {
            Load::Wrk { .. } => wrk::parse(output),
            Load::H2load { .. } => h2load::parse(output),
            Load::Ghz => ghz::parse(output),
            Load::WebSocket => serde_json::from_str(output).ok().map(seen),
            Load::Iperf3 => iperf3::parse(output),
            Load::Oha(_) => oha::parse(output),
        };
        said.with_context(|| format!("unexpected output of {}:\n{output}", self.tool().name()))
    }
}

fn seen(seen: Seen) -> Said {
    Said {
        latency_us: Some(seen.p50_us as f64),
        p99_us: Some(seen.p99_us as f64),
        errors: seen.errors,
        counted: None,
    }
}

struct Args(Vec<OsString>);

impl Args {
    fn add<T: Into<OsString>>(&mut self, args: impl IntoIterator<Item = T>) {
        self.0.extend(args.into_iter().map(Into::into));
    }

    fn fields(&mut self, keyed: bool, flag: &str) {
        for (name, value) in fields(keyed) {
            self.add([flag.to_owned(), format!("{name}: {value}")]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_our_own_load_says_is_read_and_anything_else_refused() {
        let said = Workload::WebSocket.read(r#"{"messages":9,"p50_us":40,"p99_us":90,"errors":1}"#).unwrap();
        assert_eq!((said.latency_us, said.p99_us, said.errors), (Some(40.0), Some(90.0), 1));
        let error = Workload::WebSocket.read("panicked").unwrap_err().to_string();
        assert!(error.contains("bench-load") && error.contains("panicked"), "{error}");
    }

    #[test]
    fn the_grpc_message_says_its_own_length() {
        let length = u32::from_be_bytes(MESSAGE[1..5].try_into().unwrap());
        assert_eq!(length as usize, MESSAGE.len() - 5);
        assert_eq!(usize::from(MESSAGE[6]), MESSAGE.len() - 7);
    }
}
