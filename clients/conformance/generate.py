"""Writes cases.json: what every verifier of Countersign's tokens has to answer, whatever language it is written in.

    tests/clients/.venv/bin/python clients/conformance/generate.py

README.md says how the cases are read. The keys are made anew each time and not kept: nobody signs by them again.
"""

import base64
import hashlib
import hmac
import json
import math
from copy import copy
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

EPOCH = 1_800_000_000
ISSUER = "https://auth.example.com"
USER, OTHER_USER = "01890a5d-ac96-774b-bcce-b302099a8057", "01890a5d-ac96-774b-bcce-b302099a8058"
SESSION, OTHER_SESSION = "01890a5d-ac96-774b-bcce-b302099a8059", "01890a5d-ac96-774b-bcce-b302099a805a"


def b64(data):
    data = data if isinstance(data, bytes) else json.dumps(data, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value):
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Key:
    def __init__(self, alg, kid):
        self.alg, self.kid = alg, kid
        self.private = {
            "EdDSA": ed25519.Ed25519PrivateKey.generate,
            "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
            "RS256": lambda: rsa.generate_private_key(65537, 2048),
        }[alg]()

    def jwk(self):
        public = self.private.public_key()
        common = {"kid": self.kid, "alg": self.alg, "use": "sig"}
        if self.alg == "EdDSA":
            return {"kty": "OKP", "crv": "Ed25519", "x": b64(public.public_bytes_raw()), **common}
        numbers = public.public_numbers()
        if self.alg == "ES256":
            x, y = (b64(part.to_bytes(32, "big")) for part in (numbers.x, numbers.y))
            return {"kty": "EC", "crv": "P-256", "x": x, "y": y, **common}
        return {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e), **common}

    def sign(self, message):
        if self.alg == "EdDSA":
            return self.private.sign(message)
        if self.alg == "ES256":
            r, s = utils.decode_dss_signature(self.private.sign(message, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        return self.private.sign(message, padding.PKCS1v15(), hashes.SHA256())

    def token(self, claims=None, header=None, signature=None, payload=None, head=None):
        """A token; `head` and `payload` are texts in the place of the JSON of header and claims."""
        header = {"typ": "at+jwt", "alg": self.alg, "kid": self.kid, **(header or {})}
        header = {name: value for name, value in header.items() if value is not None}
        head = b64(head.encode() if head is not None else header)
        body = b64(payload.encode() if payload is not None else (CLAIMS if claims is None else claims))
        message = f"{head}.{body}"
        made = self.sign(message.encode()) if signature is None else signature(message.encode())
        return f"{message}.{b64(made)}"


def claims(**changes):
    found = {
        "iss": ISSUER,
        "sub": USER,
        "aud": ["orders", "billing"],
        "exp": EPOCH + 600,
        "iat": EPOCH - 10,
        "jti": "a-token",
        "client_id": "shop",
        "auth_time": EPOCH - 100,
        "sid": SESSION,
        "epoch": 3,
        "roles": ["clerk"],
        **changes,
    }
    return {name: value for name, value in found.items() if value is not ...}


CLAIMS = claims()
ED, ES, RS, LATER = Key("EdDSA", "ed"), Key("ES256", "es"), Key("RS256", "rs"), Key("EdDSA", "later")
TOKEN = ED.token()
CASES = []


def keys(*all, issuer=ISSUER, more=()):
    return {"keys": {"jwks": json.dumps({"keys": [key.jwk() for key in all] + list(more)}), "issuer": issuer}}


ALL_KEYS = keys(ED, ES, RS)


def snapshot(*revocations, position="1:00"):
    return {"snapshot": {"revocations": list(revocations), "position": position}}


def additions(*revocations, position="2:00"):
    return {"additions": {"revocations": list(revocations), "position": position}}


def heartbeat(complete_as_of, sent_at=None):
    return {"heartbeat": {"complete_as_of": complete_as_of, **({} if sent_at is None else {"sent_at": sent_at})}}


def revoked(**subject):
    return {**subject, "expires_at": EPOCH + 10_800}


def call(at=0):
    return {"at": at, "call": True}


def hear(at, message):
    return {"at": at, "hear": message}


def fails(step):
    return {**step, "fails": True}


def renamed(key, kid):
    found = copy(key)
    found.kid = kid
    return found


def with_exponent(private, least):
    """An RSA key of the same primes, with the next exponent that will do."""
    p, q = private.private_numbers().p, private.private_numbers().q
    e = next(e for e in range(least, least + 1000, 2) if math.gcd(e, (p - 1) * (q - 1)) == 1)
    d = pow(e, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(e, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


def verify(at, token, expect, **demand):
    return {"at": at, "verify": {"token": token, **demand}, "expect": expect}


FRESH = [call(), hear(0, ALL_KEYS), hear(0, snapshot()), hear(0, heartbeat(0, EPOCH))]


def case(name, *steps, **settings):
    CASES.append({"name": name, "settings": settings, "steps": list(steps)})


def one(name, token, expect, **demand):
    """A token that is verified when everything is well."""
    case(name, *FRESH, verify(1, token, expect, **demand), verify(1, token, expect, **demand))


MALFORMED, FORGED, EXPIRED, REVOKED, AUDIENCE = (
    f"TOKEN_{name}" for name in ("MALFORMED", "SIGNATURE_INVALID", "EXPIRED", "REVOKED", "AUDIENCE_MISMATCH")
)


def tokens():
    for key in (ED, ES, RS):
        one(f"a token of {key.alg}", key.token(), "OK")
    one("the long form of the type", ED.token(header={"typ": "application/at+jwt"}), "OK")
    one("the type in capitals", ED.token(header={"typ": "AT+JWT"}), "OK")
    one("unknown claims", ED.token(claims(more={"x": [1]})), "OK")
    one("an audience that is a text", ED.token(claims(aud="orders")), "OK", audience="orders")
    one("an audience among others", TOKEN, "OK", audience="billing")
    one("another audience", TOKEN, AUDIENCE, audience="wages")
    one("no audience that is asked for", ED.token(claims(aud=["wages"])), "OK")
    one("a role", TOKEN, "OK", role="clerk")
    one("a role that is missing", TOKEN, "ROLE_MISSING", role="admin")
    one("the last second", ED.token(claims(exp=EPOCH + 2)), "OK")
    one("the moment of its expiry", ED.token(claims(exp=EPOCH + 1)), EXPIRED)
    one("long expired", ED.token(claims(iat=EPOCH - 900, exp=EPOCH - 300)), EXPIRED)
    one("issued a little ahead", ED.token(claims(iat=EPOCH + 60)), "OK")
    one("issued far ahead", ED.token(claims(iat=EPOCH + 120)), MALFORMED)
    one("not before a moment that is far ahead", ED.token(claims(nbf=EPOCH + 120)), MALFORMED)
    one("the longest life", ED.token(claims(iat=EPOCH, exp=EPOCH + 3600)), "OK")
    one("too long a life", ED.token(claims(iat=EPOCH, exp=EPOCH + 3601)), MALFORMED)
    one("of another issuer", ED.token(claims(iss="https://evil.example.com")), MALFORMED)
    for name in CLAIMS:
        one(f"without {name}", ED.token(claims(**{name: ...})), MALFORMED)
        one(f"{name} is null", ED.token(claims(**{name: None})), MALFORMED)
    for name, value in [
        ("exp", "1800000600"), ("exp", EPOCH + 600.5), ("exp", -1), ("iat", 2**53 + 2), ("epoch", "3"), ("roles", "clerk"),
        ("roles", [1]), ("aud", [1]), ("aud", {}), ("sub", USER.upper()), ("sub", USER.replace("-", "")), ("sub", ""),
        ("sid", "{" + SESSION + "}"), ("jti", ""), ("client_id", ""), ("nbf", None), ("iat", EPOCH + 700), ("auth_time", -5),
    ]:  # fmt: skip
        one(f"{name} is {json.dumps(value)}", ED.token(claims(**{name: value})), MALFORMED)
    for name, payload in {
        "a claim twice": json.dumps(CLAIMS)[:-1] + ', "sid": "' + OTHER_SESSION + '"}',
        "a name that is half a character": json.dumps(CLAIMS)[:-1] + ', "\\ud800": 1}',
        "an unknown claim twice": json.dumps(CLAIMS)[:-1] + ', "x": 1, "x": 2}',
        "claims that are an array": "[]",
        "claims that are no JSON": "{",
        "more after the claims": json.dumps(CLAIMS) + "{}",
        "claims after a byte order mark": "\ufeff" + json.dumps(CLAIMS),
        "an expiry with a fraction of zero": json.dumps(CLAIMS).replace(str(EPOCH + 600), f"{EPOCH + 600}.0"),
        "an epoch of minus zero": json.dumps(CLAIMS).replace('"epoch": 3', '"epoch": -0'),
        "a token id that is half a character": json.dumps(CLAIMS).replace('"a-token"', '"\\ud800"'),
    }.items():
        one(name, ED.token(payload=payload), MALFORMED)
    for name, text in {
        "a number of many digits": "9" * 5000,
        "a number beyond all numbers": "1e999",
        "a name twice within": '{"x": 1, "x": 2}',
        "half a character": '"\\ud800"',
    }.items():
        one(f"an unknown claim with {name}", ED.token(payload=json.dumps(CLAIMS)[:-1] + f', "more": {text}}}'), "OK")
    one("no audience", ED.token(claims(aud=[])), "OK")
    one("no audience, where one is asked for", ED.token(claims(aud=[])), AUDIENCE, audience="orders")
    one("no roles", ED.token(claims(roles=[])), "OK")
    one("a user name that is null", ED.token(claims(preferred_username=None)), "OK")
    one("a user name that is a number", ED.token(claims(preferred_username=1)), MALFORMED)
    one("an epoch below zero", ED.token(claims(epoch=-9)), "OK")
    one("the largest epoch", ED.token(claims(epoch=2**63 - 1)), "OK")
    one("an epoch beyond the largest", ED.token(claims(epoch=2**63)), MALFORMED)
    one("expired, and for another audience", ED.token(claims(exp=EPOCH, aud=["wages"])), EXPIRED, audience="orders")


def headers():
    for name, header in {
        "another type": {"typ": "JWT"},
        "no type": {"typ": None},
        "crit": {"crit": ["b64"]},
        "a key of its own": {"jwk": ED.jwk()},
        "an address of keys": {"jku": "https://evil.example.com"},
        "an unknown member": {"x": 1},
        "no algorithm": {"alg": None},
        "no key": {"kid": None},
        "a key that is a number": {"kid": 1},
    }.items():
        one(f"a header with {name}", ED.token(header=header), MALFORMED)
    one("a member twice", ED.token(head='{"typ":"at+jwt","alg":"EdDSA","kid":"ed","kid":"es"}'), MALFORMED)
    one("a header that is an array", ED.token(head='["EdDSA","ed","at+jwt"]'), MALFORMED)
    for kid in ("unknown", "", "ED", "../ed"):
        one(f"the key {kid!r}", ED.token(header={"kid": kid}), FORGED)
    one("signed by another key than it names", LATER.token(header={"kid": "ed"}), FORGED)
    for alg in ("none", "None", "HS256", "ES256", "eddsa", "EdDSA "):
        one(f"the algorithm {alg!r}", ED.token(header={"alg": alg}), FORGED)
    one("no algorithm and no signature", ED.token(header={"alg": "none"}, signature=lambda message: b""), FORGED)
    public = b64(ED.private.public_key().public_bytes_raw()).encode()
    by_public = lambda message: hmac.new(public, message, hashlib.sha256).digest()
    one("HS256 by the public key", ED.token(header={"alg": "HS256"}, signature=by_public), FORGED)
    one("a signature in DER", ES.token(signature=lambda m: ES.private.sign(m, ec.ECDSA(hashes.SHA256()))), FORGED)
    one("an empty signature", ED.token(signature=lambda message: b""), FORGED)


def texts():
    head, body, signature = TOKEN.split(".")
    last = "A" if signature[40] != "A" else "B"
    one("one letter of the signature changed", f"{head}.{body}.{signature[:40]}{last}{signature[41:]}", FORGED)
    one("claims of another token", f"{head}.{ED.token(claims(sub=OTHER_USER)).split('.')[1]}.{signature}", FORGED)
    # The last letter of 64 bytes has four bits that say nothing.
    loose = chr(ord(signature[-1]) + 1)
    one("a signature in another spelling", f"{head}.{body}.{signature[:-1]}{loose}", MALFORMED)
    for name, text in {
        "nothing": "", "a dot": ".", "two dots": "..", "two parts": f"{head}.{body}", "four parts": f"{TOKEN}.{signature}",
        "a space before": f" {TOKEN}", "a line after": f"{TOKEN}\n", "padding": f"{head}.{body}.{signature}==",
        "letters of base64": f"{head}.{body}.{signature[:-2]}+/", "letters that are none": f"{head}.{body}.ü{signature[2:]}",
        "a header that is no text": f"{b64(bytes([255, 254]))}.{body}.{signature}",
        "more than 8 KiB": ED.token(claims(more="x" * 8192)),
    }.items():  # fmt: skip
        one(name, text, MALFORMED)


def revocations():
    ends = {
        "a session": {"session_id": SESSION},
        "a user, by an epoch above": {"user": {"user_id": USER, "least_epoch": 4}},
        "all that was opened before": {"opened_before": EPOCH - 99},
    }
    lives = {
        "another session": {"session_id": OTHER_SESSION},
        "another user": {"user": {"user_id": OTHER_USER, "least_epoch": 9}},
        "a user, by the same epoch": {"user": {"user_id": USER, "least_epoch": 3}},
        "what was opened before its own second": {"opened_before": EPOCH - 100},
    }
    for name, subject in {**ends, **lives}.items():
        expect = REVOKED if name in ends else "OK"
        known = [call(), hear(0, ALL_KEYS), hear(0, snapshot(revoked(**subject))), hear(0, heartbeat(0, EPOCH))]
        case(f"in the snapshot: {name}", *known, verify(1, TOKEN, expect))
        case(
            f"added: {name}", *FRESH, verify(1, TOKEN, "OK"), hear(2, additions(revoked(**subject))), verify(2, TOKEN, expect)
        )
    case(
        "a lower epoch after a higher one takes nothing back", *FRESH,
        hear(1, additions(revoked(user={"user_id": USER, "least_epoch": 4}))),
        hear(2, additions(revoked(user={"user_id": USER, "least_epoch": 2}))), verify(3, TOKEN, REVOKED),
    )  # fmt: skip
    case(
        "a snapshot that comes again forgets nothing", *FRESH, hear(1, additions(revoked(session_id=SESSION))),
        hear(2, snapshot()), hear(2, heartbeat(2)), verify(3, TOKEN, REVOKED),
    )  # fmt: skip
    case(
        "a snapshot of another replica forgets nothing", *FRESH, hear(1, additions(revoked(session_id=SESSION))),
        call(2), hear(2, ALL_KEYS), hear(2, snapshot()), hear(2, heartbeat(0)), verify(3, TOKEN, REVOKED),
    )  # fmt: skip
    case(
        "a snapshot in parts", call(), hear(0, ALL_KEYS), hear(0, snapshot(revoked(session_id=OTHER_SESSION), position="")),
        hear(0, snapshot(revoked(session_id=SESSION))), hear(0, heartbeat(0, EPOCH)), verify(1, TOKEN, REVOKED),
    )  # fmt: skip
    unknown = {"unknown": True, "expires_at": EPOCH + 10_800}
    for name, messages in {
        "added": [*FRESH, verify(1, TOKEN, "OK"), fails(hear(2, additions(revoked(session_id=OTHER_SESSION), unknown)))],
        "in the snapshot": [*FRESH[:2], fails(hear(0, snapshot(unknown)))],
    }.items():
        case(
            f"{name}: something that this version cannot read", *messages, verify(2, TOKEN, "UNAVAILABLE"),
            call(3), fails(hear(3, ALL_KEYS)), fails(hear(3, snapshot())), fails(hear(3, heartbeat(0, EPOCH + 3))),
            verify(3, TOKEN, "UNAVAILABLE"),
        )  # fmt: skip
    killed = [call(), hear(0, ALL_KEYS), hear(0, snapshot(revoked(session_id=SESSION))), hear(0, heartbeat(0, EPOCH))]
    case("revoked and expired", *killed, verify(1, ED.token(claims(exp=EPOCH + 1)), EXPIRED))
    case("revoked, and for another audience", *killed, verify(1, TOKEN, AUDIENCE, audience="wages"))
    case("revoked, and a role is missing", *killed, verify(1, TOKEN, REVOKED, role="admin"))
    case("revoked, and forged", *killed, verify(1, LATER.token(header={"kid": "ed"}), FORGED))


def freshness():
    case("before anything was heard", verify(0, TOKEN, "UNAVAILABLE"), call(), verify(1, TOKEN, "UNAVAILABLE"))
    case("keys and a snapshot alone", *FRESH[:3], verify(1, TOKEN, "UNAVAILABLE"))
    case("a heartbeat before the keys", call(), hear(0, heartbeat(0, EPOCH)), hear(0, ALL_KEYS), verify(1, TOKEN, "UNAVAILABLE"))
    case("at the bound and beyond", *FRESH, verify(9.9, TOKEN, "OK"), verify(10.1, TOKEN, "UNAVAILABLE"))
    case("a bound of its own", *FRESH, verify(2.9, TOKEN, "OK"), verify(3.1, TOKEN, "UNAVAILABLE"), max_staleness=3)
    case("heard again", *FRESH, verify(20, TOKEN, "UNAVAILABLE"), hear(20, heartbeat(19.5)), verify(21, TOKEN, "OK"))
    case("counted from the call", call(5), hear(8, ALL_KEYS), hear(8, snapshot()), hear(8, heartbeat(-1, EPOCH + 8)),
         verify(13.9, TOKEN, "OK"), verify(14.1, TOKEN, "UNAVAILABLE"))  # fmt: skip
    case("a heartbeat that was long on its way", *FRESH, hear(30, heartbeat(1)), verify(30, TOKEN, "UNAVAILABLE"))
    case("a suspended process that wakes", *FRESH, verify(1, TOKEN, "OK"), verify(300, TOKEN, "UNAVAILABLE"))
    case("another replica knows less: the bound does not go back", call(), hear(0, ALL_KEYS), hear(0, snapshot()),
         hear(8, heartbeat(8, EPOCH + 8)), call(9), hear(9, ALL_KEYS), hear(9, snapshot()), hear(9, heartbeat(-5, EPOCH + 9)),
         verify(17.9, TOKEN, "OK"), verify(18.1, TOKEN, "UNAVAILABLE"))  # fmt: skip
    case("a first heartbeat that says too little", call(), hear(0, keys(ED)), hear(0, snapshot()), hear(20, heartbeat(1, EPOCH + 20)),
         verify(20, TOKEN, "UNAVAILABLE"), hear(21, heartbeat(20, EPOCH + 21)), verify(21, TOKEN, "OK"))  # fmt: skip
    case("complete later than now: nothing is known of what is to come", *FRESH, hear(2, heartbeat(500)),
         verify(11.9, TOKEN, "OK"), verify(12.1, TOKEN, "UNAVAILABLE"))  # fmt: skip
    case("a stream that has not said its keys publishes nothing", *FRESH, call(5), hear(5, snapshot()), hear(5, heartbeat(0)),
         verify(9.9, TOKEN, "OK"), verify(10.1, TOKEN, "UNAVAILABLE"), hear(11, ALL_KEYS), hear(11, heartbeat(6)),
         verify(20.9, TOKEN, "OK"), verify(21.1, TOKEN, "UNAVAILABLE"))  # fmt: skip
    case("a token that no key signed, while nothing is heard: still an outage", *FRESH, verify(11, "no.token", "UNAVAILABLE"))
    case("expired while nothing is heard: still an outage", *FRESH, verify(700, TOKEN, "UNAVAILABLE"))


def rotation():
    later = LATER.token()
    case("a key that is new", *FRESH, verify(1, later, FORGED), hear(2, keys(ED, LATER)), verify(2, later, "OK"), verify(2, TOKEN, "OK"))
    case("a key that was killed", *FRESH, verify(1, TOKEN, "OK"), hear(2, keys(LATER)), verify(2, TOKEN, FORGED), verify(2, later, "OK"))
    strange = [{"kty": "OKP", "crv": "X25519", "kid": "x", "x": "AA"}, {"kty": "oct", "kid": "o", "k": "AA", "alg": "HS256"},
               {"kty": "new"}, {**ED.jwk(), "kid": None}, {**RS.jwk(), "kid": "no-alg", "alg": None},
               {"kty": "AKP", "alg": "ML-DSA-44", "kid": "new", "pub": "AA"}, {"kty": "new", "kid": "ed"}]  # fmt: skip
    case("keys of other kinds hide none, and their tokens are no forgeries", call(), hear(0, keys(ED, more=strange)), hear(0, snapshot()),
         hear(0, heartbeat(0, EPOCH)), verify(1, TOKEN, "OK"),
         *(verify(1, RS.token(header={"kid": kid}), "UNAVAILABLE") for kid in ("no-alg", "new", "x", "o")),
         verify(1, RS.token(header={"kid": "nobody"}), FORGED))  # fmt: skip
    short = Key("RS256", "short")
    short.private = rsa.generate_private_key(65537, 1024)
    case("an RSA key that is too short cannot be used", call(), hear(0, keys(ED, short)), hear(0, snapshot()),
         hear(0, heartbeat(0, EPOCH)), verify(1, short.token(), "UNAVAILABLE"))  # fmt: skip
    case("no keys at all", *FRESH, hear(1, {"keys": {"jwks": '{"keys": []}', "issuer": ISSUER}}), verify(1, TOKEN, FORGED))
    case("a key that comes back", *FRESH, hear(1, keys(LATER)), verify(1, TOKEN, FORGED), hear(2, ALL_KEYS), verify(2, TOKEN, "OK"))
    case("a key that takes the name of another", *FRESH, verify(1, TOKEN, "OK"), hear(2, keys(renamed(LATER, "ed"))),
         verify(2, TOKEN, FORGED), verify(2, LATER.token(header={"kid": "ed"}), "OK"))  # fmt: skip
    wide = Key("RS256", "wide")
    wide.private = with_exponent(wide.private, 2**40 + 15)
    case("an RSA key whose exponent is too long cannot be used", call(), hear(0, keys(ED, wide)), hear(0, snapshot()),
         hear(0, heartbeat(0, EPOCH)), verify(1, wide.token(), "UNAVAILABLE"))  # fmt: skip
    case("another issuer, where none is expected", *FRESH, verify(1, TOKEN, "OK"),
         hear(2, keys(ED, issuer="https://other.example.com")), verify(2, TOKEN, MALFORMED),
         verify(2, ED.token(claims(iss="https://other.example.com")), "OK"))  # fmt: skip
    case("the issuer that is expected", *FRESH, verify(1, TOKEN, "OK"), issuer=ISSUER)
    case("another issuer than is expected", *FRESH[:1], fails(FRESH[1]), verify(1, TOKEN, "UNAVAILABLE"),
         issuer="https://other.example.com")  # fmt: skip
    case("keys that cannot be read", call(), fails(hear(0, {"keys": {"jwks": "{", "issuer": ISSUER}})),
         verify(1, TOKEN, "UNAVAILABLE"))  # fmt: skip


def clocks():
    expired = ED.token(claims(exp=EPOCH + 1))
    for ahead in (3600, -3600):
        case(f"a clock that is {ahead} seconds ahead", *FRESH, verify(2, TOKEN, "OK"), verify(2, expired, EXPIRED), clock_ahead=ahead)
    case("the least late heartbeat says the time", call(), hear(0, ALL_KEYS), hear(0, snapshot()), hear(0, heartbeat(0, EPOCH)),
         hear(5, heartbeat(2, EPOCH + 1)), verify(5, ED.token(claims(exp=EPOCH + 4)), EXPIRED), clock_ahead=-3600)  # fmt: skip
    case("a service that does not say the time", *FRESH[:3], hear(0, heartbeat(0)), verify(2, TOKEN, "OK"), verify(2, expired, EXPIRED))


for group in (tokens, headers, texts, revocations, freshness, rotation, clocks):
    group()
names = [it["name"] for it in CASES]
assert len(names) == len(set(names)), [name for name in names if names.count(name) > 1]
out = Path(__file__).with_name("cases.json")
out.write_text(json.dumps({"epoch": EPOCH, "cases": CASES}, indent=1, ensure_ascii=False) + "\n")
print(len(CASES), "cases")
