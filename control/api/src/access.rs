//! Who may: roles, and the tokens that carry them. `/v1/tokens` and `/v1/whoami`.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    DnsLabel, Ttl,
    field::{Faults, Invalid},
};

/// What every token of Bellhop begins with, so that scanners for leaked secrets find it.
pub const TOKEN_PREFIX: &str = "bh_";
/// A developer's token with this among its namespaces may edit in all of them.
pub const ANY_NAMESPACE: &str = "*";
/// Most namespaces of one token.
const NAMESPACES: usize = 64;

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Watch routes, and report what is held.
    Proxy,
    /// Read everything but tokens; edit objects in its own namespaces.
    Developer,
    /// Everything, tokens included.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Proxy, Self::Developer, Self::Admin];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Developer => "developer",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text is no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be proxy, developer or admin")]
pub struct RoleError;

impl std::str::FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(RoleError)
    }
}

/// A text that nobody shall read by accident: `Debug` masks it, and there is no `Display`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that has to send or hash it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// `POST /v1/tokens`: what a new token shall be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenRequest {
    /// What it may do.
    pub role: Role,
    /// Where a developer may edit; `*` for everywhere. Of other roles, empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// How long it is good for; 90 days where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// For people: whose it is, and for what. At most 200 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

impl TokenRequest {
    /// Where nobody says how long: 90 days, so that a forgotten token ends by itself.
    pub const DEFAULT_TTL: &str = "90d";

    /// Checks it, and gives its time to live.
    ///
    /// # Errors
    /// Names each faulty field.
    pub fn validate(&self) -> Result<Ttl, Invalid> {
        let mut faults = Faults::default();
        let text = self.ttl.as_deref().unwrap_or(Self::DEFAULT_TTL);
        let ttl = faults.check("ttl", text, text.parse::<Ttl>());
        check_namespaces(self.role, &self.namespaces, &mut faults);
        let chars = self.description.chars().count();
        if chars > 200 || self.description.chars().any(char::is_control) {
            let rule = format_args!("{chars} characters; allowed are 200, none of them a control character");
            faults.push("description", Some(&self.description), rule);
        }
        faults.into_result()?;
        ttl.ok_or_else(|| Invalid::one("ttl", Some(text), "is no time to live"))
    }
}

fn check_namespaces(role: Role, namespaces: &[String], faults: &mut Faults) {
    match role {
        Role::Developer if namespaces.is_empty() => {
            faults.push("namespaces", None, "a developer's token names its namespaces, or * for all");
        }
        Role::Proxy | Role::Admin if !namespaces.is_empty() => {
            faults.push(
                "namespaces",
                namespaces.first().map(String::as_str),
                "only a developer's token has namespaces",
            );
        }
        _ => {}
    }
    if namespaces.len() > NAMESPACES {
        faults.push(
            "namespaces",
            None,
            format_args!("{}; at most {NAMESPACES} are allowed", namespaces.len()),
        );
    }
    for (n, namespace) in namespaces.iter().enumerate().filter(|(_, name)| *name != ANY_NAMESPACE) {
        faults.check(format!("namespaces[{n}]"), namespace, namespace.parse::<DnsLabel>());
    }
}

/// What is known of a token. The token itself is not: control keeps its hash alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenInfo {
    /// Its name in lists, logs and `bellhop token revoke`.
    pub id: String,
    /// What it may do.
    pub role: Role,
    /// Where a developer may edit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
    /// From then on it is refused.
    pub expires_at: Timestamp,
}

/// `GET /v1/tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TokenList {
    /// All tokens, by id.
    pub items: Vec<TokenInfo>,
}

/// The answer to `POST /v1/tokens`: the only time that the token itself is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenCreated {
    /// The token. Control cannot tell it again.
    pub token: Secret,
    /// What is known of it.
    #[serde(flatten)]
    pub info: TokenInfo,
}

/// `GET /v1/whoami`: whom control takes the caller for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WhoAmI {
    /// `token:ID`, `certificate:NAME`, what a TokenReview said, or `anonymous`.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Where a developer may edit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// When this ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_asked_for_with_namespaces_where_its_role_has_some_and_each_fault_names_its_field() {
        let ask = |role, namespaces: &[&str], ttl: Option<&str>, description: &str| {
            let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
            let request = TokenRequest {
                role,
                namespaces,
                ttl: ttl.map(str::to_owned),
                description: description.to_owned(),
            };
            match request.validate() {
                Ok(_) => String::new(),
                Err(invalid) => {
                    invalid.errors.iter().map(|each| each.field.clone()).collect::<Vec<_>>().join(" ")
                }
            }
        };
        assert_eq!(ask(Role::Developer, &["shop", "pay"], Some("30d"), "ci of the shop"), "");
        assert_eq!(ask(Role::Developer, &["*"], None, ""), "");
        assert_eq!(ask(Role::Proxy, &[], None, ""), "");
        assert_eq!(ask(Role::Developer, &[], None, ""), "namespaces");
        assert_eq!(ask(Role::Admin, &["shop"], None, ""), "namespaces");
        assert_eq!(
            ask(Role::Developer, &["a", "B_"], Some("never"), &"x".repeat(201)),
            "ttl namespaces[1] description"
        );
        assert_eq!(ask(Role::Proxy, &[], None, "two\nlines"), "description");
    }

    #[test]
    fn a_secret_is_not_shown_by_debug() {
        let created = Secret::new("bh_hidden");
        assert_eq!(format!("{created:?} {:?}", Some(&created)), "*** Some(***)");
        assert_eq!(created.reveal(), "bh_hidden");
    }
}
