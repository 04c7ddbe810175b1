//! The gate before the handlers: identifies each caller, and lets it through if the policy lets it call the RPC.

use std::sync::Arc;

use countersign_token::clock::Clock;
use http::Request;

use super::{
    caller::Caller,
    callers::{Callers, Defaults},
    failures::CalledBy,
    identity::{Identity, identify},
    monitor::{Limited, Monitor},
    permission::{Permission, rpcs_of},
};
use crate::{
    audit::AuditLog,
    domain::{
        caller_policy::{CallerPolicy, Grants},
        rpc::{Rpc, RpcSet},
    },
    error::Error,
    net::Peer,
};

/// The packages of the RPCs that the gate is for. Those of others (health, reflection) are open to everybody.
const PACKAGES: [&str; 4] =
    ["/countersign.v1.", "/envoy.service.auth.v3.", "/envoy.service.extension.v3.", "/envoy.service.discovery.v3."];

/// The gate before the handlers.
#[derive(Clone, Debug)]
pub struct Gate {
    callers: Callers,
    /// The RPCs of its port.
    offered: RpcSet,
    everything: Arc<Grants>,
    default: Arc<Grants>,
    nothing: Arc<Grants>,
    monitor: Arc<Monitor>,
}

/// The refusal of a request.
#[derive(Debug)]
pub enum Refusal {
    /// The port has no such RPC.
    UnknownRpc,
    /// The caller may not call this RPC, or not now.
    Refused(Error, CalledBy),
}

impl Gate {
    /// A gate for these callers, which notes those that it refuses, if there is a log for that.
    pub fn new(callers: Callers, audit: Option<Arc<AuditLog>>, clock: Clock) -> Self {
        Self {
            everything: Arc::new(Grants::everything()),
            default: Arc::new(callers.defaults.grants()),
            nothing: Arc::default(),
            monitor: Arc::new(Monitor::new(audit, clock)),
            offered: Rpc::ALL.iter().copied().collect(),
            callers,
        }
    }

    /// The gate of a port beside the administrators' own: it does not have what is for them. Rates are counted together.
    pub fn without_administration(&self) -> Self {
        Self { offered: rpcs_of(&[Permission::Verify, Permission::Session]), ..self.clone() }
    }

    /// Lets a request through, if its caller may call this RPC; says who called. The handler is given the [`Caller`], but that of
    /// Verify.
    ///
    /// # Errors
    /// [`Error::CallerNotAllowed`], [`Error::CallerThrottled`]; an RPC of ours that the contract does not have.
    pub fn authorize<B>(&self, peer: &Peer, request: &mut Request<B>) -> Result<CalledBy, Refusal> {
        let path = request.uri().path();
        let Some(rpc) = Rpc::at(path).filter(|rpc| self.offered.contains(*rpc)) else {
            let is_ours = PACKAGES.iter().any(|package| path.starts_with(package));
            return if is_ours { Err(Refusal::UnknownRpc) } else { Ok(CalledBy::peer(peer.addr)) };
        };
        let file = self.callers.policy.as_ref().map(|policy| policy.load());
        let policy = file.as_ref().map(|file| &file.callers);
        let identity = identify(&self.callers, policy.map(AsRef::as_ref), peer, request.headers());
        let grants = self.grants(policy.map(AsRef::as_ref), &identity, peer);
        let called_by = |identity| CalledBy { identity: Some(identity), peer: peer.addr };
        if !grants.rpcs.contains(rpc) {
            let error = self.monitor.refuse(rpc, &identity, peer.addr);
            return Err(Refusal::Refused(error, called_by(identity)));
        }
        if let Err(error) = self.count(rpc, &identity, grants) {
            return Err(Refusal::Refused(error, called_by(identity)));
        }
        // Those that are called most ask nothing of their caller that is not asked here.
        if !matches!(rpc, Rpc::Verify | Rpc::Check) {
            let (grants, policy, monitor) = (Arc::clone(grants), policy.cloned(), Arc::clone(&self.monitor));
            let identity = identity.clone();
            request.extensions_mut().insert(Caller { rpc, identity, peer: peer.addr, grants, policy, monitor });
        }
        Ok(called_by(identity))
    }

    fn grants<'g>(&'g self, policy: Option<&'g CallerPolicy>, caller: &Identity, peer: &Peer) -> &'g Arc<Grants> {
        let id = match caller {
            Identity::Admin => return &self.everything,
            Identity::Known(id) => Some(id),
            Identity::Unknown(_) => None,
        };
        if let Some(callers) = policy.and_then(|policy| policy.callers.as_ref()) {
            return callers.find(id).unwrap_or(&self.nothing);
        }
        let holds = match self.callers.defaults {
            Defaults::Open => true,
            Defaults::MutualTls => id.is_some(),
            Defaults::Loopback => peer.addr.is_none_or(|addr| addr.to_canonical().is_loopback()),
        };
        if holds { &self.default } else { &self.nothing }
    }

    /// Counts a call against the limits of the caller. The tokens of a batch are counted when they have been read.
    fn count(&self, rpc: Rpc, caller: &Identity, grants: &Grants) -> Result<(), Error> {
        let (what, limit) = match rpc {
            Rpc::Verify | Rpc::Check => (Limited::Verify, grants.verify_rate),
            Rpc::Login => (Limited::Login, grants.login_rate),
            _ => return Ok(()),
        };
        limit.map_or(Ok(()), |limit| self.monitor.count(caller, what, limit, 1))
    }
}

#[cfg(test)]
mod tests {
    use arc_swap::ArcSwap;
    use countersign_proto::DESCRIPTORS;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::{
        config::FilePolicy,
        crypto::service_token::{ServiceTokenHash, sha256},
        domain::{
            caller::{CallerId, CallerPattern},
            caller_policy::{Patterns, ServiceToken, TrustedProxies},
            network::Network,
            rate::RateLimit,
        },
        edge::permission::permission,
        net::CertificateNames,
    };

    const ADMIN: &str = "an-administrators-token-of-some-characters";
    const WEB: &str = "spiffe://e/ns/shop/web";
    const XFCC: &str = "x-forwarded-client-cert";

    /// All RPCs of the contract.
    fn contract() -> Vec<String> {
        let files = FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors").file;
        let services = files.iter().filter(|file| file.package() == "countersign.v1").flat_map(|file| &file.service);
        let rpcs = services.flat_map(|s| s.method.iter().map(|method| format!("{}/{}", s.name(), method.name())));
        rpcs.collect()
    }

    /// The RPCs of the packages of Envoy, in their order.
    const OF_ENVOY: [&str; 3] = [
        "Authorization/Check",
        "ExtensionConfigDiscoveryService/DeltaExtensionConfigs",
        "AggregatedDiscoveryService/DeltaAggregatedResources",
    ];

    /// The RPCs of all packages that the gate is for, each with its path.
    fn all() -> Vec<(Rpc, String)> {
        let of_envoy = OF_ENVOY.into_iter().zip(1..).map(|(rpc, package)| (package, rpc.to_owned()));
        let all = contract().into_iter().map(|rpc| (0, rpc)).chain(of_envoy);
        all.map(|(package, rpc)| (Rpc::find(&rpc).expect("known"), format!("{}{rpc}", PACKAGES[package]))).collect()
    }

    /// A class of callers: the other end of its connection, and the headers of its requests.
    #[derive(Clone, Debug)]
    struct Class {
        name: &'static str,
        peer: Peer,
        headers: Vec<(&'static str, String)>,
    }

    fn class(name: &'static str, addr: &str, uris: Option<&[&str]>) -> Class {
        let uris = uris.map(|uris| uris.iter().map(|uri| (*uri).to_owned()).collect());
        let certificate = uris.map(|uris| Arc::new(CertificateNames { uris, dns: vec![] }));
        Class { name, peer: Peer { addr: addr.parse().ok(), certificate }, headers: vec![] }
    }

    fn with(class: Class, header: &'static str, value: &str) -> Class {
        Class { headers: vec![(header, value.to_owned())], ..class }
    }

    fn classes() -> Vec<Class> {
        let (far, proxy) = ("192.0.2.1", "10.0.0.1");
        let forwarded = format!("By=spiffe://e/gateway;Hash=1;URI={WEB}");
        let bearer = |token: &str| format!("Bearer {token}");
        vec![
            class("nobody", far, None),
            class("nobody here", "127.0.0.1", None),
            class("unix socket", "", None),
            class("certificate, listed", far, Some(&[WEB])),
            class("certificate, below a prefix", far, Some(&["spiffe://e/ns/shop/other"])),
            class("certificate, not listed", far, Some(&["spiffe://e/ns/else/x"])),
            class("certificate, two URIs", far, Some(&[WEB, "spiffe://e/ns/shop/other"])),
            class("certificate, no name", far, Some(&[])),
            with(class("stranger, forwarded", far, None), XFCC, &forwarded),
            with(class("proxy, forwarded", proxy, None), XFCC, &forwarded),
            class("proxy, nothing forwarded", proxy, Some(&[WEB])),
            with(class("token", far, None), "authorization", &bearer("deploy-token")),
            with(class("token and certificate", far, Some(&[WEB])), "authorization", &bearer("deploy-token")),
            with(class("wrong token", far, None), "authorization", &bearer("deploy-tokem")),
            with(class("wrong token and certificate", far, Some(&[WEB])), "authorization", &bearer("x")),
            with(class("administrators' token", far, None), "authorization", &bearer(ADMIN)),
        ]
    }

    fn policy() -> FilePolicy {
        let mut callers = Patterns::default();
        for (pattern, rpcs) in
            [(WEB, "AuthService/*"), ("spiffe://e/ns/shop/*", "Verify"), ("token:deploy", "UserService/*")]
        {
            let grants = Grants::of(RpcSet::parse(rpcs).expect(rpcs));
            callers.insert(CallerPattern::parse(pattern).expect(pattern), Arc::new(grants));
        }
        let tokens =
            vec![ServiceToken { id: CallerId::token("deploy").expect("a name"), sha256: sha256(b"deploy-token") }];
        let networks = vec![Network::parse("10.0.0.0/8").expect("a network")];
        let proxies = TrustedProxies { networks, ..TrustedProxies::default() };
        FilePolicy {
            callers: Arc::new(CallerPolicy { callers: Some(callers), tokens, proxies }),
            ..FilePolicy::default()
        }
    }

    fn gate(defaults: Defaults, policy: Option<FilePolicy>) -> Gate {
        let admin_token = ServiceTokenHash::from_file_content(ADMIN).expect("a token");
        let policy = policy.map(|policy| Arc::new(ArcSwap::from_pointee(policy)));
        Gate::new(Callers { policy, ..Callers::new(defaults, Some(admin_token)) }, None, Clock::manual())
    }

    fn authorize(gate: &Gate, class: &Class, path: &str) -> (Result<CalledBy, Refusal>, Option<Caller>) {
        let mut request = Request::builder().uri(path);
        for (name, value) in &class.headers {
            request = request.header(*name, value);
        }
        let mut request = request.body(()).expect("a request");
        let authorized = gate.authorize(&class.peer, &mut request);
        (authorized, request.extensions().get().cloned())
    }

    // The RPCs that a class of callers may call, by patterns.
    const VERIFYING: &[&str] = &[
        "Verify",
        "Check",
        "VerifyBatch",
        "GetJwks",
        "WatchRevocations",
        "DeltaExtensionConfigs",
        "DeltaAggregatedResources",
    ];
    const OPEN: &[&str] = &[
        "Verify",
        "Check",
        "VerifyBatch",
        "GetJwks",
        "WatchRevocations",
        "DeltaExtensionConfigs",
        "DeltaAggregatedResources",
        "Login",
        "Refresh",
        "Revoke",
    ];
    const ALL: &[&str] = &["*"];
    const NONE: &[&str] = &[];

    /// The RPCs of each class: without a list of callers on an open port, on one with a client CA, and in `dev`. The last: with one.
    const TABLE: [(&str, [&[&str]; 4]); 16] = [
        ("nobody", [OPEN, NONE, NONE, NONE]),
        ("nobody here", [OPEN, NONE, ALL, NONE]),
        ("unix socket", [OPEN, NONE, ALL, NONE]),
        ("certificate, listed", [OPEN, VERIFYING, NONE, &["AuthService/*"]]),
        ("certificate, below a prefix", [OPEN, VERIFYING, NONE, &["Verify"]]),
        ("certificate, not listed", [OPEN, VERIFYING, NONE, NONE]),
        ("certificate, two URIs", [OPEN, NONE, NONE, NONE]),
        ("certificate, no name", [OPEN, NONE, NONE, NONE]),
        ("stranger, forwarded", [OPEN, NONE, NONE, NONE]),
        ("proxy, forwarded", [OPEN, NONE, NONE, &["AuthService/*"]]),
        ("proxy, nothing forwarded", [OPEN, VERIFYING, NONE, NONE]),
        ("token", [OPEN, NONE, NONE, &["UserService/*"]]),
        ("token and certificate", [OPEN, VERIFYING, NONE, &["UserService/*"]]),
        ("wrong token", [OPEN, NONE, NONE, NONE]),
        ("wrong token and certificate", [OPEN, VERIFYING, NONE, &["AuthService/*"]]),
        ("administrators' token", [ALL, ALL, ALL, ALL]),
    ];

    #[test]
    fn each_class_of_callers_may_call_what_the_table_says_and_nothing_else() {
        let gates = [
            gate(Defaults::Open, None),
            gate(Defaults::MutualTls, None),
            gate(Defaults::Loopback, None),
            gate(Defaults::Loopback, Some(policy())),
        ];
        let classes = classes();
        assert_eq!(TABLE.map(|(name, _)| name).to_vec(), classes.iter().map(|class| class.name).collect::<Vec<_>>());
        for (class, (name, columns)) in classes.iter().zip(TABLE) {
            for (gate, patterns) in gates.iter().zip(columns) {
                let allowed = patterns.iter().filter_map(|pattern| RpcSet::parse(pattern));
                let allowed = allowed.fold(RpcSet::default(), RpcSet::with);
                for (found, path) in all() {
                    let (authorized, caller) = authorize(gate, class, &path);
                    let case = format!("{name}, {path}, {:?}", gate.callers.defaults);
                    if allowed.contains(found) {
                        assert!(authorized.is_ok(), "{case}");
                        assert_eq!(caller.is_some(), ![Rpc::Verify, Rpc::Check].contains(&found), "{case}");
                    } else {
                        assert!(matches!(authorized, Err(Refusal::Refused(Error::CallerNotAllowed, _))), "{case}");
                        assert!(caller.is_none(), "{case}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_rpcs_that_are_known_are_those_of_the_contract() {
        let (mut known, mut contract) =
            (Rpc::ALL.iter().map(|rpc| rpc.name().to_owned()).collect::<Vec<_>>(), contract());
        contract.extend(OF_ENVOY.map(str::to_owned));
        known.sort();
        contract.sort();
        assert_eq!(known, contract);
    }

    #[test]
    fn an_rpc_that_is_not_known_is_closed_and_those_of_other_packages_are_open() {
        let gate = gate(Defaults::MutualTls, None);
        let nobody = class("nobody", "192.0.2.1", None);
        let unknown = authorize(&gate, &nobody, "/countersign.v1.UserService/Promote").0;
        assert!(matches!(unknown, Err(Refusal::UnknownRpc)));
        assert!(authorize(&gate, &nobody, "/grpc.health.v1.Health/Check").0.is_ok());
    }

    #[test]
    fn the_port_beside_the_administrators_own_has_nothing_of_theirs() {
        let administrator = with(class("", "192.0.2.1", None), "authorization", &format!("Bearer {ADMIN}"));
        let own = gate(Defaults::Open, None);
        let beside = own.without_administration();
        for (rpc, path) in all() {
            assert!(authorize(&own, &administrator, &path).0.is_ok(), "{path}");
            let refused = matches!(authorize(&beside, &administrator, &path).0, Err(Refusal::UnknownRpc));
            assert_eq!(refused, permission(rpc) == Permission::Administer, "{path}");
        }
    }

    #[test]
    fn a_list_of_callers_takes_effect_when_it_is_replaced_and_goes_when_it_goes() {
        let gate = gate(Defaults::Open, Some(FilePolicy::default()));
        let web = class("web", "192.0.2.1", Some(&[WEB]));
        let may_log_in = || authorize(&gate, &web, "/countersign.v1.AuthService/Login").0.is_ok();
        let is_open = || authorize(&gate, &class("x", "", None), "/countersign.v1.AuthService/Verify").0.is_ok();
        let replace = |policy| gate.callers.policy.as_ref().expect("a policy").store(Arc::new(policy));
        assert!(may_log_in() && is_open());
        replace(policy());
        assert!(may_log_in() && !is_open());
        replace(FilePolicy {
            callers: Arc::new(CallerPolicy { callers: Some(Patterns::default()), ..Default::default() }),
            ..FilePolicy::default()
        });
        assert!(!may_log_in() && !is_open());
        replace(FilePolicy::default());
        assert!(may_log_in() && is_open());
    }

    #[test]
    fn a_caller_that_comes_too_often_is_told_how_long_to_wait() {
        let mut callers = Patterns::default();
        let rate = RateLimit::parse("1/s");
        let grants = Grants { login_rate: rate, verify_rate: rate, ..Grants::everything() };
        callers.insert(CallerPattern::parse("spiffe://e/*").expect("a pattern"), Arc::new(grants));
        let policy = CallerPolicy { callers: Some(callers), ..CallerPolicy::default() };
        let gate = gate(Defaults::Open, Some(FilePolicy { callers: Arc::new(policy), ..FilePolicy::default() }));
        let (one, other) =
            (class("one", "", Some(&["spiffe://e/one"])), class("other", "", Some(&["spiffe://e/other"])));
        for rpc in ["Login", "Verify"] {
            let call = |class| authorize(&gate, class, &format!("{}AuthService/{rpc}", PACKAGES[0])).0;
            assert!(call(&one).is_ok() && call(&other).is_ok());
            let Err(Refusal::Refused(Error::CallerThrottled { retry_after }, _)) = call(&one) else {
                panic!("{rpc} passed");
            };
            assert_eq!(retry_after.as_secs(), 1);
        }
        let batch = authorize(&gate, &one, &format!("{}AuthService/VerifyBatch", PACKAGES[0])).1.expect("a caller");
        assert!(
            matches!(batch.count_verified(1), Err(Error::CallerThrottled { .. })),
            "its tokens count as those of Verify"
        );
    }
}
