//! Label selectors, as the Kubernetes API has them: `matchLabels` and `matchExpressions` in manifests, one line of text
//! in the `labelSelector` query parameter.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::field::Faults;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Which objects are meant. All parts must hold; an empty selector matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// Labels that must be there with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: Labels,
    /// Further conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Expression>,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expression {
    /// The label's key.
    pub key: String,
    /// How its value is compared.
    pub operator: Operator,
    /// With what; only for `In` and `NotIn`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operator {
    /// The label is there with one of the values.
    In,
    /// The label is not there, or with none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

impl Selector {
    /// Whether an object with these labels is meant.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|expression| expression.matches(labels))
    }

    /// Whether it matches everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    pub(crate) fn check(&self, field: &str, faults: &mut Faults) {
        check_labels(&format!("{field}.matchLabels"), &self.match_labels, faults);
        for (n, expression) in self.match_expressions.iter().enumerate() {
            let field = format!("{field}.matchExpressions[{n}]");
            faults.check(format!("{field}.key"), &expression.key, check_key(&expression.key));
            for (n, value) in expression.values.iter().enumerate() {
                faults.check(format!("{field}.values[{n}]"), value, check_value(value));
            }
            let wants = matches!(expression.operator, Operator::In | Operator::NotIn);
            if wants == expression.values.is_empty() {
                let rule = "In and NotIn take at least one value, Exists and DoesNotExist take none";
                faults.push(format!("{field}.values"), None, rule);
            }
        }
    }
}

impl Expression {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            Operator::In => listed,
            Operator::NotIn => !listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

/// Why a text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a label selector; write key=value, key!=value, key in (a,b), key notin (a,b), key or !key, joined by commas"
)]
pub struct SelectorError(String);

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || SelectorError(text.chars().take(80).collect());
        let mut match_expressions = Vec::new();
        for part in requirements(text).filter(|part| !part.is_empty()) {
            let expression = requirement(part).ok_or_else(error)?;
            let values = expression.values.iter().all(|value| check_value(value).is_ok());
            if check_key(&expression.key).is_err() || !values {
                return Err(error());
            }
            match_expressions.push(expression);
        }
        Ok(Self { match_labels: Labels::new(), match_expressions })
    }
}

/// Splits at commas outside parentheses.
fn requirements(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0usize;
    text.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
    .map(str::trim)
}

fn requirement(part: &str) -> Option<Expression> {
    let one = |key: &str, operator, value: Option<&str>| Expression {
        key: key.trim().to_owned(),
        operator,
        values: value.map(|value| value.trim().to_owned()).into_iter().collect(),
    };
    if let Some(key) = part.strip_prefix('!') {
        return Some(one(key, Operator::DoesNotExist, None));
    }
    if let Some(list) = part.strip_suffix(')') {
        let (head, list) = list.split_once('(')?;
        let (key, operator) = match head.split_whitespace().collect::<Vec<_>>().as_slice() {
            [key, "in"] => (*key, Operator::In),
            [key, "notin"] => (*key, Operator::NotIn),
            _ => return None,
        };
        let values = list.split(',').map(|value| value.trim().to_owned()).collect();
        return Some(Expression { key: key.to_owned(), operator, values });
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Some(one(key, Operator::NotIn, Some(value)));
    }
    match part.split_once("==").or_else(|| part.split_once('=')) {
        Some((key, value)) => Some(one(key, Operator::In, Some(value))),
        None => Some(one(part, Operator::Exists, None)),
    }
}

/// Why a text is no label key or value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LabelError {
    #[error(
        "not a label key: an optional DNS prefix and /, then 1 to 63 of A-Z a-z 0-9 - _ . that start and end with a letter or digit"
    )]
    Key,
    #[error("not a label value: at most 63 of A-Z a-z 0-9 - _ . that start and end with a letter or digit")]
    Value,
    #[error("at most 64 labels are allowed")]
    TooMany,
}

pub(crate) fn check_labels(field: &str, labels: &Labels, faults: &mut Faults) {
    if labels.len() > 64 {
        faults.push(field, None, LabelError::TooMany);
    }
    for (key, value) in labels {
        faults.check(field, key, check_key(key));
        faults.check(format!("{field}[{key}]"), value, check_value(value));
    }
}

pub(crate) fn check_key(key: &str) -> Result<(), LabelError> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let dns =
        |prefix: &str| prefix.len() <= 253 && prefix.split('.').all(|l| l.parse::<crate::DnsLabel>().is_ok());
    if name.is_empty() || !name_like(name) || prefix.is_some_and(|prefix| !dns(prefix)) {
        return Err(LabelError::Key);
    }
    Ok(())
}

fn check_value(value: &str) -> Result<(), LabelError> {
    if name_like(value) { Ok(()) } else { Err(LabelError::Value) }
}

fn name_like(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && edge(bytes.first())
        && edge(bytes.last())
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_of_one_line_match_as_kubectl_users_expect() {
        let labels: Labels = [("app", "route"), ("team", "a")].map(|(k, v)| (k.into(), v.into())).into();
        for (text, expected) in [
            ("", true),
            ("app=route", true),
            ("app==route,team=a", true),
            ("app=other", false),
            ("app!=other", true),
            ("missing!=x", true),
            ("app in (route, other),team notin (b)", true),
            ("app notin (route)", false),
            ("app", true),
            ("missing", false),
            ("!missing", true),
            ("!app", false),
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().matches(&labels), expected, "{text}");
        }
        for text in ["=x", "a b", "a in b", "a in (b", "a=b=c d", "-x"] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }
}
