//! Query parameters: typed, and none that is not known. All faults are told at once, each with the parameter, what stood
//! there and what is allowed.

use std::{fmt::Display, ops::RangeInclusive, str::FromStr};

use axum::extract::FromRequestParts;
use bellhop_api::{FieldError, Invalid, Problem, ProblemType};
use http::{Uri, request::Parts};

use super::Failure;

/// Objects on a page at most.
const LARGEST_PAGE: usize = 5_000;

/// Query parameters of a type that refuses what it does not know.
#[derive(Debug)]
pub(super) struct Strict<T>(pub(super) T);

/// What a path reads of its query.
pub(super) trait Parameters: Sized {
    /// Asks for every parameter that there is; none where one is missing or faulty without which it cannot go on.
    fn read(query: &mut Query) -> Option<Self>;
}

impl<T: Parameters, S: Send + Sync> FromRequestParts<S> for Strict<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parse(&parts.uri)?))
    }
}

fn parse<T: Parameters>(uri: &Uri) -> Result<T, Problem> {
    let mut query = Query::of(uri);
    let read = T::read(&mut query);
    let errors = query.faults();
    match read {
        Some(read) if errors.is_empty() => Ok(read),
        _ => {
            let invalid = Invalid { errors };
            let problem = Problem::new(ProblemType::BadRequest, invalid.to_string());
            Err(Problem { errors: invalid.errors, ..problem })
        }
    }
}

/// A query while it is read.
#[derive(Debug)]
pub(super) struct Query {
    left: Vec<(String, String)>,
    allowed: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl Query {
    fn of(uri: &Uri) -> Self {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        Self { left: pairs.into_owned().collect(), allowed: Vec::new(), errors: Vec::new() }
    }

    fn fault(&mut self, name: &str, value: Option<&str>, rule: impl Display) {
        self.errors.extend(Invalid::one(name, value, rule).errors);
    }

    /// Takes another spelling of a parameter for it.
    pub(super) fn alias(&mut self, other: &str, name: &str) {
        for (given, _) in self.left.iter_mut().filter(|(given, _)| given == other) {
            name.clone_into(given);
        }
    }

    /// A parameter as it stands there.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.allowed.push(name);
        let given: Vec<_> = self.left.extract_if(.., |(given, _)| given == name).collect();
        let mut values = given.into_iter().map(|(_, value)| value);
        let first = values.next();
        for again in values {
            self.fault(name, Some(&again), "may be given once");
        }
        first
    }

    /// A parameter that means something.
    pub(super) fn parsed<T>(
        &mut self,
        name: &'static str,
        rule: impl Display,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.fault(name, Some(&text), rule);
        }
        parsed
    }

    /// A number within bounds.
    pub(super) fn number<T>(&mut self, name: &'static str, within: RangeInclusive<T>) -> Option<T>
    where
        T: FromStr + PartialOrd + Display,
    {
        let rule = format!("must be a whole number from {} to {}", within.start(), within.end());
        self.parsed(name, rule, |text| text.parse().ok().filter(|number| within.contains(number)))
    }

    /// `true`, `false`, and `All`, which is how Kubernetes says `true` of a dry run.
    pub(super) fn flag(&mut self, name: &'static str) -> bool {
        let parse = |text: &str| match text {
            "true" | "1" | "All" => Some(true),
            "false" | "0" | "" => Some(false),
            _ => None,
        };
        self.parsed(name, "must be true or false", parse).unwrap_or_default()
    }

    /// Notes that a parameter is missing, unless its own fault is told already.
    pub(super) fn needed<T>(&mut self, name: &'static str, found: Option<T>) -> Option<T> {
        if found.is_none() && self.errors.iter().all(|error| error.field != name) {
            self.fault(name, None, "must be given");
        }
        found
    }

    /// All that is wrong with it, what nobody asked for included.
    fn faults(mut self) -> Vec<FieldError> {
        let rule = match &*self.allowed {
            [] => "no parameter is allowed here".to_owned(),
            allowed => format!("not known here; allowed are {}", allowed.join(", ")),
        };
        for (name, value) in std::mem::take(&mut self.left) {
            self.fault(&name, Some(&value), &rule);
        }
        self.errors
    }
}

/// Of a write.
#[derive(Debug)]
pub(super) struct WriteQuery {
    /// Everything but the write.
    pub(super) dry_run: bool,
}

impl Parameters for WriteQuery {
    fn read(query: &mut Query) -> Option<Self> {
        Some(Self { dry_run: query.flag("dryRun") })
    }
}

/// Whether a write is asked for without being written, as those who answer it read that. One that they refuse is none.
pub(super) fn is_dry_run(uri: &Uri) -> bool {
    parse::<WriteQuery>(uri).is_ok_and(|query| query.dry_run)
}

/// Of a list.
#[derive(Debug)]
pub(super) struct ListQuery {
    pub(super) label_selector: Option<String>,
    pub(super) limit: Option<usize>,
    pub(super) continue_token: Option<String>,
}

impl Parameters for ListQuery {
    fn read(query: &mut Query) -> Option<Self> {
        Some(Self {
            label_selector: query.text("labelSelector"),
            limit: query.number("limit", 1..=LARGEST_PAGE),
            continue_token: query.text("continue"),
        })
    }
}

/// Of nothing.
#[derive(Debug)]
pub(super) struct NoQuery {}

impl Parameters for NoQuery {
    fn read(_: &mut Query) -> Option<Self> {
        Some(Self {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_answered_as_a_dry_run_is_one() {
        for (query, is) in [
            ("dryRun=true", true),
            ("dryRun=1", true),
            ("dryRun=All", true),
            ("dry%52un=tru%65", true),
            ("dryRun=false", false),
            ("dryRun=0", false),
            ("dryRun=", false),
            ("dryRun=perhaps", false),
            ("notdryRun=true", false),
            ("", false),
        ] {
            let uri = format!("/v1/namespaces/shop/sandboxes/a?{query}").parse().unwrap();
            assert_eq!(is_dry_run(&uri), is, "{query}");
        }
    }
}
