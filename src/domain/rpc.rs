//! The RPCs of the contract, and those by which Envoy asks and is told, by their names, and sets of them.

/// The RPCs, each with its name: service and method.
macro_rules! rpcs {
    ($($rpc:ident = $name:literal,)*) => {
        /// An RPC of the contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the contract describes them")]
        pub enum Rpc {
            $($rpc,)*
        }

        impl Rpc {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$rpc,)*];

            /// The name: service and method.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$rpc => $name,)*
                }
            }
        }
    };
}

// Those that are called most come first: a name is looked for in this order.
rpcs! {
    Verify = "AuthService/Verify",
    Check = "Authorization/Check",
    VerifyBatch = "AuthService/VerifyBatch",
    Refresh = "AuthService/Refresh",
    Login = "AuthService/Login",
    Revoke = "AuthService/Revoke",
    ListSessions = "AuthService/ListSessions",
    GetJwks = "AuthService/GetJwks",
    WatchRevocations = "AuthService/WatchRevocations",
    DeltaExtensionConfigs = "ExtensionConfigDiscoveryService/DeltaExtensionConfigs",
    DeltaAggregatedResources = "AggregatedDiscoveryService/DeltaAggregatedResources",
    CreateUser = "UserService/CreateUser",
    GetUser = "UserService/GetUser",
    ListUsers = "UserService/ListUsers",
    UpdateUser = "UserService/UpdateUser",
    DeleteUser = "UserService/DeleteUser",
    SetPassword = "UserService/SetPassword",
    ChangePassword = "UserService/ChangePassword",
    ImportUsers = "UserService/ImportUsers",
}

impl Rpc {
    /// The RPC of this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rpc| rpc.name() == name)
    }
}

/// A set of RPCs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RpcSet(u32);

impl RpcSet {
    /// The RPCs that a pattern means: `*`, all of a service as `UserService/*`, or one, with its service or without.
    pub fn parse(pattern: &str) -> Option<Self> {
        let means = |rpc: &Rpc| {
            let (service, method) = rpc.name().split_once('/').unwrap_or_default();
            match pattern.split_once('/') {
                _ if pattern == "*" => true,
                Some((named, "*")) => named == service,
                Some(_) => pattern == rpc.name(),
                None => pattern == method,
            }
        };
        let set: Self = Rpc::ALL.iter().copied().filter(means).collect();
        (set != Self::default()).then_some(set)
    }

    /// The RPCs of both sets.
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if the RPC is one of them.
    pub fn contains(self, rpc: Rpc) -> bool {
        self.0 & (1 << rpc as u32) != 0
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = Rpc> {
        Rpc::ALL.iter().copied().filter(move |rpc| self.contains(*rpc))
    }
}

impl FromIterator<Rpc> for RpcSet {
    fn from_iter<I: IntoIterator<Item = Rpc>>(rpcs: I) -> Self {
        Self(rpcs.into_iter().fold(0, |set, rpc| set | 1 << rpc as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_all_a_service_or_one() {
        let count = |pattern| RpcSet::parse(pattern).map(|set| set.iter().count());
        assert_eq!(count("*"), Some(Rpc::ALL.len()));
        assert_eq!((count("AuthService/*"), count("UserService/*")), (Some(8), Some(8)));
        let verify = RpcSet::parse("Verify").expect("one");
        assert_eq!(verify.iter().collect::<Vec<_>>(), [Rpc::Verify]);
        assert_eq!(RpcSet::parse("AuthService/Verify"), Some(verify));
        assert!(verify.contains(Rpc::Verify) && !verify.contains(Rpc::VerifyBatch));
        for unknown in ["", "verify", "Veri*", "UserService/Verify", "UserService", "UserService/", "**", "*/*", "/"] {
            assert_eq!(RpcSet::parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn each_rpc_is_found_by_its_name() {
        for rpc in Rpc::ALL {
            assert_eq!(Rpc::find(rpc.name()), Some(*rpc));
        }
        assert_eq!(Rpc::find("Verify"), None);
    }
}
