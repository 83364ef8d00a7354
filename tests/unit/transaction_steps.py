"""What client transactions that began at 100 s do when nothing comes."""

from __future__ import annotations

from sipprofile.sip.transaction import ClientTransaction, Step
from sipprofile.sip.transaction.invite_client import InviteClientTransaction


def run(transaction: ClientTransaction | InviteClientTransaction) -> list[tuple[float, Step]]:
    """Every step that time alone causes."""
    steps = []
    while transaction.due_at:
        now = transaction.due_at
        steps.append((now - 100.0, transaction.timer(now)))
    return steps
