//! What was typed, checked.

use super::Output;
use crate::{
    config::{Admin, AdminAddress, Faults},
    intercept::{Backend, Plan, PlanFlags},
};

/// Flags of `bellhop-proxy check`.
#[derive(Debug, Default, clap::Args)]
#[command(after_help = super::AFTER)]
pub(crate) struct Flags {
    #[command(flatten)]
    plan: PlanFlags,
    /// The tool whose rules are expected [default: whichever has written some]
    #[arg(long, value_enum, value_name = "TOOL")]
    backend: Option<Backend>,
    /// The proxy's admin listener; `off` where it has none [default: 127.0.0.1:15000]
    #[arg(long, env = "BELLHOP_ADMIN", hide_env_values = true, value_name = "IP:PORT|unix:PATH|off")]
    admin: Option<String>,
    /// The shape of what is printed
    #[arg(short, long, value_enum, value_name = "SHAPE", default_value_t)]
    output: Output,
}

/// How the host should be.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The rules; the proxy's user stands in them only where it was told.
    pub(super) plan: Plan,
    /// The proxy's user, where it was told.
    pub(super) uid: Option<u32>,
    pub(super) backend: Option<Backend>,
    pub(super) admin: AdminAddress,
    pub(super) output: Output,
}

impl Flags {
    /// # Errors
    /// All faults found.
    pub(super) fn resolve(self) -> Result<Wanted, Faults> {
        let mut faults = Faults::default();
        let uid = self.plan.proxy_uid(&mut faults);
        let plan = self.plan.plan(uid.unwrap_or_default(), &mut faults);
        let admin = faults.optional("admin", self.admin.as_ref(), "a loopback IP:PORT, unix:PATH, or off");
        let admin = admin.unwrap_or_else(|| Admin::default().admin);
        faults.none_or(Wanted { plan, uid, backend: self.backend, admin, output: self.output })
    }
}
