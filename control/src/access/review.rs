//! Tokens that others have issued: whoever can judge them, in a cluster the API server's TokenReview.

use bellhop_api::access::{Role, Secret};
use futures_util::future::BoxFuture;

/// What a reviewer found out about a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reviewed {
    /// Whose it is, such as `system:serviceaccount:shop:ci`.
    pub(crate) user: String,
    /// What that one may do.
    pub(crate) role: Role,
    /// Where a developer may edit.
    pub(crate) namespaces: Vec<String>,
}

/// Why a token could not be judged.
#[derive(Debug, thiserror::Error)]
#[error("the token cannot be judged now: {0}")]
pub(crate) struct ReviewError(pub(crate) String);

/// Judges tokens that are not Bellhop's own. `None`: not good, or not meant for audience `bellhop`.
pub(crate) trait TokenReview: Send + Sync + 'static {
    /// Judges one token; the implementation remembers answers for a short while where asking is dear.
    fn review<'a>(&'a self, token: &'a Secret) -> BoxFuture<'a, Result<Option<Reviewed>, ReviewError>>;
}

/// Tokens that are known beforehand.
#[cfg(test)]
pub(crate) struct StaticReview(pub(crate) Vec<(&'static str, Reviewed)>);

#[cfg(test)]
impl TokenReview for StaticReview {
    fn review<'a>(&'a self, token: &'a Secret) -> BoxFuture<'a, Result<Option<Reviewed>, ReviewError>> {
        let found = self.0.iter().find(|(known, _)| *known == token.reveal());
        let answer = match token.reveal() {
            "unjudged" => Err(ReviewError("nobody answers".to_owned())),
            _ => Ok(found.map(|(_, reviewed)| reviewed.clone())),
        };
        Box::pin(async move { answer })
    }
}
