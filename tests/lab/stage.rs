//! A small network for one case: a `caller` with a proxy, two versions of a `callee`, and a control plane.

use std::net::SocketAddr;

use anyhow::Result;
use bellhop_e2e::{Host, Network, Reply, TestApp, TestControl, TestProxy, client};

/// Where the callee is dialled, and where both versions of it listen.
pub(crate) const PORT: u16 = 8080;

/// Ends in this order: proxies, servers, control plane, network.
pub(crate) struct Stage {
    pub(crate) proxy: TestProxy,
    pub(crate) baseline: TestApp,
    pub(crate) sandbox: TestApp,
    pub(crate) control: TestControl,
    pub(crate) network: Network,
}

impl Stage {
    /// The stage with an intercepting proxy at the caller that has these further arguments, and the sandbox `pr`.
    pub(crate) fn set(arguments: &[&str]) -> Result<Self> {
        Self::with_hosts(&[], arguments)
    }

    /// The same with more hosts.
    pub(crate) fn with_hosts(more: &[&str], arguments: &[&str]) -> Result<Self> {
        let network = Network::with_hosts(&[&["caller", "callee", "sandbox", "control"], more].concat())?;
        let control = TestControl::start(network.host("control"))?;
        let baseline = TestApp::http(network.host("callee"), PORT, "baseline")?;
        let sandbox = TestApp::http(network.host("sandbox"), PORT, "pr")?;
        let url = control.url();
        let snapshot = TestProxy::snapshot(network.host("caller"));
        let ours = ["--control", &url, "--proxy-id", "caller", "--snapshot", &snapshot.to_string_lossy()];
        let proxy = TestProxy::intercepting(network.host("caller"), &[], &[&ours, arguments].concat())?;
        let stage = Self { proxy, baseline, sandbox, control, network };
        let sandbox = manifest("pr", "callee", &stage.sandbox.v4().to_string(), "");
        stage.control.apply(&format!("{}{sandbox}", service(stage.host("callee"))))?;
        Ok(stage)
    }

    pub(crate) fn host(&self, name: &str) -> &Host {
        self.network.host(name)
    }

    /// What the caller gets who dials the callee, HTTP/1.1.
    pub(crate) fn call(&self, key: &str) -> Result<Reply> {
        self.call_at(self.baseline.v4(), key)
    }

    /// What the caller gets who dials this address, HTTP/1.1; an empty key is none.
    pub(crate) fn call_at(&self, to: SocketAddr, key: &str) -> Result<Reply> {
        let baggage = format!("routing-key={key}");
        let headers = [("baggage", &*baggage)];
        client::get(self.host("caller"), to, "/", if key.is_empty() { &[] } else { &headers })
    }
}

/// A service that is its one host.
pub(crate) fn service(host: &Host) -> String {
    let Host { name, v4, v6, .. } = host;
    format!(
        "apiVersion: bellhop.dev/v1alpha1\nkind: Service\nmetadata: {{name: {name}}}\nspec:\n  \
         ports: [{{name: main, port: {PORT}}}]\n  addresses: ['{v4}', '{v6}']\n  workloads: ['{v4}', '{v6}']\n---\n"
    )
}

/// A sandbox with one override; `more` are further lines of the override.
pub(crate) fn manifest(name: &str, service: &str, endpoint: &str, more: &str) -> String {
    format!(
        "apiVersion: bellhop.dev/v1alpha1\nkind: Sandbox\nmetadata: {{name: {name}}}\nspec:\n  overrides:\n  \
         - service: {service}\n    port: {PORT}\n    endpoints: ['{endpoint}']\n{more}---\n"
    )
}
