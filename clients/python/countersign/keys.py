"""The published keys (RFC 7517) and the signatures that they verify."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from ._json import Malformed, decoded

RSA_BITS = range(2048, 8193)
RSA_EXPONENTS = range(3, 1 << 33, 2)


class Key:
    """A key that verifies signatures of one algorithm."""

    def __init__(self, algorithm: str, check: Callable[[bytes, bytes], None]) -> None:
        self.algorithm, self._check = algorithm, check

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """True if the signature is that of the message."""
        try:
            self._check(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


def _ed25519(jwk: dict[str, Any]) -> Callable[[bytes, bytes], None]:
    return ed25519.Ed25519PublicKey.from_public_bytes(decoded(jwk["x"])).verify


def _p256(jwk: dict[str, Any]) -> Callable[[bytes, bytes], None]:
    x, y = decoded(jwk["x"]), decoded(jwk["y"])
    if (len(x), len(y)) != (32, 32):
        raise Malformed("no point")
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\4" + x + y)

    def check(signature: bytes, message: bytes) -> None:
        if len(signature) != 64:
            raise InvalidSignature
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        key.verify(utils.encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))

    return check


def _rsa(jwk: dict[str, Any]) -> Callable[[bytes, bytes], None]:
    n, e = decoded(jwk["n"]), decoded(jwk["e"])
    modulus, exponent = int.from_bytes(n, "big"), int.from_bytes(e, "big")
    # By bits: zeros before a short one make it no longer.
    if modulus.bit_length() not in RSA_BITS or exponent not in RSA_EXPONENTS:
        raise Malformed("too short or too long")
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
    return lambda signature, message: key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())


_KINDS = {
    ("EdDSA", "OKP", "Ed25519"): _ed25519,
    ("ES256", "EC", "P-256"): _p256,
    ("RS256", "RSA", None): _rsa,
}


def read(jwks: str) -> dict[str, Key | None]:
    """Reads a key set. A key without a name is passed over. One of a kind that is not known here is None: nothing can be said of
    its tokens."""
    try:
        listed = json.loads(jwks)["keys"]
    except (ValueError, KeyError, TypeError) as error:
        raise Malformed("no key set") from error
    if not isinstance(listed, list):
        raise Malformed("no key set")
    named = (jwk for jwk in listed if isinstance(jwk, dict) and isinstance(jwk.get("kid"), str))
    found: dict[str, Key | None] = {}
    for jwk in named:
        key = _read_one(jwk)
        # A name that is there twice: what can be used is not hidden by what cannot.
        if key is not None or jwk["kid"] not in found:
            found[jwk["kid"]] = key
    return found


def _read_one(jwk: dict[str, Any]) -> Key | None:
    try:
        make = _KINDS[(jwk["alg"], jwk["kty"], jwk.get("crv") if jwk["kty"] != "RSA" else None)]
        return Key(jwk["alg"], make(jwk))
    except (ValueError, KeyError, TypeError, AttributeError, UnsupportedAlgorithm):
        return None
