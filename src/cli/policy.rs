//! `countersign policy`: checks a policy file and explains what it lets callers do and requests need, and makes service tokens.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{output::say, secret_file::SecretOutput};
use crate::{
    config::{FilePolicy, PolicyFile, Routes, read_secret_file},
    crypto::service_token,
    domain::{
        caller::CallerId,
        caller_policy::{CallerPolicy, Grants},
        route::{Access, Route, RoutePolicy},
        rpc::{Rpc, RpcSet},
    },
    error::Error,
};

#[derive(Args)]
pub(super) struct Policy {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Check a policy file, and explain what it lets a caller do: exit code 0 or 1
    Check(Check),
    /// Print a new service token, for the caller that is to send it
    Token(SecretOutput),
    /// Print the entry of a service token for the policy file: its name and its hash, not the token
    Hash {
        /// Name of the token: whoever sends it is `token:NAME`
        name: String,
        /// File with the token
        file: PathBuf,
    },
}

#[derive(Args)]
struct Check {
    /// The policy file
    file: PathBuf,

    /// Identity of a caller, or `anyone` for one without
    #[arg(long = "as", value_name = "ID")]
    caller: Option<String>,

    /// RPC that the caller wants to call, as `Verify` or `AuthService/Verify`
    #[arg(long, requires = "caller")]
    rpc: Option<String>,

    /// Path of a request that a proxy asks about, without its query
    #[arg(long, conflicts_with = "caller")]
    path: Option<String>,

    /// Host of the request
    #[arg(long, requires = "path", default_value = "localhost")]
    host: String,

    /// Method of the request
    #[arg(long, requires = "path", default_value = "GET")]
    method: String,
}

impl Policy {
    pub(super) fn run(self) -> Result<(), Error> {
        match self.action {
            Action::Check(check) => check.run(),
            Action::Token(output) => output.write(service_token::generate()?.expose()),
            Action::Hash { name, file } => hash(&name, &file),
        }
    }
}

impl Check {
    fn run(self) -> Result<(), Error> {
        let file = match PolicyFile::read(self.file.clone(), Routes::Matched) {
            Ok(file) => file.current().load_full(),
            Err(Error::InvalidArgument(violations)) => {
                // Scripts go by the exit code, whether or not anybody reads the lines.
                drop(violations.iter().try_for_each(|violation| say(&violation.description)));
                let count = violations.len();
                return Err(Error::invalid("policy-file", format!("{count} of its lines cannot be used")));
            }
            Err(error) => return Err(error),
        };
        let policy = &file.callers;
        if let Some(path) = self.path.as_deref() {
            // The query decides nothing.
            let path = path.split('?').next().unwrap_or_default();
            return say(decided(&file.routes, &self.host, path, &self.method)?);
        }
        let Some(caller) = self.caller.as_deref() else {
            return say(summary(&file));
        };
        let id =
            match caller {
                "anyone" => None,
                id => Some(CallerId::parse(id).ok_or_else(|| {
                    Error::invalid("as", "spiffe://trust.domain/path, dns:name, token:name, or anyone")
                })?),
            };
        explain(policy, id.as_ref(), self.rpc.as_deref())
    }
}

fn summary(file: &FilePolicy) -> String {
    let (policy, routes) = (&file.callers, file.routes.0.len());
    let callers = match &policy.callers {
        Some(callers) => format!("{} identities and patterns of callers", callers.len()),
        None => "no list of callers, so that the server's defaults hold".to_owned(),
    };
    let proxies = policy.proxies.ids.len() + policy.proxies.networks.len();
    let tokens = policy.tokens.len();
    format!("it can be used: {callers}, {tokens} hashes of tokens, {proxies} trusted proxies, {routes} routes")
}

/// The rule that decides about a request, and what it demands.
///
/// # Errors
/// [`Error::InvalidArgument`] for a path that servers may read in different ways: such a request is denied.
fn decided(routes: &RoutePolicy, host: &str, path: &str, method: &str) -> Result<String, Error> {
    let ambiguous = "servers may read this path or host in different ways: the request is denied with ROUTE_AMBIGUOUS";
    let rule = routes.find(host, path, method).map_err(|_| Error::invalid("path", ambiguous))?;
    let Some(Route { demand, line, .. }) = rule else {
        return Ok("no rule means the request: a valid token is needed".to_owned());
    };
    let access = match demand.access {
        Access::Public => "nothing: no token is looked at",
        Access::Optional => "no token, or a valid one",
        Access::Authenticated => "a valid token",
    };
    let any: Vec<String> = demand.roles_any.iter().map(|roles| roles.join(" or ")).collect();
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Ok(format!(
        "the rule of line {line} decides\n  needed: {access}\n  audience: {}\n  one of the roles: {}\n  all of the roles: {}",
        list(&demand.audiences),
        list(&any),
        list(&demand.roles_all),
    ))
}

/// Says which entry decides about a caller, and what it grants.
///
/// # Errors
/// [`Error::CallerNotAllowed`] if the caller may not call the RPC.
fn explain(policy: &CallerPolicy, id: Option<&CallerId>, rpc: Option<&str>) -> Result<(), Error> {
    let who = id.map_or("a caller without identity", CallerId::as_str);
    let rpc = rpc.map(one_rpc).transpose()?;
    let Some(callers) = &policy.callers else {
        return say(format_args!(
            "the file has no list of callers: what {who} may do is as the server has it by default"
        ));
    };
    let Some(grants) = callers.find(id) else {
        let said = say(format_args!("{who} may call nothing: no entry means it"));
        return rpc.map_or(said, |_| Err(Error::CallerNotAllowed));
    };
    let entry = format!("the entry of line {} decides about {who}\n{}", grants.line, granted(grants));
    match rpc {
        Some(rpc) if !grants.rpcs.contains(rpc) => {
            // Scripts go by the exit code, whether or not anybody reads the lines.
            drop(say(format_args!("{entry}\n{who} may not call {}", rpc.name())));
            Err(Error::CallerNotAllowed)
        }
        Some(rpc) => say(format_args!("{entry}\n{who} may call {}", rpc.name())),
        None => say(entry),
    }
}

fn one_rpc(name: &str) -> Result<Rpc, Error> {
    let named = RpcSet::parse(name).map(|set| set.iter().collect::<Vec<_>>());
    match named.as_deref() {
        Some([rpc]) => Ok(*rpc),
        _ => Err(Error::invalid("rpc", "one RPC, as Verify or AuthService/Verify")),
    }
}

fn granted(grants: &Grants) -> String {
    let list = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let some = |names: &Option<Vec<String>>| match names {
        Some(names) => list(names.iter().map(String::as_str).collect()),
        None => "any".to_owned(),
    };
    let yes = |holds| if holds { "yes" } else { "no" };
    let limited = |is_limited| if is_limited { "limited" } else { "not limited" };
    format!(
        "  rpcs: {}\n  audiences of Logins: {}\n  roles that it may give: {}\n  revoke_by_id: {}\n  \
         name_client_addresses: {}\n  bind_sessions: {}\n  login_rate: {}\n  verify_rate: {}",
        list(grants.rpcs.iter().map(Rpc::name).collect()),
        some(&grants.audiences),
        some(&grants.roles),
        yes(grants.revoke_by_id),
        yes(grants.name_client_addresses),
        yes(grants.bind_sessions),
        limited(grants.login_rate.is_some()),
        limited(grants.verify_rate.is_some()),
    )
}

fn hash(name: &str, file: &Path) -> Result<(), Error> {
    if CallerId::token(name).is_none() {
        return Err(Error::invalid("name", "1 to 64 letters, digits and . _ -"));
    }
    let sha256 = service_token::sha256_of_file("file", &read_secret_file("file", file)?)?;
    let digits: String = sha256.map(|byte| format!("{byte:02x}")).concat();
    say(format_args!("[[tokens]]\nname = \"{name}\"\nsha256 = [\"{digits}\"]"))
}
