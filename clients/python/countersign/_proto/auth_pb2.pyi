from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Rejection(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REJECTION_UNSPECIFIED: _ClassVar[Rejection]
    REJECTION_TOKEN_MALFORMED: _ClassVar[Rejection]
    REJECTION_TOKEN_SIGNATURE_INVALID: _ClassVar[Rejection]
    REJECTION_TOKEN_EXPIRED: _ClassVar[Rejection]
    REJECTION_TOKEN_REVOKED: _ClassVar[Rejection]
    REJECTION_TOKEN_AUDIENCE_MISMATCH: _ClassVar[Rejection]
REJECTION_UNSPECIFIED: Rejection
REJECTION_TOKEN_MALFORMED: Rejection
REJECTION_TOKEN_SIGNATURE_INVALID: Rejection
REJECTION_TOKEN_EXPIRED: Rejection
REJECTION_TOKEN_REVOKED: Rejection
REJECTION_TOKEN_AUDIENCE_MISMATCH: Rejection

class ClientInfo(_message.Message):
    __slots__ = ("ip", "user_agent", "device")
    IP_FIELD_NUMBER: _ClassVar[int]
    USER_AGENT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    ip: str
    user_agent: str
    device: str
    def __init__(self, ip: _Optional[str] = ..., user_agent: _Optional[str] = ..., device: _Optional[str] = ...) -> None: ...

class TokenPair(_message.Message):
    __slots__ = ("access_token", "access_token_expires_at", "refresh_token", "refresh_token_expires_at", "session_id")
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ACCESS_TOKEN_EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    REFRESH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    REFRESH_TOKEN_EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    access_token: str
    access_token_expires_at: _timestamp_pb2.Timestamp
    refresh_token: str
    refresh_token_expires_at: _timestamp_pb2.Timestamp
    session_id: str
    def __init__(self, access_token: _Optional[str] = ..., access_token_expires_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., refresh_token: _Optional[str] = ..., refresh_token_expires_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., session_id: _Optional[str] = ...) -> None: ...

class Principal(_message.Message):
    __slots__ = ("user_id", "session_id", "token_id", "roles", "audience", "issued_at", "expires_at", "username")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    session_id: str
    token_id: str
    roles: _containers.RepeatedScalarFieldContainer[str]
    audience: _containers.RepeatedScalarFieldContainer[str]
    issued_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    username: str
    def __init__(self, user_id: _Optional[str] = ..., session_id: _Optional[str] = ..., token_id: _Optional[str] = ..., roles: _Optional[_Iterable[str]] = ..., audience: _Optional[_Iterable[str]] = ..., issued_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., username: _Optional[str] = ...) -> None: ...

class LoginRequest(_message.Message):
    __slots__ = ("username", "password", "audience", "client", "device_hint")
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    PASSWORD_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_HINT_FIELD_NUMBER: _ClassVar[int]
    username: str
    password: str
    audience: _containers.RepeatedScalarFieldContainer[str]
    client: ClientInfo
    device_hint: str
    def __init__(self, username: _Optional[str] = ..., password: _Optional[str] = ..., audience: _Optional[_Iterable[str]] = ..., client: _Optional[_Union[ClientInfo, _Mapping]] = ..., device_hint: _Optional[str] = ...) -> None: ...

class LoginResponse(_message.Message):
    __slots__ = ("tokens", "device_hint")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_HINT_FIELD_NUMBER: _ClassVar[int]
    tokens: TokenPair
    device_hint: str
    def __init__(self, tokens: _Optional[_Union[TokenPair, _Mapping]] = ..., device_hint: _Optional[str] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ("access_token", "audience", "max_staleness")
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    access_token: str
    audience: str
    max_staleness: _duration_pb2.Duration
    def __init__(self, access_token: _Optional[str] = ..., audience: _Optional[str] = ..., max_staleness: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class VerifyResponse(_message.Message):
    __slots__ = ("principal", "revocations_as_of")
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    REVOCATIONS_AS_OF_FIELD_NUMBER: _ClassVar[int]
    principal: Principal
    revocations_as_of: _timestamp_pb2.Timestamp
    def __init__(self, principal: _Optional[_Union[Principal, _Mapping]] = ..., revocations_as_of: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class VerifyBatchRequest(_message.Message):
    __slots__ = ("access_tokens", "audience", "max_staleness")
    ACCESS_TOKENS_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    MAX_STALENESS_FIELD_NUMBER: _ClassVar[int]
    access_tokens: _containers.RepeatedScalarFieldContainer[str]
    audience: str
    max_staleness: _duration_pb2.Duration
    def __init__(self, access_tokens: _Optional[_Iterable[str]] = ..., audience: _Optional[str] = ..., max_staleness: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class VerifyBatchResponse(_message.Message):
    __slots__ = ("results", "revocations_as_of")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    REVOCATIONS_AS_OF_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[VerifyResult]
    revocations_as_of: _timestamp_pb2.Timestamp
    def __init__(self, results: _Optional[_Iterable[_Union[VerifyResult, _Mapping]]] = ..., revocations_as_of: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class VerifyResult(_message.Message):
    __slots__ = ("principal", "rejection")
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    REJECTION_FIELD_NUMBER: _ClassVar[int]
    principal: Principal
    rejection: Rejection
    def __init__(self, principal: _Optional[_Union[Principal, _Mapping]] = ..., rejection: _Optional[_Union[Rejection, str]] = ...) -> None: ...

class RefreshRequest(_message.Message):
    __slots__ = ("refresh_token", "access_token", "client")
    REFRESH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    refresh_token: str
    access_token: str
    client: ClientInfo
    def __init__(self, refresh_token: _Optional[str] = ..., access_token: _Optional[str] = ..., client: _Optional[_Union[ClientInfo, _Mapping]] = ...) -> None: ...

class RefreshResponse(_message.Message):
    __slots__ = ("tokens", "replayed")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    tokens: TokenPair
    replayed: bool
    def __init__(self, tokens: _Optional[_Union[TokenPair, _Mapping]] = ..., replayed: bool = ...) -> None: ...

class RevokeRequest(_message.Message):
    __slots__ = ("refresh_token", "access_token", "session_id", "user_id", "keep_session_id", "wait")
    REFRESH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ACCESS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    KEEP_SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    refresh_token: str
    access_token: str
    session_id: str
    user_id: str
    keep_session_id: str
    wait: _duration_pb2.Duration
    def __init__(self, refresh_token: _Optional[str] = ..., access_token: _Optional[str] = ..., session_id: _Optional[str] = ..., user_id: _Optional[str] = ..., keep_session_id: _Optional[str] = ..., wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class RevokeResponse(_message.Message):
    __slots__ = ("sessions_revoked", "confirmed", "everywhere_by", "proxies_connected", "proxies_confirmed")
    SESSIONS_REVOKED_FIELD_NUMBER: _ClassVar[int]
    CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    EVERYWHERE_BY_FIELD_NUMBER: _ClassVar[int]
    PROXIES_CONNECTED_FIELD_NUMBER: _ClassVar[int]
    PROXIES_CONFIRMED_FIELD_NUMBER: _ClassVar[int]
    sessions_revoked: int
    confirmed: bool
    everywhere_by: _timestamp_pb2.Timestamp
    proxies_connected: int
    proxies_confirmed: int
    def __init__(self, sessions_revoked: _Optional[int] = ..., confirmed: bool = ..., everywhere_by: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., proxies_connected: _Optional[int] = ..., proxies_confirmed: _Optional[int] = ...) -> None: ...

class ListSessionsRequest(_message.Message):
    __slots__ = ("user_id", "page_size", "page_token")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    page_size: int
    page_token: str
    def __init__(self, user_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSessionsResponse(_message.Message):
    __slots__ = ("sessions", "next_page_token")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[Session]
    next_page_token: str
    def __init__(self, sessions: _Optional[_Iterable[_Union[Session, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetJwksRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetJwksResponse(_message.Message):
    __slots__ = ("jwks",)
    JWKS_FIELD_NUMBER: _ClassVar[int]
    jwks: str
    def __init__(self, jwks: _Optional[str] = ...) -> None: ...

class WatchRevocationsRequest(_message.Message):
    __slots__ = ("position",)
    POSITION_FIELD_NUMBER: _ClassVar[int]
    position: str
    def __init__(self, position: _Optional[str] = ...) -> None: ...

class WatchRevocationsResponse(_message.Message):
    __slots__ = ("keys", "snapshot", "additions", "heartbeat")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    ADDITIONS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    keys: SigningKeys
    snapshot: RevocationSnapshot
    additions: RevocationAdditions
    heartbeat: RevocationHeartbeat
    def __init__(self, keys: _Optional[_Union[SigningKeys, _Mapping]] = ..., snapshot: _Optional[_Union[RevocationSnapshot, _Mapping]] = ..., additions: _Optional[_Union[RevocationAdditions, _Mapping]] = ..., heartbeat: _Optional[_Union[RevocationHeartbeat, _Mapping]] = ...) -> None: ...

class SigningKeys(_message.Message):
    __slots__ = ("jwks", "issuer")
    JWKS_FIELD_NUMBER: _ClassVar[int]
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    jwks: str
    issuer: str
    def __init__(self, jwks: _Optional[str] = ..., issuer: _Optional[str] = ...) -> None: ...

class RevocationSnapshot(_message.Message):
    __slots__ = ("revocations", "position")
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    revocations: _containers.RepeatedCompositeFieldContainer[Revocation]
    position: str
    def __init__(self, revocations: _Optional[_Iterable[_Union[Revocation, _Mapping]]] = ..., position: _Optional[str] = ...) -> None: ...

class RevocationAdditions(_message.Message):
    __slots__ = ("revocations", "position")
    REVOCATIONS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    revocations: _containers.RepeatedCompositeFieldContainer[Revocation]
    position: str
    def __init__(self, revocations: _Optional[_Iterable[_Union[Revocation, _Mapping]]] = ..., position: _Optional[str] = ...) -> None: ...

class RevocationHeartbeat(_message.Message):
    __slots__ = ("complete_as_of", "sent_at")
    COMPLETE_AS_OF_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    complete_as_of: _duration_pb2.Duration
    sent_at: _timestamp_pb2.Timestamp
    def __init__(self, complete_as_of: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., sent_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Revocation(_message.Message):
    __slots__ = ("session_id", "user", "opened_before", "expires_at")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    OPENED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    user: UserRevocation
    opened_before: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    def __init__(self, session_id: _Optional[str] = ..., user: _Optional[_Union[UserRevocation, _Mapping]] = ..., opened_before: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class UserRevocation(_message.Message):
    __slots__ = ("user_id", "least_epoch")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    LEAST_EPOCH_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    least_epoch: int
    def __init__(self, user_id: _Optional[str] = ..., least_epoch: _Optional[int] = ...) -> None: ...

class Session(_message.Message):
    __slots__ = ("session_id", "user_id", "created_at", "last_refreshed_at", "expires_at", "client", "absolute_expires_at")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_REFRESHED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    ABSOLUTE_EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    user_id: str
    created_at: _timestamp_pb2.Timestamp
    last_refreshed_at: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    client: ClientInfo
    absolute_expires_at: _timestamp_pb2.Timestamp
    def __init__(self, session_id: _Optional[str] = ..., user_id: _Optional[str] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., last_refreshed_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., client: _Optional[_Union[ClientInfo, _Mapping]] = ..., absolute_expires_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
