//! Who calls, and what that one may do.
//!
//! A caller is known by a bearer token, by a client certificate, or by what a reviewer says of a foreign token. Where
//! nobody is asked (loopback, `--insecure`) it is `anonymous` and may do everything; a token that is shown must be good
//! even there. What a path needs is said in one table, `need`; what is not in it needs an admin.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bellhop_api::{
    Problem, ProblemType,
    access::{ANY_NAMESPACE, Role, Secret, TOKEN_PREFIX, WhoAmI},
};
use http::{HeaderMap, Method, header};
use jiff::Timestamp;
use tokio::{sync::watch, time::sleep};

pub(crate) mod audit;
pub(crate) mod bootstrap;
mod certificate;
pub(crate) mod rates;
mod review;
pub(crate) mod token;
mod tokens;

pub use audit::AuditTarget;
pub(crate) use certificate::Identity;
pub use certificate::{IdentityRule, IdentityRuleError};
pub(crate) use review::TokenReview;
pub(crate) use tokens::Tokens;

use self::{
    rates::{Buckets, Rate},
    token::TokenHash,
};
use crate::clock::Clock;

/// The clock is looked at this often: it may have been set.
const LOOK: Duration = Duration::from_secs(5);
/// A reviewer is asked again at least this often: it alone knows when its tokens end.
const REVIEWED_FOR: Duration = Duration::from_secs(600);
/// Failures to say who calls, for each address: people who mistype and fleets whose token has expired stay below it.
const FAILURES: Rate = Rate { each_second: 20.0, at_once: 200.0 };
/// Requests of one caller, watches and reports apart: half of what all together may write.
const REQUESTS: Rate = Rate { each_second: 1_000.0, at_once: 5_000.0 };

/// Where a request comes from.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The certificate that TLS has checked.
    pub(crate) identity: Option<Arc<Identity>>,
}

/// Who calls.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) namespaces: Vec<String>,
    /// From then on it is nobody.
    pub(crate) until: Option<Timestamp>,
    /// Ends when its token is revoked.
    lives: Option<watch::Receiver<()>>,
}

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need<'a> {
    /// Nothing: health, version, the document of the API.
    Nothing,
    /// To be somebody.
    Somebody,
    /// To watch routes: every role may.
    Watch,
    /// To speak as a proxy.
    Report,
    /// To read objects, routes, proxies.
    Read,
    /// To edit objects of a namespace.
    Edit(&'a str),
    /// To be an admin.
    Admin,
}

/// What a request needs, by the path that the router has matched, and the path as it was sent.
pub(crate) fn need<'a>(method: &Method, matched: Option<&str>, path: &'a str) -> Need<'a> {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match matched {
        // no such path: there is nothing to protect
        None => Need::Nothing,
        Some("/livez" | "/readyz" | "/version" | "/openapi.json") => Need::Nothing,
        // they ask for the secret of replicas themselves
        Some("/internal/v1/proxies" | "/internal/v1/in-force" | "/internal/v1/status") => Need::Nothing,
        Some("/v1/whoami") => Need::Somebody,
        Some("/v1/routes") => Need::Watch,
        Some("/v1/proxies/{id}") => Need::Report,
        Some(
            "/v1/{kind}"
            | "/v1/explain"
            | "/v1/keys/{key}/in-force"
            | "/v1/proxies"
            | "/v1/status"
            | "/metrics",
        ) if reads => Need::Read,
        Some(matched) if reads && matched.starts_with("/v1/namespaces/{namespace}/") => Need::Read,
        // a namespace is a DNS label: one that was sent in another spelling is nobody's
        Some(matched) if matched.starts_with("/v1/namespaces/{namespace}/") => {
            Need::Edit(path.split('/').nth(3).unwrap_or_default())
        }
        // tokens, backups, and whatever is new
        Some(_) => Need::Admin,
    }
}

impl Caller {
    /// Where nobody is asked.
    fn anonymous() -> Self {
        Self { name: "anonymous".into(), role: Role::Admin, namespaces: Vec::new(), until: None, lives: None }
    }

    /// Whether this caller may.
    ///
    /// # Errors
    /// Says what it would need.
    pub(crate) fn may(&self, need: Need<'_>) -> Result<(), Problem> {
        let roles = match need {
            Need::Nothing | Need::Somebody | Need::Watch => return Ok(()),
            Need::Edit(namespace) if self.role == Role::Developer => return self.may_edit(namespace),
            Need::Report => &[Role::Proxy, Role::Admin][..],
            Need::Read => &[Role::Developer, Role::Admin],
            Need::Edit(_) => &[Role::Developer, Role::Admin],
            Need::Admin => &[Role::Admin],
        };
        if roles.contains(&self.role) {
            return Ok(());
        }
        let allowed: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
        let detail = format!("{} has the role {}; this needs {}", self.name, self.role, allowed.join(" or "));
        Err(Problem::new(ProblemType::Forbidden, detail))
    }

    fn may_edit(&self, namespace: &str) -> Result<(), Problem> {
        if self.namespaces.iter().any(|own| own == ANY_NAMESPACE || own == namespace) {
            return Ok(());
        }
        let rule = format!("{} may edit in {} alone", self.name, self.namespaces.join(", "));
        Err(Problem::new(ProblemType::Forbidden, rule.clone()).at(
            "metadata.namespace",
            Some(namespace),
            rule,
        ))
    }

    /// Returns when the caller is nobody any more: its token has expired or was revoked, its certificate has ended.
    pub(crate) async fn ended(mut self, clock: Clock) {
        if self.until.is_none() && self.lives.is_none() {
            return std::future::pending().await;
        }
        loop {
            let left = self
                .until
                .map(|until| Duration::try_from(until.duration_since(clock.now())).unwrap_or_default());
            if left.is_some_and(|left| left.is_zero()) {
                return;
            }
            let lives = async {
                match &mut self.lives {
                    Some(lives) => drop(lives.changed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = lives => return,
                () = sleep(left.unwrap_or(LOOK).min(LOOK)) => {}
            }
        }
    }

    /// What the caller is told of itself.
    pub(crate) fn whoami(&self) -> WhoAmI {
        WhoAmI {
            name: self.name.clone(),
            role: self.role,
            namespaces: self.namespaces.clone(),
            expires_at: self.until,
        }
    }
}

/// See the module.
pub(crate) struct Access {
    /// Nobody is asked.
    open: bool,
    rules: Vec<IdentityRule>,
    review: Option<Arc<dyn TokenReview>>,
    failures: Buckets<IpAddr>,
    requests: Buckets<String>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Access {
    pub(crate) fn new(open: bool, rules: Vec<IdentityRule>, review: Option<Arc<dyn TokenReview>>) -> Self {
        Self { open, rules, review, failures: Buckets::new(FAILURES), requests: Buckets::new(REQUESTS) }
    }

    /// Finds out who calls.
    ///
    /// # Errors
    /// 401 where nobody knows; 403 for a certificate without a role; 429 after too many failures from one address; 503
    /// where a reviewer does not answer.
    pub(crate) async fn authenticate(
        &self,
        tokens: &Tokens,
        headers: &HeaderMap,
        peer: &Peer,
        now: Timestamp,
    ) -> Result<Caller, Problem> {
        let found = match (bearer(headers), &peer.identity) {
            (Some(shown), _) => match shown {
                Ok(token) => self.by_token(tokens, &token, now).await,
                Err(problem) => Err(problem),
            },
            (None, Some(identity)) => self.by_certificate(identity, now),
            (None, None) if self.open => return Ok(Caller::anonymous()),
            (None, None) => {
                Err(unknown("no token and no client certificate; send Authorization: Bearer TOKEN"))
            }
        };
        match found {
            Err(problem) if problem.status == 401 && !self.failures.take(peer.address.ip()) => {
                Err(Problem::new(ProblemType::TooManyRequests, "too many failures from this address"))
            }
            found => found,
        }
    }

    /// Counts a request of a caller.
    ///
    /// # Errors
    /// 429 beyond what one caller may.
    pub(crate) fn count(&self, caller: &Caller, need: Need<'_>) -> Result<(), Problem> {
        // a whole fleet may share a token; and where nobody is asked, all are one
        let apart = matches!(need, Need::Nothing | Need::Watch | Need::Report);
        if apart || self.open || self.requests.take(caller.name.clone()) {
            return Ok(());
        }
        let detail = format!(
            "more than {} requests a second of {}; try again in a moment",
            REQUESTS.each_second, caller.name
        );
        Err(Problem::new(ProblemType::TooManyRequests, detail))
    }

    async fn by_token(&self, tokens: &Tokens, token: &Secret, now: Timestamp) -> Result<Caller, Problem> {
        if let Some(found) = tokens.find(&TokenHash::of(token.reveal())) {
            let info = &found.info;
            if info.expires_at <= now {
                return Err(unknown(&format!("token {} has expired at {}", info.id, info.expires_at)));
            }
            return Ok(Caller {
                name: format!("token:{}", info.id),
                role: info.role,
                namespaces: info.namespaces.clone(),
                until: Some(info.expires_at),
                lives: Some(found.lives()),
            });
        }
        let Some(review) = self.review.as_ref().filter(|_| !token.reveal().starts_with(TOKEN_PREFIX)) else {
            return Err(unknown("this token is not known here, or was revoked"));
        };
        match review.review(token).await {
            Ok(Some(found)) => Ok(Caller {
                name: format!("review:{}", found.user),
                role: found.role,
                namespaces: found.namespaces,
                until: now.checked_add(REVIEWED_FOR).ok(),
                lives: None,
            }),
            Ok(None) => Err(unknown("this token is not good, or not meant for bellhop")),
            Err(error) => Err(Problem::new(ProblemType::Unavailable, error.to_string())),
        }
    }

    fn by_certificate(&self, identity: &Identity, now: Timestamp) -> Result<Caller, Problem> {
        if identity.until <= now {
            return Err(unknown(&format!("the client certificate has ended at {}", identity.until)));
        }
        let given = self
            .rules
            .iter()
            .find_map(|rule| Some((rule, identity.names.iter().find(|name| rule.matches(name))?)));
        let Some((rule, name)) = given else {
            let names = identity.names.join(", ");
            let detail = format!("no --client-identity gives a role to the certificate of {names}");
            return Err(Problem::new(ProblemType::Forbidden, detail));
        };
        Ok(Caller {
            name: format!("certificate:{name}"),
            role: rule.role,
            namespaces: rule.namespaces.clone(),
            until: Some(identity.until),
            lives: None,
        })
    }
}

fn unknown(detail: &str) -> Problem {
    Problem::new(ProblemType::Unauthorized, detail)
}

/// The token of an `Authorization: Bearer`; a field that is there and says something else is a fault.
fn bearer(headers: &HeaderMap) -> Option<Result<Secret, Problem>> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let field = fields.next()?;
    let token = field
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty());
    Some(match (token, fields.next()) {
        (Some((_, token)), None) => Ok(Secret::new(token.trim())),
        _ => Err(unknown("Authorization must be there once, as: Bearer TOKEN")),
    })
}

#[cfg(test)]
mod tests;
