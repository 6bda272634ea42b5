//! Faults of a configuration, gathered so that all are told at once.

use std::{fmt, str::FromStr};

/// One value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The flag, as it is typed.
    pub flag: String,
    /// What was given.
    pub value: String,
    /// What is allowed there, or why this was not.
    pub allowed: String,
}

/// All faults of one configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// Notes one fault.
    pub(crate) fn add(&mut self, flag: &str, value: impl fmt::Display, allowed: impl fmt::Display) {
        self.0.push(Fault { flag: flag.to_owned(), value: value.to_string(), allowed: allowed.to_string() });
    }

    /// The value of a flag that may be absent. An empty one counts as absent, since that is how an unset variable
    /// arrives from many a deployment file.
    pub(crate) fn optional<T: FromStr>(
        &mut self,
        flag: &str,
        typed: Option<&String>,
        allowed: &str,
    ) -> Option<T> {
        let typed = typed.map(|text| text.trim()).filter(|text| !text.is_empty())?;
        typed.parse().map_err(|_| self.add(flag, typed, format_args!("allowed: {allowed}"))).ok()
    }

    /// The same for a type whose own error says what is allowed.
    pub(super) fn explained<T>(&mut self, flag: &str, typed: Option<&String>) -> Option<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let typed = typed.map(|text| text.trim()).filter(|text| !text.is_empty())?;
        typed.parse().map_err(|error| self.add(flag, typed, error)).ok()
    }

    /// The values of a list, each faulty one told by itself.
    pub(crate) fn list<T: FromStr>(&mut self, flag: &str, typed: &[String], allowed: &str) -> Vec<T> {
        typed.iter().filter_map(|text| self.optional(flag, Some(text), allowed)).collect()
    }

    /// A switch: the flag alone means yes; the environment spells it out.
    pub(super) fn switch(&mut self, flag: &str, typed: Option<&String>) -> bool {
        match typed.map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            None | Some("" | "false" | "no" | "off" | "0") => false,
            Some("true" | "yes" | "on" | "1") => true,
            Some(other) => {
                self.add(flag, other, "allowed: true, false");
                false
            }
        }
    }

    /// `value` where nothing was faulty.
    pub(crate) fn none_or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl From<clap::Error> for Faults {
    fn from(error: clap::Error) -> Self {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Self(vec![Fault { flag: String::new(), value: String::new(), allowed: first }])
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.flag.is_empty() {
            return f.write_str(&self.allowed);
        }
        write!(f, "--{} {:?}: {}", self.flag, self.value, self.allowed)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            write!(f, "{}{fault}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
