//! Writes the seeds: `cargo run --example seeds` in this folder. They follow from the fixed keys, so it changes nothing
//! unless the seeds below were changed.

use std::{fs, path::Path};

use countersign_fuzz::{
    access_token::{self, EDDSA, HS256},
    encode, password_hash, refresh_token,
};
use countersign_token::algorithm::Algorithm;

const ID: &str = "0190a000-0000-7000-8000-000000000000";

fn main() {
    access_tokens();
    password_hashes();
    refresh_tokens();
}

fn write(target: &str, name: &str, seed: impl AsRef<[u8]>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join(name), seed).expect("written");
}

fn access_tokens() {
    let claims = format!(
        r#"{{"iss":"countersign","sub":"{ID}","aud":["internal"],"exp":1900000600,"iat":1900000000,"jti":"{ID}","client_id":"web","auth_time":1900000000,"sid":"{ID}","epoch":3,"roles":["a","b"]}}"#
    );
    for (algorithm, kid) in [(Algorithm::EdDsa, EDDSA), (Algorithm::Hs256, HS256)] {
        let name = algorithm.as_str().to_lowercase();
        let header = format!(r#"{{"alg":"{}","kid":"{kid}","typ":"at+jwt"}}"#, algorithm.as_str());
        let token = access_token::signed(&encode(header.as_bytes()), &encode(claims.as_bytes()), algorithm);
        assert!(access_token::check(&token));
        write("access_token", &format!("{name}_token_padded"), format!("{token}="));
        write("access_token", &format!("{name}_token_cut"), &token[..token.len() - 1]);
        write("access_token", &format!("{name}_token"), token);
        for (near, header, claims) in [
            ("signed", header.clone(), claims.clone()),
            ("signed_typ_jwt", header.replace("at+jwt", "JWT"), claims.clone()),
            ("signed_alg_none", header.replace(algorithm.as_str(), "none"), claims.clone()),
            ("signed_crit", header.replace('}', r#","crit":["exp"]}"#), claims.clone()),
            ("signed_twice", header.clone(), claims.replace('}', r#","x":1,"x":2}"#)),
            ("signed_nbf", header.clone(), claims.replace('}', r#","nbf":1,"x":"\u0041"}"#)),
            (
                "signed_one_audience",
                header.replace("at+jwt", "application/AT+JWT"),
                claims.replace(r#"["internal"]"#, r#""x""#),
            ),
        ] {
            write("access_token", &format!("{name}_{near}"), format!("{header}\n{claims}"));
        }
    }
}

/// One of each form, and some that cost too much.
fn password_hashes() {
    let hash = "A".repeat(43);
    for (name, text) in [
        ("argon2id", format!("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ${hash}")),
        ("argon2i_django", format!("argon2$argon2i$m=256,t=2,p=2$c29tZXNhbHQ${hash}")),
        ("bcrypt", "$2b$12$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW".to_owned()),
        ("bcrypt_django", "bcrypt$$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW".to_owned()),
        ("scrypt", format!("$scrypt$ln=18,r=8,p=1$c2FsdA${hash}")),
        ("scrypt_django", format!("scrypt$16384$seasalt$8$5${hash}")),
        ("firebase", format!("$firebase-scrypt$ln=14,r=8,p=1,ss=Bw==,sk={hash}=$42xEC+ixf3L2lw==${hash}")),
        ("pbkdf2", format!("$pbkdf2-sha512$i=600000,l=32$c2FsdA${hash}")),
        ("pbkdf2_passlib", format!("$pbkdf2-sha256$6400$0ZrzXitFSGltTQnBWOsdAw${hash}")),
        ("pbkdf2_django", format!("pbkdf2_sha256$2000000$salt${hash}=")),
        ("pbkdf2_werkzeug", format!("pbkdf2:sha256:1000000$salt${}", "a".repeat(64))),
        ("pbkdf2_ldap", format!("{{PBKDF2-SHA256}}10000$c2FsdHNhbHQ${hash}")),
        ("pbkdf2_spring", format!("{{pbkdf2}}{}", "a".repeat(80))),
        ("pbkdf2_aspnet_2", "AAABAgMEBQYHCAkKCwwNDg+ukCEMDf0yyQ29NYubggHIVY0sdEUfdyeM+E1LtH1uJg==".to_owned()),
        (
            "pbkdf2_aspnet_3",
            "AQAAAAEAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==".to_owned(),
        ),
        ("scrypt_kratos", format!("$scrypt$ln=16384,r=8,p=1$c2FsdA${hash}")),
        ("scrypt_werkzeug", format!("scrypt:32768:8:1$salt${}", "a".repeat(128))),
        ("scrypt_spring", format!("{{scrypt}}$e0801$c2FsdA${hash}")),
        ("scrypt_better_auth", format!("{}:{}", "a".repeat(32), "a".repeat(128))),
        (
            "bcrypt_sha256_django",
            "bcrypt_sha256$$2b$12$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW".to_owned(),
        ),
        (
            "bcrypt_sha256_passlib",
            "$bcrypt-sha256$v=2,t=2b,r=12$6.8TaOU3GeVCIIqoaZqGZu$rRiIGrjmNiPJ1S76IsW.0vCWKgN4zXS".to_owned(),
        ),
        ("bcrypt_wordpress", "$wp$2y$10$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW".to_owned()),
        ("phpass", "$P$984478476IagS59wHZvyQMArzfx58u.".to_owned()),
        ("phpass_drupal", format!("$S$Dsaltsalt{hash}")),
        ("sha256_crypt", format!("$5$rounds=656000$saltstring${hash}")),
        ("sha512_crypt_ldap", format!("{{CRYPT}}$6$saltstring${hash}{hash}")),
        ("md5_crypt", "$1$28772684$iEwNOgGugqO9.bIz5sk8k/".to_owned()),
        ("phpass_drupal_6", format!("U$S$Dsaltsalt{hash}")),
        ("firebase_kratos", format!("$firescrypt$ln=14,r=8,p=1$42xEC+ixf3L2lw==${hash}=$Bw==${hash}=")),
        (
            "sha1_kratos",
            "$sha1$pf=JHtQQVNTV09SRH0ke1NBTFR9JA==$NW9wbWtnejAzcg==$iE5n1yjX3oAdxRHwZ4u57I4LpQo=".to_owned(),
        ),
        ("sha1_django", "sha1$wLaDvTcbE0oL$355dfcf6f92d751e8447d3a9de80cb1c68e0ab6d".to_owned()),
        ("ssha", "{SSHA}JFZFs0oHzxbMwkSJmYVeI8MnTDy/276a".to_owned()),
        ("md5", "5f4dcc3b5aa765d61d8327deb882cf99".to_owned()),
    ] {
        assert!(password_hash::check(&text), "{name}");
        write("password_hash", name, text);
    }
    for (name, text) in [
        ("argon2id_dear", format!("$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ${hash}")),
        ("scrypt_dear", format!("$scrypt$ln=63,r=4294967295,p=4294967295$c2FsdA${hash}")),
        ("pbkdf2_dear", format!("pbkdf2_sha256$4294967295$salt${hash}")),
        ("phpass_dear", "$P$U84478476IagS59wHZvyQMArzfx58u.".to_owned()),
        ("sha256_crypt_dear", format!("$5$rounds=999999999$saltstring${hash}")),
    ] {
        assert!(!password_hash::check(&text), "{name}");
        write("password_hash", name, text);
    }
}

fn refresh_tokens() {
    let body = |version: u8, number: u8| {
        let mut body = vec![version, 0, number];
        body.extend(0..16);
        body.extend([0, 0, 0, 1]);
        body
    };
    let token = refresh_token::tagged(&body(1, 1));
    assert!(refresh_token::check(&token));
    write("refresh_token", "token_padded", format!("{token}="));
    write("refresh_token", "token_cut", &token[..token.len() - 1]);
    write("refresh_token", "token", token);
    for (name, version, number) in [("", 1, 1), ("_version_2", 2, 1), ("_other_key", 1, 2), ("_killed", 1, 3)] {
        write("refresh_token", &format!("body{name}"), body(version, number));
    }
    write("refresh_token", "body_long", [body(1, 1), vec![0]].concat());
    write("refresh_token", "body_short", &body(1, 1)[..22]);
}
