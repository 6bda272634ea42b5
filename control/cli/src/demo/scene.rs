//! What the demo starts: an embedded control plane, a chain of three services with a proxy in front of each, and a
//! sandbox of the last and one of the middle service.

use std::{net::SocketAddr, time::Duration};

use bellhop_api::{
    Override, RoutingKey, Sandbox, SandboxSpec, Service as ServiceObject, ServiceSpec, answers::InForce,
};
use bellhop_client::Credentials;
use http::Method;
use tokio::time::Instant;

use super::{
    CannotStart,
    service::{Role, Service},
};
use crate::{client::Client, commands::still_open, output::Paint};

/// The services, each calling the next.
pub(super) const CHAIN: [&str; 3] = ["frontend", "customer", "route"];
/// The port that the chain's services are known by.
const PORT: u16 = 8080;
/// The sandboxes: routing key, and the service that it replaces.
const SANDBOXES: [(&str, &str); 2] = [("pr-15", "route"), ("pr-16", "customer")];
/// How long routes may take to be in force.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(10);

/// All that runs. Dropping it ends all of it: proxies first, so that none of them misses control.
pub(super) struct Scene {
    proxies: Vec<Proxy>,
    services: Vec<Service>,
    control: bellhop_control::app::Running,
    /// Control's data, removed with the scene.
    _data: tempfile::TempDir,
}

struct Proxy {
    address: SocketAddr,
    _running: bellhop_proxy::app::Running,
}

impl Scene {
    /// Starts everything, and returns when the sandboxes are in force on all three proxies.
    ///
    /// # Errors
    /// What could not be started.
    pub(super) async fn set() -> Result<Self, CannotStart> {
        let data =
            tempfile::tempdir().map_err(|why| CannotStart::new("a directory for control's data", why))?;
        let control = start_control(&data).await?;
        let server = format!("http://{}", control.addr());
        let mut scene = Self { proxies: Vec::new(), services: Vec::new(), control, _data: data };
        // From the last to the first: each needs to know where the next one's proxy listens.
        let mut next = None;
        let mut sandboxed = Vec::new();
        for service in CHAIN.into_iter().rev() {
            let baseline = scene.serve(service, "baseline", next).await?;
            for (key, _) in SANDBOXES.into_iter().filter(|(_, replaced)| *replaced == service) {
                sandboxed.push((key, service, scene.serve(service, key, next).await?));
            }
            next = Some(scene.stand_beside(service, baseline, &server).await?);
        }
        let client = Client::new(&server, Credentials::default())
            .map_err(|why| CannotStart::new("a client of control", why))?;
        for service in CHAIN {
            apply_service(&client, service).await?;
        }
        for (key, service, endpoint) in sandboxed {
            apply_sandbox(&client, key, service, endpoint).await?;
        }
        for (key, _) in SANDBOXES {
            in_force(&client, key).await?;
        }
        Ok(scene)
    }

    async fn serve(
        &mut self,
        service: &'static str,
        version: &'static str,
        next: Option<SocketAddr>,
    ) -> Result<SocketAddr, CannotStart> {
        let started = Service::start(Role { service, version, next }).await;
        let started = started.map_err(|why| CannotStart::new("a service", why))?;
        let address = started.address;
        self.services.push(started);
        Ok(address)
    }

    /// Starts the proxy in front of a service's baseline; returns where it listens.
    async fn stand_beside(
        &mut self,
        service: &str,
        baseline: SocketAddr,
        server: &str,
    ) -> Result<SocketAddr, CannotStart> {
        let args = [
            "--listen=127.0.0.1:0".to_owned(),
            format!("--upstream={baseline}"),
            format!("--destination={service}:{PORT}"),
            format!("--control={server}"),
            format!("--proxy-id=demo-{service}"),
            format!("--workload={service}"),
            "--admin=127.0.0.1:0".to_owned(),
            "--workers=1".to_owned(),
            "--access-log=off".to_owned(),
            "--allow-loopback-endpoints".to_owned(),
        ];
        let config = bellhop_proxy::config::Config::from_args(args)
            .map_err(|why| CannotStart::new("a proxy's configuration", why))?;
        // It binds and starts threads; that may block.
        let running = tokio::task::spawn_blocking(|| bellhop_proxy::app::start(config)).await;
        let running = running.map_err(|why| CannotStart::new("a proxy", why))?;
        let running = running.map_err(|why| CannotStart::new("a proxy", why))?;
        let address = running.addresses().first().copied();
        let address = address.ok_or_else(|| CannotStart::new("a proxy", "it listens nowhere"))?;
        self.proxies.push(Proxy { address, _running: running });
        Ok(address)
    }

    /// Where a request enters: the proxy in front of the first service.
    pub(super) fn entry(&self) -> SocketAddr {
        // made last, since the chain is built from its end
        self.proxies.last().map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)), |proxy| proxy.address)
    }

    /// The versions that a request with these keys must meet, from the first service to the last.
    pub(super) fn expected(&self, keys: &str) -> Vec<String> {
        let version = |service: &str| {
            let sandbox = SANDBOXES
                .iter()
                .find(|(key, replaced)| *replaced == service && keys.split(':').any(|k| k == *key));
            sandbox.map_or("baseline", |(key, _)| *key).to_owned()
        };
        CHAIN.into_iter().map(version).collect()
    }

    /// What stands where.
    pub(super) fn picture(&self, paint: Paint) -> String {
        let chain = CHAIN.join(" → ");
        let sandboxes: Vec<_> = SANDBOXES
            .iter()
            .map(|(key, service)| format!("{} replaces {service}", paint.sandbox(key)))
            .collect();
        format!(
            "\n  services   {chain}   (a proxy in front of each)\n  sandboxes  {}\n",
            sandboxes.join(", ")
        )
    }

    /// What to type while it all runs.
    pub(super) fn instructions(&self, paint: Paint) -> String {
        let entry = self.entry();
        let server = format!("http://{}", self.control.addr());
        let lines = [
            format!("curl http://{entry}/"),
            format!("curl -i -H 'baggage: routing-key=pr-15' http://{entry}/"),
            format!("curl -H 'baggage: routing-key=pr-15:pr-16' http://{entry}/"),
            format!("curl -N '{server}/v1/routes?watch=true'"),
            format!("export BELLHOP_SERVER={server}"),
            "bellhop explain --key pr-15 --to route:8080".to_owned(),
            "bellhop sandbox delete pr-15     # then ask again: the answer says why".to_owned(),
            "bellhop proxies".to_owned(),
        ];
        let lines: Vec<_> = lines.iter().map(|line| format!("  {line}")).collect();
        format!(
            "{}\n{}\n\n{}",
            paint.bold("It keeps running. Try:"),
            lines.join("\n"),
            paint.dim("Ctrl-C ends all of it.")
        )
    }
}

async fn start_control(data: &tempfile::TempDir) -> Result<bellhop_control::app::Running, CannotStart> {
    let args = ["--listen=127.0.0.1:0".to_owned(), format!("--data-dir={}", data.path().display())];
    let config = bellhop_control::config::Config::from_args(args)
        .map_err(|why| CannotStart::new("control's configuration", why))?;
    bellhop_control::app::start(config).await.map_err(|why| CannotStart::new("the control plane", why))
}

async fn apply_service(client: &Client, name: &str) -> Result<(), CannotStart> {
    let spec = ServiceSpec {
        ports: vec![bellhop_api::Port { name: None, port: PORT, target_port: None }],
        ..ServiceSpec::default()
    };
    let object = ServiceObject::new(bellhop_api::DEFAULT_NAMESPACE, name, spec);
    let path = format!("/v1/namespaces/default/services/{name}");
    client
        .send(Method::PUT, &path, Some(&object))
        .await
        .map_err(|why| CannotStart::new("a service object", why))?;
    Ok(())
}

async fn apply_sandbox(
    client: &Client,
    key: &str,
    service: &str,
    endpoint: SocketAddr,
) -> Result<(), CannotStart> {
    let overridden = Override {
        service: service.to_owned(),
        port: Some(PORT),
        endpoints: vec![endpoint.to_string()],
        ..Override::default()
    };
    let spec =
        SandboxSpec { ttl: Some("1h".to_owned()), overrides: vec![overridden], ..SandboxSpec::default() };
    let object = Sandbox::new(bellhop_api::DEFAULT_NAMESPACE, key, spec);
    let path = format!("/v1/namespaces/default/sandboxes/{key}");
    client.send(Method::PUT, &path, Some(&object)).await.map_err(|why| CannotStart::new("a sandbox", why))?;
    Ok(())
}

/// Waits until all three proxies hold the key.
async fn in_force(client: &Client, key: &str) -> Result<(), CannotStart> {
    let key: RoutingKey = key.parse().map_err(|why| CannotStart::new("a key", why))?;
    let deadline = Instant::now() + IN_FORCE_WITHIN;
    loop {
        let now: InForce = client
            .get(&format!("/v1/keys/{key}/in-force"))
            .await
            .map_err(|why| CannotStart::new("a question to control", why))?;
        if now.in_force && now.proxies == CHAIN.len() as u64 {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(CannotStart::new("the routes", not_in_force(&now)));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn not_in_force(now: &InForce) -> String {
    let open = if now.in_force { format!("{} alone hold it", now.proxies) } else { still_open(now) };
    let seconds = IN_FORCE_WITHIN.as_secs();
    format!("{} is not in force on {} proxies after {seconds} s: {open}", now.key, CHAIN.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_that_are_not_in_force_in_time_are_told_in_words() {
        let now = InForce {
            key: "pr-15".parse().unwrap(),
            in_force: false,
            digest: String::new(),
            proxies: 2,
            waiting_for: vec!["demo-route".to_owned()],
            lost: Vec::new(),
            unanswered: Vec::new(),
        };
        let words =
            "pr-15 is not in force on 3 proxies after 10 s: 2 proxies counted, waiting for demo-route";
        assert_eq!(not_in_force(&now), words);
    }
}
