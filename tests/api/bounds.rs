//! Bounds: what a caller can make this service keep in memory. Every field of every request is made too long, as the
//! descriptors name them, so that a field that is added is tested too.

use std::collections::HashSet;

use bytes::{Buf as _, BufMut as _};
use countersign::grpc::v1;
use countersign_proto::DESCRIPTORS;
use prost::Message as _;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    metadata::MetadataValue,
};

use crate::support::{ADMIN_TOKEN, PASSWORD, Setup, TestServer, refusal, violations};

/// A text that no field takes, in a message that every RPC takes.
const LONG: usize = 60 * 1024;
/// Elements that no list takes.
const MANY: usize = 2000;

/// Messages as bytes.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.put_slice(&item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(buf.copy_to_bytes(buf.remaining()).to_vec()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::default()
    }
}

/// Sends the bytes to an RPC, as an administrator; the first message of its answer.
async fn send(server: &TestServer, rpc: &str, message: Vec<u8>) -> Result<Vec<u8>, Status> {
    let mut grpc = Grpc::new(server.channel());
    grpc.ready().await.expect("ready");
    let mut request = Request::new(tokio_stream::once(message));
    let bearer: MetadataValue<_> = format!("Bearer {ADMIN_TOKEN}").parse().expect("a header");
    request.metadata_mut().insert("authorization", bearer);
    let package = if rpc.starts_with("grpc.") { "" } else { "countersign.v1." };
    let path = PathAndQuery::try_from(format!("/{package}{rpc}")).expect("a path");
    let mut answer = grpc.streaming(request, path, Raw).await?.into_inner();
    Ok(answer.message().await?.expect("a message"))
}

/// The descriptors of the messages by name, and the requests by RPC.
struct Contract {
    messages: Vec<DescriptorProto>,
    requests: Vec<(String, String)>,
}

impl Contract {
    fn read() -> Self {
        let files = FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors").file;
        let ours: Vec<_> = files.into_iter().filter(|file| file.package() == "countersign.v1").collect();
        let services = ours.iter().flat_map(|file| &file.service);
        let requests = services.flat_map(|service| {
            let method = |m: &prost_types::MethodDescriptorProto| {
                (format!("{}/{}", service.name(), m.name()), m.input_type().to_owned())
            };
            service.method.iter().map(method).collect::<Vec<_>>()
        });
        let requests = requests.collect();
        Self { messages: ours.into_iter().flat_map(|file| file.message_type).collect(), requests }
    }

    fn message(&self, name: &str) -> Option<&DescriptorProto> {
        let name = name.strip_prefix(".countersign.v1.")?;
        self.messages.iter().find(|message| message.name() == name)
    }

    /// The texts and lists of a message: each by its path, made too long, to be appended to a message.
    fn excesses(&self, message: &str) -> Vec<(String, Vec<u8>)> {
        let fields = self.message(message).map(|message| message.field.clone()).unwrap_or_default();
        fields.iter().flat_map(|field| self.excess(field)).collect()
    }

    fn excess(&self, field: &FieldDescriptorProto) -> Vec<(String, Vec<u8>)> {
        let number = field.number();
        let name = field.name().to_owned();
        let mut excesses = Vec::new();
        match field.r#type() {
            Type::String | Type::Bytes => excesses.push((name.clone(), element(number, &[b'x'; LONG]))),
            Type::Message => {
                let within = self.excesses(field.type_name());
                excesses.extend(
                    within.into_iter().map(|(path, bytes)| (format!("{name}.{path}"), element(number, &bytes))),
                );
            }
            _ => {}
        }
        if field.label() == Label::Repeated {
            let one = if field.r#type() == Type::Message { &b""[..] } else { b"x" };
            excesses.push((format!("{name}[]"), element(number, one).repeat(MANY)));
        }
        excesses
    }
}

/// A field of a kind that has a length.
fn element(number: i32, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_key(
        u32::try_from(number).expect("a number"),
        prost::encoding::WireType::LengthDelimited,
        &mut bytes,
    );
    prost::encoding::encode_varint(content.len() as u64, &mut bytes);
    bytes.extend_from_slice(content);
    bytes
}

/// A request that is right but for what is appended to it.
fn right(rpc: &str) -> Vec<u8> {
    let (username, password, user_id) = ("alice".to_owned(), PASSWORD.to_owned(), uuid::Uuid::nil().to_string());
    match rpc {
        "AuthService/Login" => v1::LoginRequest { username, password, ..Default::default() }.encode_to_vec(),
        "AuthService/Refresh" => {
            v1::RefreshRequest { refresh_token: "csr_x".into(), ..Default::default() }.encode_to_vec()
        }
        "AuthService/Revoke" => {
            let target = Some(v1::revoke_request::Target::UserId(user_id));
            v1::RevokeRequest { target, ..Default::default() }.encode_to_vec()
        }
        "AuthService/ListSessions" => v1::ListSessionsRequest { user_id, ..Default::default() }.encode_to_vec(),
        "UserService/CreateUser" => v1::CreateUserRequest { username, password, roles: vec![] }.encode_to_vec(),
        "UserService/UpdateUser" => v1::UpdateUserRequest { user_id, ..Default::default() }.encode_to_vec(),
        "UserService/SetPassword" => v1::SetPasswordRequest { user_id, password }.encode_to_vec(),
        "UserService/ChangePassword" => {
            let (old_password, new_password) = (password.clone(), password);
            v1::ChangePasswordRequest { username, old_password, new_password, ..Default::default() }.encode_to_vec()
        }
        _ => Vec::new(),
    }
}

/// Answers to a field that is too long, where they are not INVALID_ARGUMENT, and why the field is bounded all the same.
const OTHERWISE: [(&str, &str); 15] = [
    // Above 8 KiB it is not read.
    ("AuthService/Verify access_token", "TOKEN_MALFORMED"),
    ("AuthService/VerifyBatch access_tokens", "OK"),
    // Cut: they come from a browser.
    ("AuthService/Login client.user_agent", "OK"),
    ("AuthService/Login client.device", "OK"),
    ("AuthService/Refresh client.user_agent", "REFRESH_TOKEN_INVALID"),
    ("AuthService/Refresh client.device", "REFRESH_TOKEN_INVALID"),
    // Of another length than those that were given out: not read.
    ("AuthService/Login device_hint", "OK"),
    ("UserService/ChangePassword device_hint", "OK"),
    ("AuthService/Revoke refresh_token", "OK"),
    ("AuthService/Revoke access_token", "OK"),
    ("AuthService/WatchRevocations position", "OK"),
    // Rows of an import are refused one by one.
    ("UserService/ImportUsers users.username", "OK"),
    ("UserService/ImportUsers users.password_hash", "OK"),
    ("UserService/ImportUsers users.roles", "OK"),
    ("UserService/ImportUsers users.roles[]", "OK"),
];

#[tokio::test]
async fn every_field_of_every_request_is_bounded() {
    let contract = Contract::read();
    let server = Setup::new().await.with_admin_token().start().await;
    server.user("alice").await;
    let mut tried = 0;
    for (rpc, request) in &contract.requests {
        for (path, excess) in contract.excesses(request) {
            let answer = send(&server, rpc, [right(rpc), excess].concat()).await;
            let name = format!("{rpc} {path}");
            let place = path.trim_end_matches("[]");
            let otherwise = OTHERWISE.iter().find(|(field, _)| *field == name);
            match (answer, otherwise) {
                (Ok(_), Some((_, "OK"))) => {}
                (Err(status), Some((_, reason))) => assert_eq!(refusal::<()>(Err(status)).1, *reason, "{name}"),
                (answer, None) => {
                    let named = violations(answer.map(drop));
                    let fits = |named: &String| named == place || place.split('.').any(|part| part == named);
                    assert!(named.iter().any(fits), "{name}: {named:?}");
                }
                (Ok(_), Some(_)) => panic!("{name}: accepted"),
            }
            tried += 1;
        }
    }
    assert!(tried >= 40, "{tried}");
}

#[tokio::test]
async fn messages_above_64_kib_are_for_batches_and_imports() {
    let server = Setup::new().await.with_admin_token().start().await;
    let ours = Contract::read().requests.into_iter().map(|(rpc, _)| rpc);
    for rpc in ours.chain(["grpc.health.v1.Health/Check".to_owned()]) {
        let large = ["AuthService/VerifyBatch", "UserService/ImportUsers"].contains(&rpc.as_str());
        // A field that no message has, which is read over.
        for (size, fits) in [(65 * 1024, large), (1024 * 1024 + 1, false)] {
            let answer = send(&server, &rpc, element(1000, &vec![b'x'; size])).await;
            let message = answer.err().map(|status| (status.code(), violations::<()>(Err(status))));
            let too_large = message == Some((Code::InvalidArgument, vec!["request".to_owned()]));
            assert_eq!(too_large, !fits, "{rpc} {size}: {message:?}");
        }
    }
}

#[tokio::test]
async fn a_page_of_large_users_is_cut_by_its_bytes_and_goes_on_where_it_was_cut() {
    let server = Setup::new().await.with_admin_token().start().await;
    let roles: Vec<String> = (0..64).map(|n| format!("{n:x<64}")).collect();
    let hash = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
    let user = |n: usize| v1::ImportedUser {
        username: format!("user{n}"),
        password_hash: hash.into(),
        roles: roles.clone(),
        ..Default::default()
    };
    for part in 0..3 {
        let users = (part * 150..(part + 1) * 150).map(user).collect();
        let message = v1::ImportUsersRequest { users, ..Default::default() };
        let imported = send(&server, "UserService/ImportUsers", message.encode_to_vec()).await.expect("imported");
        assert_eq!(v1::ImportUsersResponse::decode(&imported[..]).expect("an answer").imported, 150);
    }
    let (mut names, mut page_token, mut pages) = (HashSet::new(), String::new(), 0);
    loop {
        let request = v1::ListUsersRequest { page_size: 1000, page_token };
        let listed = send(&server, "UserService/ListUsers", request.encode_to_vec()).await.expect("listed");
        assert!(listed.len() <= 1100 * 1024, "{} bytes", listed.len());
        let page = v1::ListUsersResponse::decode(&listed[..]).expect("a page");
        names.extend(page.users.into_iter().map(|user| user.username));
        (page_token, pages) = (page.next_page_token, pages + 1);
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!((names.len(), pages), (450, 2));
}
