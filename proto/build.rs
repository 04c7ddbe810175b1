//! Compiles the proto files with protox, so that no protoc needs to be installed. Also writes the descriptor set that server
//! reflection serves, and Debug for the messages that carry a secret.

use std::{env, error::Error, fs, path::PathBuf};

use heck::{ToSnakeCase as _, ToUpperCamelCase as _};
use prost_types::FileDescriptorProto;
use protox::prost::Message as _;

const PROTOS: [&str; 2] = ["countersign/v1/auth.proto", "countersign/v1/user.proto"];
/// How the comment of a field begins that carries a password, a hash or a token.
const SECRET: &str = " SECRET.";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=countersign");
    let descriptors = protox::compile(PROTOS, ["."])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let secrets: Vec<Secret> = descriptors.file.iter().flat_map(secrets).collect();
    fs::write(out.join("redacted.rs"), redacted(&secrets))?;
    let without_debug: Vec<String> = secrets.into_iter().map(|secret| secret.path).collect();
    let generate = tonic_prost_build::configure().codec_path("crate::codec::Codec").build_server(false);
    generate.skip_debug(without_debug).compile_fds(descriptors)?;
    Ok(())
}

/// A generated type that must not print what it carries.
struct Secret {
    /// Its path in the proto.
    path: String,
    /// Its path in Rust.
    rust: String,
}

/// The messages of `file` with a field that is marked as secret, and the oneofs.
fn secrets(file: &FileDescriptorProto) -> Vec<Secret> {
    let marked = |message: usize, field: usize| {
        let path = [4, message, 2, field].map(|number| i32::try_from(number).unwrap_or(-1));
        let places = file.source_code_info.iter().flat_map(|info| &info.location);
        places.filter(|place| place.path == path).any(|place| place.leading_comments().starts_with(SECRET))
    };
    let mut secrets = Vec::new();
    for (index, message) in file.message_type.iter().enumerate() {
        let fields: Vec<_> = (0..message.field.len()).filter(|field| marked(index, *field)).collect();
        if fields.is_empty() {
            continue;
        }
        let path = format!("{}.{}", file.package(), message.name());
        secrets.push(Secret { path: path.clone(), rust: message.name().to_owned() });
        let oneofs = fields.iter().filter_map(|field| message.field.get(*field)?.oneof_index);
        for oneof in oneofs.filter_map(|index| message.oneof_decl.get(usize::try_from(index).ok()?)) {
            let rust = format!("{}::{}", message.name().to_snake_case(), oneof.name().to_upper_camel_case());
            let path = format!("{path}.{}", oneof.name());
            if secrets.iter().all(|secret| secret.path != path) {
                secrets.push(Secret { path, rust });
            }
        }
    }
    secrets
}

/// Debug for each: its name and nothing else.
fn redacted(secrets: &[Secret]) -> String {
    let debug = |Secret { rust, .. }: &Secret| {
        format!(
            "impl ::core::fmt::Debug for {rust} {{ \
                 fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{ f.write_str(\"{rust}(..)\") }} \
             }}\n"
        )
    };
    secrets.iter().map(debug).collect()
}
