"""What identifies the tables; what they are is in :mod:`sipprofile.store.schema`, which takes SQLAlchemy."""

REVISION = "0003"
"""The newest migration; revisions are counted, so that an older store differs from a newer one."""

CSEQ_RAISED = "cseq_raised"
"""Key in ``meta`` of what the starts have added to every ``cseq_reserved``.

Raising all of them at a start is then one small write instead of one for each flow.
"""
