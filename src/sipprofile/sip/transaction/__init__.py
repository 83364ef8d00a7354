"""The four transaction machines of RFC 3261 §17 with RFC 6026. No I/O: the clock is an argument, steps come out."""

from sipprofile.sip.transaction.client import T4, ClientTransaction, State, Step
from sipprofile.sip.transaction.invite_client import InviteClientTransaction

__all__ = ["T4", "ClientTransaction", "InviteClientTransaction", "State", "Step"]
