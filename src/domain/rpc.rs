//! The RPCs of the contract, and those by which Envoy asks and is told, by their names, and sets of them.

/// The RPCs, each with its package, its name (service and method), and who streams.
macro_rules! rpcs {
    ($($rpc:ident = $package:literal $name:literal $kind:ident,)*) => {
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

            /// The path of its requests.
            pub const fn path(self) -> &'static str {
                match self {
                    $(Self::$rpc => concat!("/", $package, ".", $name),)*
                }
            }

            /// The sides that stream.
            pub const fn kind(self) -> RpcKind {
                match self {
                    $(Self::$rpc => RpcKind::$kind,)*
                }
            }
        }
    };
}

/// The sides of an RPC that send more than one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RpcKind {
    /// Neither.
    Unary,
    /// The caller.
    ClientStream,
    /// The server.
    ServerStream,
    /// Both.
    BidiStream,
}

// Those that are called most come first: a name is looked for in this order.
rpcs! {
    Verify = "countersign.v1" "AuthService/Verify" Unary,
    Check = "envoy.service.auth.v3" "Authorization/Check" Unary,
    VerifyBatch = "countersign.v1" "AuthService/VerifyBatch" Unary,
    Refresh = "countersign.v1" "AuthService/Refresh" Unary,
    Login = "countersign.v1" "AuthService/Login" Unary,
    Revoke = "countersign.v1" "AuthService/Revoke" Unary,
    ListSessions = "countersign.v1" "AuthService/ListSessions" Unary,
    GetJwks = "countersign.v1" "AuthService/GetJwks" Unary,
    WatchRevocations = "countersign.v1" "AuthService/WatchRevocations" ServerStream,
    DeltaExtensionConfigs = "envoy.service.extension.v3" "ExtensionConfigDiscoveryService/DeltaExtensionConfigs" BidiStream,
    DeltaAggregatedResources = "envoy.service.discovery.v3" "AggregatedDiscoveryService/DeltaAggregatedResources" BidiStream,
    CreateUser = "countersign.v1" "UserService/CreateUser" Unary,
    GetUser = "countersign.v1" "UserService/GetUser" Unary,
    ListUsers = "countersign.v1" "UserService/ListUsers" Unary,
    UpdateUser = "countersign.v1" "UserService/UpdateUser" Unary,
    DeleteUser = "countersign.v1" "UserService/DeleteUser" Unary,
    SetPassword = "countersign.v1" "UserService/SetPassword" Unary,
    ChangePassword = "countersign.v1" "UserService/ChangePassword" Unary,
    ImportUsers = "countersign.v1" "UserService/ImportUsers" ClientStream,
}

impl Rpc {
    /// The RPC of this name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rpc| rpc.name() == name)
    }

    /// The RPC whose requests have this path.
    pub fn at(path: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rpc| rpc.path() == path)
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
            assert_eq!(Rpc::at(rpc.path()), Some(*rpc));
        }
        assert_eq!(Rpc::find("Verify"), None);
    }
}
