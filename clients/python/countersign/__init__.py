"""Protects services by Countersign: access tokens are verified in this process, and revoked ones refused at once."""

from ._follow import Event
from .client import Countersign
from .errors import CountersignError, Forbidden, Refused, Unauthenticated, Unavailable
from .knowledge import Demand
from .session import Session
from .tokens import Principal
from .verifier import Verifier

__all__ = [
    "Countersign",
    "CountersignError",
    "Demand",
    "Event",
    "Forbidden",
    "Principal",
    "Refused",
    "Session",
    "Unauthenticated",
    "Unavailable",
    "Verifier",
]
