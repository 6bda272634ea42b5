//! A control plane, and the command that speaks to it.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

/// Whatever is waited for comes within this time, or the test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A control plane in this process, and the command that speaks to it.
pub(crate) struct Desk {
    pub(crate) control: bellhop_control::app::Running,
    pub(crate) files: tempfile::TempDir,
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|why| panic!("{why}: {}{}", self.out, self.err))
    }

    /// The output, of a command that was to succeed.
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.out, self.err);
        self.out
    }

    /// What was said of a failure, of a command that was to end with this code.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        self.err
    }
}

impl Desk {
    pub(crate) async fn open() -> Self {
        let config = bellhop_control::config::Config::from_args(["--listen=127.0.0.1:0", "--store=memory"]);
        let control = bellhop_control::app::start(config.unwrap()).await.unwrap();
        Self { control, files: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn server(&self) -> String {
        format!("http://{}", self.control.addr())
    }

    pub(crate) async fn run(&self, args: &[&str]) -> Ended {
        self.run_with(args, "").await
    }

    /// Runs the command with something on its standard input.
    pub(crate) async fn run_with(&self, args: &[&str], input: &str) -> Ended {
        run(command(&self.server(), args), input).await
    }

    /// A file of this content.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.files.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    }

    /// A proxy that holds control's routes.
    pub(crate) async fn proxy(&self) -> bellhop_proxy::app::Running {
        self.proxy_of(&self.server()).await
    }

    /// A proxy that holds the routes of the control plane at `server`.
    pub(crate) async fn proxy_of(&self, server: &str) -> bellhop_proxy::app::Running {
        let args = [
            "--listen=127.0.0.1:0".to_owned(),
            "--upstream=127.0.0.1:9".to_owned(),
            "--destination=route:8080".to_owned(),
            format!("--control={server}"),
            "--proxy-id=p1".to_owned(),
            "--admin=127.0.0.1:0".to_owned(),
            "--workers=1".to_owned(),
        ];
        let config = bellhop_proxy::config::Config::from_args(args).unwrap();
        tokio::task::spawn_blocking(|| bellhop_proxy::app::start(config)).await.unwrap().unwrap()
    }
}

pub(crate) fn command(server: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bellhop"));
    command.args(args).env("BELLHOP_SERVER", server).env_remove("BELLHOP_NAMESPACE");
    // nobody's own contexts
    command.env("BELLHOP_CONFIG", "/nonexistent/bellhop.yaml").env_remove("BELLHOP_CONTEXT");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) async fn run(mut command: Command, input: &str) -> Ended {
    let input = input.to_owned();
    let ran = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        // one that reads nothing may have ended already
        child.stdin.take().unwrap().write_all(input.as_bytes()).ok();
        child.wait_with_output().unwrap()
    });
    let Output { status, stdout, stderr } =
        tokio::time::timeout(DEADLINE, ran).await.expect("the command ends").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: status.code().expect("an exit code"), out: text(stdout), err: text(stderr) }
}
