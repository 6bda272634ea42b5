//! A control plane without sockets, for tests under paused time.

use std::sync::Arc;

use bellhop_api::{Manifest, Phase, Problem};
use bellhop_route::plan::ObjectName;
use serde_json::json;
use tokio::task::JoinSet;

use super::Control;
use crate::{
    author::{Author, How},
    clock::Clock,
    expiry,
    names::{Resolver, SystemLookup},
    networks::Networks,
    record::name_of,
    replicas::Alone,
    store::fake::Fake,
};

/// See the module.
pub(crate) struct Plane {
    pub(crate) author: Author,
    pub(crate) tasks: JoinSet<()>,
}

impl Plane {
    pub(crate) async fn start(store: &Arc<Fake>, clock: Clock) -> Self {
        let control = Control::new(
            Arc::<Fake>::clone(store),
            clock,
            Networks::private(false),
            Box::new(SystemLookup),
            Arc::new(Alone::default()),
        );
        let control = Arc::new(control.await.unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&control).follow());
        tasks.spawn(expiry::run(Arc::clone(&control)));
        Self { author: Author { control, resolver: Arc::new(Resolver::default()) }, tasks }
    }

    pub(crate) async fn apply(&self, name: &str, ttl: &str, renew: bool) -> Result<Manifest, Problem> {
        self.apply_keyed(name, name, ttl, renew).await
    }

    pub(crate) async fn apply_keyed(
        &self,
        name: &str,
        key: &str,
        ttl: &str,
        renew: bool,
    ) -> Result<Manifest, Problem> {
        let (name, object) = sandbox(name, key, ttl);
        let how = How { renew, ..How::default() };
        Ok(self.author.write(&name, &|_| Ok(object.clone()), &how).await?.object)
    }

    /// Phase of a sandbox; none where nobody sees it.
    pub(crate) fn phase(&self, name: &str) -> Option<Phase> {
        let world = self.author.control.world();
        let found = world
            .all()
            .find(|(each, held)| each.name.name.as_str() == name && held.stored.deleted_until.is_none());
        found.map(|(_, held)| held.status.phase)
    }

    /// Whether a key is gone; none where it is not known.
    pub(crate) fn gone(&self, key: &str) -> Option<bool> {
        self.author.control.feed.key(key).map(|form| form.unit.gone)
    }
}

/// A sandbox of one service, and its name.
pub(crate) fn sandbox(name: &str, key: &str, ttl: &str) -> (ObjectName, Manifest) {
    let overrides = json!([{ "service": "route", "port": 8080, "endpoints": ["10.0.0.7:80"] }]);
    let object = json!({ "apiVersion": bellhop_api::API_VERSION, "kind": "Sandbox", "metadata": { "name": name },
                         "spec": { "routingKey": key, "ttl": ttl, "overrides": overrides } });
    let object = Manifest::from_value(object).unwrap();
    (name_of(object.kind(), object.metadata()).unwrap(), object)
}
