//! Tokens as an attacker may make them: a valid one that is changed in its members, its encoding, its signature and its
//! text.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD},
};
use proptest::{collection::vec, prelude::*, sample::Index};

use crate::sides::{NAMES, Sides};

/// An object as text, with repetitions and in order.
pub(crate) type Members = Vec<(String, String)>;

/// One step away from a valid token.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Header(Member),
    Claims(Member),
    /// The segment of this index is encoded otherwise.
    Encoding(Index, Encoding),
    Signer(Signer),
    Text(Text),
}

#[derive(Clone, Debug)]
pub(crate) enum Member {
    Remove(Index),
    Set(Index, &'static str),
    Add(&'static str, &'static str),
    /// Set, or added.
    Put(&'static str, &'static str),
    Drop(&'static str),
    Repeat(Index),
    Swap(Index, Index),
    Space(Index, &'static str),
    /// The first letter of the name as `\u0061`.
    Escape(Index),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Encoding {
    Canonical,
    Padded,
    OtherAlphabet,
    /// Bits that mean nothing are set.
    TrailingBits,
    LineFeed,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Signer {
    Own,
    /// Another key of the same algorithm.
    Other,
    /// Another algorithm.
    Stranger(usize),
    /// HS256 with the public key as secret.
    PublicAsSecret,
    Nobody,
}

#[derive(Clone, Debug)]
pub(crate) enum Text {
    Flip(Index, u8),
    Insert(Index, char),
    Cut(Index),
    SwapSegments(usize, usize),
    RepeatSegment(usize),
}

/// A token that is being made.
pub(crate) struct Forge {
    header: Members,
    claims: Members,
    encodings: [Encoding; 3],
    signer: Signer,
    texts: Vec<Text>,
}

impl Forge {
    /// A valid token of the key.
    pub(crate) fn valid(sides: &Sides) -> Self {
        let (header, claims) = (sides.header(), sides.claims());
        Self { header, claims, encodings: [Encoding::Canonical; 3], signer: Signer::Own, texts: Vec::new() }
    }

    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Header(member) => alter(&mut self.header, member),
            Change::Claims(member) => alter(&mut self.claims, member),
            Change::Encoding(at, encoding) => self.encodings[at.index(3)] = encoding,
            Change::Signer(signer) => self.signer = signer,
            Change::Text(text) => self.texts.push(text),
        }
    }

    /// The token; what comes before the signature is signed as it stands there.
    pub(crate) fn token(self, sides: &Sides) -> Vec<u8> {
        let encoded = |members, encoding| encode(object(members).as_bytes(), encoding);
        let [header, claims, signature] = self.encodings;
        let message = format!("{}.{}", encoded(&self.header, header), encoded(&self.claims, claims));
        let signed = sides.sign(self.signer, message.as_bytes());
        let token = format!("{message}.{}", encode(&signed, signature)).into_bytes();
        self.texts.into_iter().fold(token, edit)
    }
}

fn object(members: &Members) -> String {
    let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn alter(members: &mut Members, change: Member) {
    let length = members.len();
    match change {
        Member::Add(name, value) => members.push((name.to_owned(), value.to_owned())),
        Member::Put(name, value) => match members.iter_mut().find(|member| member.0 == name) {
            Some(member) => value.clone_into(&mut member.1),
            None => members.push((name.to_owned(), value.to_owned())),
        },
        Member::Drop(name) => members.retain(|member| member.0 != name),
        _ if members.is_empty() => {}
        Member::Remove(at) => drop(members.remove(at.index(length))),
        Member::Set(at, value) => members[at.index(length)].1 = value.to_owned(),
        Member::Repeat(at) => members.push(members[at.index(length)].clone()),
        Member::Swap(one, other) => members.swap(one.index(length), other.index(length)),
        Member::Space(at, space) => members[at.index(length)].1.insert_str(0, space),
        Member::Escape(at) => {
            let name = &mut members[at.index(length)].0;
            let first = name.remove(0);
            name.insert_str(0, &format!("\\u{:04x}", u32::from(first)));
        }
    }
}

fn encode(bytes: &[u8], encoding: Encoding) -> String {
    let canonical = URL_SAFE_NO_PAD.encode(bytes);
    match encoding {
        Encoding::Canonical => canonical,
        Encoding::Padded => URL_SAFE.encode(bytes),
        Encoding::OtherAlphabet => STANDARD_NO_PAD.encode(bytes),
        Encoding::TrailingBits => {
            let mut text = canonical.into_bytes();
            if let Some(last) = text.last_mut().filter(|_| !bytes.len().is_multiple_of(3)) {
                *last += 1;
            }
            String::from_utf8_lossy(&text).into_owned()
        }
        Encoding::LineFeed => canonical + "\n",
    }
}

fn edit(mut token: Vec<u8>, text: Text) -> Vec<u8> {
    let length = token.len();
    match text {
        _ if token.is_empty() => {}
        Text::Flip(at, bit) => token[at.index(length)] ^= 1 << bit,
        Text::Insert(at, c) => token.insert(at.index(length), u8::try_from(c).expect("ASCII")),
        Text::Cut(at) => token.truncate(at.index(length)),
        Text::SwapSegments(..) | Text::RepeatSegment(_) => {
            let mut segments: Vec<&[u8]> = token.split(|byte| *byte == b'.').collect();
            let last = segments.len() - 1;
            match text {
                Text::SwapSegments(one, other) => segments.swap(one.min(last), other.min(last)),
                Text::RepeatSegment(at) => segments.push(segments[at.min(last)]),
                _ => {}
            }
            token = segments.join(&b'.');
        }
    }
    token
}

/// None to three changes.
pub(crate) fn changes() -> impl Strategy<Value = Vec<Change>> {
    vec(change(), 0..4)
}

fn change() -> impl Strategy<Value = Change> {
    let encoding = prop::sample::select(vec![
        Encoding::Padded,
        Encoding::OtherAlphabet,
        Encoding::TrailingBits,
        Encoding::LineFeed,
    ]);
    prop_oneof![
        2 => member().prop_map(Change::Header),
        6 => member().prop_map(Change::Claims),
        1 => (any::<Index>(), encoding).prop_map(|(at, encoding)| Change::Encoding(at, encoding)),
        1 => signer().prop_map(Change::Signer),
        1 => text().prop_map(Change::Text),
    ]
}

fn member() -> impl Strategy<Value = Member> {
    let (at, name) = (any::<Index>, prop::sample::select(NAMES.to_vec()));
    prop_oneof![
        2 => at().prop_map(Member::Remove),
        4 => (at(), value()).prop_map(|(at, value)| Member::Set(at, value)),
        4 => (name, value()).prop_map(|(name, value)| Member::Add(name, value)),
        1 => at().prop_map(Member::Repeat),
        4 => (at(), at()).prop_map(|(one, other)| Member::Swap(one, other)),
        4 => (at(), prop::sample::select(vec![" ", "\n", "\t\r\n ", "\u{a0}"])).prop_map(|(at, s)| Member::Space(at, s)),
        2 => at().prop_map(Member::Escape),
    ]
}

fn value() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "null",
        "true",
        "0",
        "1",
        "-1",
        "1.5",
        "1e3",
        "9007199254740993",
        "18446744073709551616",
        "\"\"",
        "\"x\"",
        "\"1\"",
        "[]",
        "{}",
        "[1]",
        "[\"x\"]",
        "\"none\"",
        "\"nOnE\"",
        "\"HS256\"",
        "\"EdDSA\"",
        "\"ES256\"",
        "\"RS256\"",
        "\"at+jwt\"",
        "\"AT+JWT\"",
        "\"application/at+jwt\"",
        "\"JWT\"",
        "\"internal\"",
        "[\"internal\"]",
        "[\"internal\",1]",
        "[\"x\",\"internal\"]",
        "\"countersign\"",
        "[\"countersign\"]",
        "\"countersign \"",
    ])
}

fn signer() -> impl Strategy<Value = Signer> {
    prop_oneof![
        Just(Signer::Other),
        (0_usize..3).prop_map(Signer::Stranger),
        Just(Signer::PublicAsSecret),
        Just(Signer::Nobody),
    ]
}

fn text() -> impl Strategy<Value = Text> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), 0_u8..8).prop_map(|(at, bit)| Text::Flip(at, bit)),
        1 => (at(), prop::sample::select(vec!['.', '=', 'A', ' ', '\n', '\0'])).prop_map(|(at, c)| Text::Insert(at, c)),
        1 => at().prop_map(Text::Cut),
        1 => (0_usize..3, 0_usize..3).prop_map(|(one, other)| Text::SwapSegments(one, other)),
        1 => (0_usize..3).prop_map(Text::RepeatSegment),
    ]
}
